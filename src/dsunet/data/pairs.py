"""Images with their masks: reading them, and choosing some by name."""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeVar

from PIL import Image

from dsunet.config import ClassReading, MaskReading
from dsunet.data.folders import list_folder, list_images, stem_of
from dsunet.data.images import Header, decode
from dsunet.data.sources import EmptyMask, Source
from dsunet.errors import DataError, few
from dsunet.support.files import decode_text

__all__ = [
    "Pair",
    "PairClasses",
    "PairImages",
    "by_stem",
    "choose_orientation",
    "group_files",
    "list_folder",
    "list_images",
    "match_by_stem",
    "read_classes",
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
    """One image and its mask, which share `name`: the image's stem, with its folders if any."""

    name: str
    image: Source
    mask: Source
    reading: MaskReading = field(default_factory=MaskReading)
    """What the mask's values mean."""
    intensity: str = "full"
    """Which values of the image are black and white, see `dsunet.config.ModelConfig`."""

    def __post_init__(self) -> None:
        if isinstance(self.mask, EmptyMask) and not self.is_of_classes:  # which has no values
            object.__setattr__(self, "reading", MaskReading())

    @property
    def is_of_classes(self) -> bool:
        """Whether its mask says which of several classes a pixel is of."""
        return isinstance(self.reading, ClassReading)


class PairClasses(NamedTuple):
    """A pair whose mask is of several classes, decoded; as `PairImages`."""

    image: Image.Image
    masks: tuple[Image.Image, ...]
    """One for each class."""
    upright: bool
    ignored: Image.Image | None = None


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
    image = decode(pair.image, preview=preview, intensity=pair.intensity)
    mask = decode(pair.mask)
    upright, mask_upright = choose_orientation(image, mask)
    labels = mask.as_labels(pair.reading, upright=mask_upright)
    return PairImages(image.as_image(upright=upright), labels.mask, upright, labels.ignored)


def read_classes(pair: Pair, preview: int | None = None) -> PairClasses:
    """As `read_pair`, of a pair whose reading is a `ClassReading`."""
    assert isinstance(pair.reading, ClassReading)
    image = decode(pair.image, preview=preview, intensity=pair.intensity)
    mask = decode(pair.mask)
    upright, mask_upright = choose_orientation(image, mask)
    labels = mask.as_classes(pair.reading, upright=mask_upright)
    return PairClasses(image.as_image(upright=upright), labels.masks, upright, labels.ignored)


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


def group_files(
    files: Iterable[_S], key_of: Callable[[Source], str] = stem_of
) -> tuple[dict[str, _S], list[list[_S]]]:
    """Files by stem, the first of each; and all files of every stem that occurs several times.

    `key_of` gives what counts instead of the stem.
    """
    groups: dict[str, list[_S]] = {}
    for file in files:
        groups.setdefault(key_of(file), []).append(file)
    first = {stem: group[0] for stem, group in groups.items()}
    return first, [group for group in groups.values() if len(group) > 1]


def by_stem(files: Iterable[_S], key_of: Callable[[Source], str] = stem_of) -> dict[str, _S]:
    """Files by their stems, or by what `key_of` gives instead.

    Raises:
        DataError: A stem occurs twice.
    """
    first, duplicates = group_files(files, key_of)
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
