"""Images without masks, for distillation: those that training may see."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
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
    known = _Known(
        held_out={look.key for look in validation},
        nearly={source for source, *_ in alike},
        labelled={look.key for look in training},
    )
    left_out: dict[str, list[str]] = {}
    chosen = []
    for file, each in zip(files, looks, strict=True):
        reason = known.reason_against(file, each)
        if reason:
            left_out.setdefault(reason, []).append(file.name)
        else:
            known.seen.add(each.key)
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
        raise DataError(f"there is no folder {folder}; `unlabelled` needs a folder of images")
    images, _ = list_folder(folder)
    if not images:
        raise DataError(f"{folder} holds no images directly; `unlabelled` needs a folder of images")
    return images


class _Look(NamedTuple):
    key: bytes | None
    signature: Signature | None


@dataclass
class _Known:
    """Images that are not to be learnt from a second time, by their content."""

    held_out: set[bytes | None]
    """Sums of validation images."""
    nearly: set[Source]
    """Files that are nearly validation images."""
    labelled: set[bytes | None]
    """Sums of training images."""
    seen: set[bytes | None] = field(default_factory=set)
    """Sums of those that were chosen."""

    def reason_against(self, file: Source, look: _Look) -> str:
        """Why an image is left out, as what it does; empty if it is not."""
        reasons = (
            (look.key is None, "cannot be read"),
            (look.key in self.held_out, "are validation images, too"),
            (file in self.nearly, "are nearly validation images"),
            (look.key in self.labelled, "are training images, too"),
            (look.key in self.seen, "are there twice"),
        )
        return next((reason for holds, reason in reasons if holds), "")


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
