"""Matching images and masks by stem, in folders and tar archives."""

from __future__ import annotations

import random
import tarfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeVar

from dsunet.data.images import IMAGE_SUFFIXES, Source, TarMember, image_size
from dsunet.errors import DataError, ImageError

__all__ = [
    "Pair",
    "by_stem",
    "check_sizes",
    "find_pairs",
    "list_images",
    "match_by_stem",
    "read_names",
    "select_names",
    "select_pairs",
    "split_pairs",
]

_S = TypeVar("_S", Path, TarMember, Source)


@dataclass(frozen=True)
class Pair:
    """One image and its mask, which share the stem `name`."""

    name: str
    image: Source
    mask: Source


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
    image_files: list[Source]
    mask_files: list[Source]
    if data is not None:
        root = Path(data)
        if root.suffix == ".tar":
            image_files, mask_files = _list_tar(root)
            places = (f"{root}:images/", f"{root}:masks/")
        else:
            return find_pairs(images=root / "images", masks=root / "masks")
    else:
        if images is None or masks is None:
            raise DataError("give data, or both images and masks")
        image_files, mask_files = [*list_images(images)], [*list_images(masks)]
        places = (str(images), str(masks))
    image_of, mask_of = by_stem(image_files, places[0]), by_stem(mask_files, places[1])
    names = match_by_stem(image_of, mask_of, places)
    return [Pair(name, image_of[name], mask_of[name]) for name in names]


def list_images(folder: str | Path) -> list[Path]:
    """Image files directly in a folder, by name; hidden files are left out.

    Raises:
        DataError: The folder is missing or holds no image.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(
            f"there is no folder {folder}; needed are images/ and masks/ with files of equal stems"
        )
    files = sorted(
        file
        for file in folder.iterdir()
        if file.suffix.lower() in IMAGE_SUFFIXES and not file.name.startswith(".")
    )
    if not files:
        raise DataError(
            f"{folder} holds no images; known endings are {' '.join(sorted(IMAGE_SUFFIXES))}"
        )
    return files


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
                if not member.isreg() or path.is_absolute() or ".." in path.parts:
                    raise DataError(
                        f"{archive} holds {member.name!r}, which is a link, a device or an unsafe "
                        "path; make the archive again from plain files"
                    )
                if not path.name.startswith("."):
                    found[folder].append(
                        TarMember(archive, member.name, member.offset_data, member.size)
                    )
    except tarfile.TarError as error:
        raise DataError(
            f"{archive} is no uncompressed tar archive ({error}); unpack it, or pack it by tar -cf"
        ) from error
    for folder, files in found.items():
        if not files:
            raise DataError(f"{archive} holds no images under {folder}/; needed are both folders")
    return found["images"], found["masks"]


def _stem(source: Source) -> str:
    return (PurePosixPath(source.name) if isinstance(source, TarMember) else source).stem


def by_stem(files: Iterable[_S], place: str) -> dict[str, _S]:
    """Files by their stems.

    Raises:
        DataError: A stem occurs twice.
    """
    result: dict[str, _S] = {}
    for file in files:
        stem = _stem(file)
        if stem in result:
            raise DataError(
                f"{place} holds the stem {stem!r} twice ({result[stem].name}, {file.name}), so it "
                "is unclear which one is meant; rename or remove one"
            )
        result[stem] = file
    return result


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
    ordered = sorted(names)
    return ", ".join(ordered[:limit]) + (", …" if len(ordered) > limit else "")


def check_sizes(pairs: Iterable[Pair]) -> None:
    """Reads the headers of all images and masks.

    Raises:
        DataError: A mask has another size than its image, or a header cannot be read; all such
            pairs are counted and the first are named.
    """
    problems: list[str] = []
    for pair in pairs:
        try:
            sizes = [image_size(source) for source in (pair.image, pair.mask)]
        except ImageError as error:
            problems.append(str(error))
            continue
        if sizes[0] != sizes[1]:
            image, mask = ("×".join(map(str, size)) for size in sizes)
            problems.append(f"{pair.image} is {image} px, but its mask {pair.mask} is {mask}")
    if problems:
        more = f"; and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise DataError(f"{len(problems)} pairs cannot be used: " + "; ".join(problems[:5]) + more)


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
    unknown = [name for name in names if name not in by_name]
    if unknown:
        raise DataError(f"{origin} names {len(unknown)} unknown pairs ({_first(unknown)})")
    if not names:
        raise DataError(f"{origin} is empty; write one stem per line")
    return [by_name[name] for name in sorted(set(names))]


def select_names(files: dict[str, _S], names: Sequence[str], place: str | Path) -> dict[str, _S]:
    """Those of some files whose stems are wanted.

    Raises:
        DataError: A wanted stem is not there, or none is wanted.
    """
    absent = [name for name in names if name not in files]
    if absent or not names:
        raise DataError(
            f"{place} lacks {len(absent)} of the {len(names)} names in the list "
            f"({_first(absent)}); the list needs stems of files that are there"
        )
    return {name: files[name] for name in names}


def read_names(path: str | Path) -> list[str]:
    """Stems from a text file with one per line; empty lines are skipped.

    Raises:
        DataError: The file is missing or no text.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"the list {path} cannot be read ({error}); give a text file with one stem per line"
        ) from error
    return [line.strip() for line in text.splitlines() if line.strip()]
