"""Images without masks, for distillation: those that training may see."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

from dsunet.data.checks.duplicates import Signature, near_duplicates, sign
from dsunet.data.checks.look import can_compare
from dsunet.data.images import decode, read_header
from dsunet.data.pairs import list_folder
from dsunet.data.sources import Source, content_sum
from dsunet.data.split import Split
from dsunet.errors import DataError, ImageError, few
from dsunet.support.processes import available_cores

__all__ = ["find_unlabelled"]


def find_unlabelled(
    folders: Iterable[str], split: Split, *, full: bool, say: Callable[[str], None]
) -> list[Path]:
    """The images in some folders that are neither in the validation set nor in the training set.

    Images are known by their content, so that other names do not hide them; near-duplicates of
    validation images, which resized copies are, are found if every file is read.

    Args:
        folders: Where the images are, directly.
        split: The pairs.
        full: Decode every file, and look for near-duplicates; otherwise read headers alone.
        say: Called with a line for each reason why images are left out.

    Raises:
        DataError: A folder is missing, or nothing is left.
    """
    files = [file for folder in folders for file in _list(Path(folder))]
    look = partial(_look, full, full and can_compare())
    with ThreadPoolExecutor(min(8, available_cores())) as pool:
        looks = list(pool.map(look, files))
        validation = list(pool.map(look, [pair.image for pair in split.validation]))
        training = list(pool.map(partial(_look, False, False), [p.image for p in split.training]))
    alike = near_duplicates(_signatures(validation), _signatures(looks))
    nearly = {source for source, *_ in alike}
    left_out: dict[str, list[str]] = {}
    seen: set[bytes] = set()
    held_out = {look.key for look in validation}
    labelled = {look.key for look in training}
    chosen = []
    for file, each in zip(files, looks, strict=True):
        reason = (
            "cannot be read"
            if each.key is None
            else "are validation images, too"
            if each.key in held_out
            else "are nearly validation images"
            if file in nearly
            else "are training images, too"
            if each.key in labelled
            else "are there twice"
            if each.key in seen
            else None
        )
        if reason is not None or each.key is None:
            left_out.setdefault(str(reason), []).append(file.name)
            continue
        seen.add(each.key)
        chosen.append(file)
    for reason, names in left_out.items():
        say(f"left out {len(names)} unlabelled images that {reason}: {few(names)}")
    if files and not chosen:
        raise DataError(
            f"none of the {len(files)} unlabelled images is left to learn from; give others"
        )
    return chosen


def _list(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}; --unlabelled needs a folder of images")
    images, _ = list_folder(folder)
    if not images:
        raise DataError(f"{folder} holds no images directly; --unlabelled needs a folder of images")
    return images


class _Look(NamedTuple):
    key: bytes | None
    signature: Signature | None


def _look(full: bool, compare: bool, source: Source) -> _Look:
    """A sum of a file's content, `None` if it is no image, and what it looks like."""
    try:
        key = content_sum(source)
        if not full:
            read_header(source)
            return _Look(key, None)
        decoded = decode(source, preview=64).as_image()
    except (ImageError, OSError):
        return _Look(None, None)
    return _Look(key, sign(source, decoded) if compare else None)


def _signatures(looks: Sequence[_Look]) -> list[Signature]:
    return [look.signature for look in looks if look.signature is not None]
