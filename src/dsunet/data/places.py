"""Where images and masks may lie in a folder, and what to say if they are not where they should."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from dsunet.data.folders import list_folder, walk_folders
from dsunet.data.labels.sniff import LABEL_SUFFIXES, find_labels, format_of, other_tool
from dsunet.data.patterns import IMAGE_WORDS, MASK_WORDS
from dsunet.data.sources import is_image_name
from dsunet.errors import DataError, few

__all__ = ["LabelsError", "guess_places", "misplaced", "no_pairs"]

_WANTED = "needed are images/ and masks/ with files of equal stems"


def guess_places(folder: Path) -> tuple[Path, Path] | None:
    """The folders of images and masks directly below a folder, by what they are called.

    Images may lie in the folder itself. `None` if no name, or several, would do.
    """
    names = [each for each in _folders(folder) if not each.name.startswith(".")]
    masks = [each for each in names if _words(each.name) & MASK_WORDS and _holds_images(each)]
    images = [each for each in names if _words(each.name) & IMAGE_WORDS and each not in masks]
    images = [each for each in images if _holds_images(each)]
    if not images and masks and list_folder(folder)[0]:
        images = [folder]
    return (images[0], masks[0]) if len(images) == len(masks) == 1 else None


def _folders(folder: Path) -> list[Path]:
    return [each for each in sorted(folder.iterdir()) if each.is_dir()] if folder.is_dir() else []


def _holds_images(folder: Path) -> bool:
    return any(
        is_image_name(name)
        for _, names in walk_folders(folder, (), lambda _: None)
        for name in names
    )


def _words(name: str) -> set[str]:
    whole = re.sub(r"[-_. ]", "", name.casefold())
    return {whole, *re.split(r"[-_. ]", name.casefold())}


class LabelsError(DataError):
    """What should hold images and masks holds labels of another format."""


def no_pairs(root: Path) -> DataError:
    """What to raise where a folder lacks `images/` or `masks/`: what it holds, and what to do."""
    if not root.exists():
        return DataError(f"there is no folder {root}; {_WANTED}")
    if not root.is_dir():
        return _no_folder(root)
    lacking = [f"{name}/" for name in ("images", "masks") if not (root / name).is_dir()]
    start = f"{root} holds no {' and '.join(lacking)}"
    return misplaced(root, f"{start}, but") or DataError(f"{start}, {_contents(root)}; {_WANTED}")


def misplaced(root: Path, start: str) -> DataError | None:
    """What to raise of a folder that holds labels, or images and masks in folders of other names.

    Args:
        root: The folder, which holds neither `images/` and `masks/` nor pairs.
        start: How what is said begins.

    Returns:
        A `LabelsError` if there are labels; `None` if it is neither.
    """
    try:
        found, guessed = find_labels(root), guess_places(root)
    except (OSError, DataError):  # told of by whoever needs it
        return None
    if found is not None:
        what = "folders" if found.files[0].is_dir() else found.files[0].relative_to(root)
        return LabelsError(
            f"{start} labels of the format {found.format} ({what}): dsunet data import {root} "
            "--output DIR makes images and masks of them"
        )
    if guessed is not None and guessed != (root / "images", root / "masks"):
        images, masks = guessed
        where = "in it" if images == root else f"in {images.name}/"
        return DataError(
            f"{start} images {where} and masks in {masks.name}/, as it seems: give `images` "
            f"{images} and `masks` {masks}"
        )
    return None


def _no_folder(file: Path) -> DataError:
    start = f"{file} is no folder, but"
    if name := format_of(file):
        return LabelsError(
            f"{start} labels of the format {name}: dsunet data import {file} --output DIR makes "
            "images and masks of them"
        )
    if tool := other_tool(file):
        return DataError(
            f"{start} labels of {tool}; export them as COCO, and take dsunet data import"
        )
    if file.suffix.lower() in LABEL_SUFFIXES:
        return DataError(f"{start} a {file.suffix.lower()[1:]} file of unknown kind; {_WANTED}")
    return DataError(f"{start} a file; {_WANTED}")


def _contents(root: Path) -> str:
    """How many images lie in which folders."""
    count: Counter[str] = Counter()
    for place, names in walk_folders(root, (), lambda error: None):
        images = sum(is_image_name(name) for name in names)
        if images:
            within = place.relative_to(root).as_posix()
            count["it" if within == "." else f"{within}/"] += images
    if not count:
        return "and no image at all"
    folders = [f"{images} images in {name}" for name, images in count.most_common()]
    return f"but {few(folders, 4)}"
