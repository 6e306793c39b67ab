"""Matching images and masks by stem, in folders and tar archives."""

from __future__ import annotations

import random
import tarfile
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import NamedTuple, TypeVar

from PIL import Image

from dsunet.config import MaskReading
from dsunet.data.images import Header, decode
from dsunet.data.sources import IMAGE_SUFFIXES, Source, TarMember, is_image_name, name_of
from dsunet.errors import DataError, few
from dsunet.support.files import decode_text

__all__ = [
    "Pair",
    "PairImages",
    "Pairing",
    "by_stem",
    "choose_orientation",
    "find_pairs",
    "list_folder",
    "list_images",
    "match_by_stem",
    "pair_files",
    "pair_up",
    "read_names",
    "read_pair",
    "resolve_names",
    "select_names",
    "select_pairs",
    "split_pairs",
    "stem_of",
]

_S = TypeVar("_S", bound=Source)


@dataclass(frozen=True)
class Pair:
    """One image and its mask, which share the stem `name`."""

    name: str
    image: Source
    mask: Source
    reading: MaskReading = field(default_factory=MaskReading)
    """What the mask's values mean."""


@dataclass(frozen=True)
class Pairing:
    """What pairing two places by stem came to."""

    pairs: list[Pair] = field(default_factory=list)
    """Images with their masks, by name."""
    lone_images: list[Source] = field(default_factory=list)
    lone_masks: list[Source] = field(default_factory=list)
    duplicates: list[list[Source]] = field(default_factory=list)
    """Images, or masks, that share a stem."""
    unsafe_names: list[Source] = field(default_factory=list)
    """Names with line breaks, which no list of names could hold."""
    unused: list[Path] = field(default_factory=list)
    """Other files and folders beside the images and masks."""

    def trouble(self) -> str:
        """What is wrong, with the first few names; empty if nothing is."""
        parts = [
            f"{len(lone)} {kind} ({_first(repr(name_of(source)) for source in lone)})"
            for kind, lone in (
                ("images without a mask", self.lone_images),
                ("masks without an image", self.lone_masks),
                ("names with line breaks", self.unsafe_names),
            )
            if lone
        ]
        if self.duplicates:
            twice = (" and ".join(map(str, group)) for group in self.duplicates)
            parts.append(f"{len(self.duplicates)} stems that occur twice ({_first(twice, 5)})")
        return ", ".join(parts)


def find_pairs(
    data: str | Path | None = None,
    *,
    images: str | Path | None = None,
    masks: str | Path | None = None,
) -> list[Pair]:
    """All pairs of a data set, by name.

    Args:
        data: A folder, or an uncompressed `.tar` file, that holds `images/` and `masks/`.
        images: Folder of images, instead of `data`.
        masks: Folder of masks, instead of `data`.

    Raises:
        DataError: A folder is missing or empty, a stem occurs twice, or a file has no partner.
    """
    found = pair_up(data, images=images, masks=masks)
    if trouble := found.trouble():
        raise DataError(f"there are {trouble}; partners share a stem: rename or move these files")
    return found.pairs


def pair_up(
    data: str | Path | None = None,
    *,
    images: str | Path | None = None,
    masks: str | Path | None = None,
) -> Pairing:
    """As `find_pairs`, but tells of orphans and duplicates instead of raising.

    Raises:
        DataError: A folder is missing or empty, or an archive is unsafe or none.
    """
    unused: list[Path] = []
    if data is not None:
        root = Path(data)
        if root.suffix.lower() == ".tar":
            image_files, mask_files = _list_tar(root)
        else:
            return pair_up(images=root / "images", masks=root / "masks")
    elif images is None or masks is None:
        raise DataError("give data, or both images and masks")
    else:
        found_images, beside_images = _list_images_and_others(images)
        found_masks, beside_masks = _list_images_and_others(masks)
        image_files, mask_files = [*found_images], [*found_masks]
        unused = [*beside_images, *beside_masks]
    return pair_files(image_files, mask_files, unused)


def pair_files(
    image_files: Sequence[Source], mask_files: Sequence[Source], unused: Sequence[Path] = ()
) -> Pairing:
    """Pairs files by stem; `unused` are other files that were beside them."""
    image_of, same_images = _group(image_files)
    mask_of, same_masks = _group(mask_files)
    twice = {stem_of(group[0]) for group in [*same_images, *same_masks]}
    return Pairing(
        [
            Pair(name, image_of[name], mask_of[name])
            for name in sorted(image_of.keys() & mask_of.keys())
            if name not in twice
        ],
        [image_of[name] for name in sorted(image_of.keys() - mask_of.keys())],
        [mask_of[name] for name in sorted(mask_of.keys() - image_of.keys())],
        [*same_images, *same_masks],
        [source for name, source in sorted({**mask_of, **image_of}.items()) if "\n" in name],
        list(unused),
    )


class PairImages(NamedTuple):
    """A pair, decoded: RGB image and grey mask of the same size, unless a preview was asked for."""

    image: Image.Image
    mask: Image.Image
    upright: bool
    """Whether the image's EXIF orientation was followed."""
    ignored: Image.Image | None = None
    """As of `Labels`, of the mask's size."""


def read_pair(pair: Pair, preview: int | None = None) -> PairImages:
    """Decodes both files of a pair.

    Both are turned upright. Where the mask fits the image only as one of them is stored, that
    orientation is used: many tools draw masks on images whose EXIF orientation they ignore.

    Args:
        pair: The files.
        preview: Read a JPEG image at a smaller size if that has this many pixels a side or more;
            the image is smaller than its mask then.

    Raises:
        ImageError: A file cannot be decoded.
        DataError: They differ in size.
    """
    image, mask = decode(pair.image, preview=preview), decode(pair.mask)
    upright, mask_upright = choose_orientation(image, mask)
    labels = mask.as_labels(pair.reading, upright=mask_upright)
    return PairImages(image.as_image(upright=upright), labels.mask, upright, labels.ignored)


def choose_orientation(image: Header, mask: Header) -> tuple[bool, bool]:
    """Whether to turn the image, and the mask, so that their sizes agree.

    Raises:
        DataError: They agree in no way.
    """
    for upright in ((True, True), (False, True), (True, False)):
        if image.seen_size(upright=upright[0]) == mask.seen_size(upright=upright[1]):
            return upright
    (width, height), (mask_width, mask_height) = image.seen_size(), mask.seen_size()
    raise DataError(
        f"{image.source} is {width}×{height} px, but its mask {mask.source} is "
        f"{mask_width}×{mask_height}; masks need the size of their image"
    )


def list_images(folder: str | Path) -> list[Path]:
    """Image files directly in a folder, by name; hidden files are left out.

    Raises:
        DataError: The folder is missing or holds no image.
    """
    return _list_images_and_others(folder)[0]


def _list_images_and_others(folder: str | Path) -> tuple[list[Path], list[Path]]:
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(
            f"there is no folder {folder}; needed are images/ and masks/ with files of equal stems"
        )
    images, others = list_folder(folder)
    if not images:
        raise DataError(
            f"{folder} holds no images; known endings are {' '.join(sorted(IMAGE_SUFFIXES))}"
        )
    return images, others


def list_folder(folder: Path) -> tuple[list[Path], list[Path]]:
    """Image files directly in a folder, and what else there is but for hidden files, by name."""
    images: list[Path] = []
    others: list[Path] = []
    for file in sorted(folder.iterdir()):
        if is_image_name(file.name) and not file.is_dir():
            images.append(file)
        elif not file.name.startswith("."):
            others.append(file)
    return images, others


def _list_tar(archive: Path) -> tuple[list[Source], list[Source]]:
    """The members of `images/` and `masks/`; nothing is ever unpacked."""
    if not archive.is_file():
        raise DataError(f"there is no archive {archive}; give an existing .tar file or a folder")
    found: dict[str, list[Source]] = {"images": [], "masks": []}
    try:
        with tarfile.open(archive, "r:") as tar:
            for member in tar:
                path = PurePosixPath(member.name)
                folder = path.parent.name
                if folder not in found or path.suffix.lower() not in IMAGE_SUFFIXES:
                    continue
                if (
                    not member.isreg()
                    or member.issparse()
                    or path.is_absolute()
                    or ".." in path.parts
                ):
                    raise DataError(
                        f"{archive} holds {member.name!r}, which is a link, a device or an unsafe "
                        "path; make the archive again from plain files"
                    )
                if not path.name.startswith("."):
                    found[folder].append(
                        TarMember(archive, member.name, member.offset_data, member.size)
                    )
    except (tarfile.TarError, OSError, ValueError, OverflowError) as error:
        raise DataError(
            f"{archive} is no uncompressed tar archive ({error}); unpack it, or pack it by tar -cf"
        ) from error
    for folder, files in found.items():
        if not files:
            raise DataError(f"{archive} holds no images under {folder}/; needed are both folders")
    return found["images"], found["masks"]


def stem_of(source: Source) -> str:
    """The name that pairs share: without ending, and composed (NFC) whatever system wrote it."""
    return unicodedata.normalize("NFC", PurePosixPath(name_of(source)).stem)


def _group(files: Iterable[_S]) -> tuple[dict[str, _S], list[list[_S]]]:
    """Files by stem, the first of each; and all files of every stem that occurs several times."""
    groups: dict[str, list[_S]] = {}
    for file in files:
        groups.setdefault(stem_of(file), []).append(file)
    first = {stem: group[0] for stem, group in groups.items()}
    return first, [group for group in groups.values() if len(group) > 1]


def by_stem(files: Iterable[_S]) -> dict[str, _S]:
    """Files by their stems.

    Raises:
        DataError: A stem occurs twice.
    """
    first, duplicates = _group(files)
    if duplicates:
        raise DataError(_twice(duplicates))
    return first


def _twice(groups: Sequence[Sequence[Source]]) -> str:
    examples = "; ".join(" and ".join(map(str, group)) for group in groups[:5])
    more = f"; and {len(groups) - 5} more" if len(groups) > 5 else ""
    return (
        f"{len(groups)} stems occur twice ({examples}{more}), so it is unclear which file is "
        "meant; rename or remove one of each"
    )


def match_by_stem(
    first: Iterable[str], second: Iterable[str], places: tuple[str, str]
) -> list[str]:
    """The names that two places share, sorted.

    Raises:
        DataError: A name is in one place only; the first few are listed.
    """
    names, others = set(first), set(second)
    if names != others:
        parts = [
            f"{len(alone)} only in {place} ({_first(alone)})"
            for alone, place in ((names - others, places[0]), (others - names, places[1]))
            if alone
        ]
        raise DataError(
            "files without a partner of the same stem: " + "; ".join(parts) + "; add the partners "
            "or move these files away"
        )
    return sorted(names)


def _first(names: Iterable[str], limit: int = 20) -> str:
    return few(sorted(names), limit)


def split_pairs(pairs: Sequence[Pair], fraction: float, seed: int) -> tuple[list[Pair], list[Pair]]:
    """Training and validation pairs: `fraction` of them, at least one, held out by chance.

    The choice depends on the seed and the set of names alone.

    Raises:
        DataError: Too few pairs for both parts.
    """
    count = max(1, round(len(pairs) * fraction))
    if count >= len(pairs):
        raise DataError(
            f"{len(pairs)} pairs cannot be split by {fraction}; at least two are needed, and "
            "one must remain for training"
        )
    names = sorted(pair.name for pair in pairs)
    held_out = set(random.Random(seed).sample(names, count))
    ordered = sorted(pairs, key=lambda pair: pair.name)
    return (
        [pair for pair in ordered if pair.name not in held_out],
        [pair for pair in ordered if pair.name in held_out],
    )


def select_pairs(pairs: Sequence[Pair], names: Sequence[str], origin: str) -> list[Pair]:
    """The pairs of the given names, sorted by name.

    Raises:
        DataError: A name is not among the pairs, or none is given.
    """
    by_name = {pair.name: pair for pair in pairs}
    known, unknown = resolve_names(names, by_name)
    if unknown:
        raise DataError(f"{origin} names {len(unknown)} unknown pairs ({_first(unknown)})")
    if not names:
        raise DataError(f"{origin} is empty; write one stem per line")
    return [by_name[name] for name in sorted(known)]


def select_names(files: dict[str, _S], names: Sequence[str], place: str | Path) -> dict[str, _S]:
    """Those of some files whose stems are wanted.

    Raises:
        DataError: A wanted stem is not there, or none is wanted.
    """
    known, absent = resolve_names(names, files)
    if absent or not names:
        raise DataError(
            f"{place} lacks {len(absent)} of the {len(names)} names in the list "
            f"({_first(absent)}); the list needs stems of files that are there"
        )
    return {name: files[name] for name in files if name in known}


def resolve_names(names: Iterable[str], stems: Collection[str]) -> tuple[set[str], list[str]]:
    """Which stems the lines of a list mean, and the lines that mean none.

    Spaces around a line are forgiven unless a stem has them.
    """
    known, unknown = set(), []
    for line in names:
        name = unicodedata.normalize("NFC", line)
        if name not in stems:
            name = name.strip()
        if name in stems:
            known.add(name)
        else:
            unknown.append(line)
    return known, unknown


def read_names(path: str | Path) -> list[str]:
    """Lines of a text file, such as stems; blank ones are skipped.

    Raises:
        DataError: The file is missing or no text.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise DataError(
            f"the list {path} cannot be read ({error.strerror}); give a text file with one name a "
            "line"
        ) from error
    if b"\0" in data:
        raise DataError(f"the list {path} is no text; give a text file with one name a line")
    lines = decode_text(data.removeprefix(b"\xef\xbb\xbf")).split("\n")
    return [line.removesuffix("\r") for line in lines if line.strip()]
