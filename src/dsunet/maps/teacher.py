"""A teacher's maps of the training images, computed once and kept in a feature store."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from dsunet.data.dataset import PairDataset
from dsunet.data.intensity import mark_of
from dsunet.data.pairs import Pair
from dsunet.data.sources import Source, content_stamp, content_sum
from dsunet.data.views import Views, make_views
from dsunet.errors import DataError, OutputError
from dsunet.maps.opening import Budget, Group, Seen, Use, open_images
from dsunet.maps.store import FeatureKind, StoredImages, content_key
from dsunet.network.base import SegmentationModel
from dsunet.running.loaders import make_loader

__all__ = ["compute_maps", "logits_shape", "open_store"]

_BATCH = 4
_SECONDS_BETWEEN_LINES = 30.0

# In messages.
TEACHER_MAPS = Use(
    maps="the teacher's maps",
    need="the teacher's maps need",
    folder="the teacher's cache",
    elsewhere="choose another `teacher_cache`",
    less="learn from fewer `feature_levels`",
    room="make room, or choose another `teacher_cache`",
)


def logits_shape(model: SegmentationModel) -> tuple[int, int, int]:
    """Shape of the logits that are kept: of our models those before their last resize."""
    height, width = model.view_sizes[0]
    stride = model.map_stride
    return 1, height // stride, width // stride


def open_store(
    root: Path,
    kind: FeatureKind,
    pairs: Sequence[Pair],
    unlabelled: Sequence[Source],
    budget: Budget,
    intensity: str = "full",
) -> StoredImages:
    """The store of a teacher's maps, with room for every image.

    Args:
        root: The folder of all stores.
        kind: What the maps are.
        pairs: The training pairs.
        unlabelled: The images without masks.
        budget: The most that the maps may take of the disk.
        intensity: Which values of the images without masks are black and white.

    Raises:
        OutputError: They would take more than that or than the disk has, or the folder cannot be
            used.
    """
    count = len(pairs) + len(unlabelled)
    group = Group(count, _look_at(pairs, unlabelled, intensity))
    opened = open_images(
        TEACHER_MAPS, root, kind.encoder, kind, [group], budget, f"{count:,} images"
    )
    return opened.groups[0]


def _look_at(pairs: Sequence[Pair], unlabelled: Sequence[Source], intensity: str) -> Iterator[Seen]:
    mark = mark_of(intensity)
    for source, pair in [*((pair.image, pair) for pair in pairs), *((s, None) for s in unlabelled)]:
        stamp = content_stamp(source)  # first: what is written later shows
        # an image without a mask is taken upright, of which `content_key` is the plain sum
        if pair is not None:
            key = content_key(pair)
        else:
            key = content_sum(source)
            key = hashlib.sha256(key + mark).digest() if mark else key
        yield key, stamp


_Row = tuple[int, Views | None, str]


class _Missing(Dataset[_Row]):
    """Number and views of each image that the teacher has not seen, and why it cannot be read."""

    def __init__(
        self,
        images: PairDataset,
        numbers: Sequence[int],
        sizes: tuple[tuple[int, int], tuple[int, int] | None],
    ) -> None:
        self.images = images
        self.numbers = numbers
        self.sizes = sizes

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, item: int) -> _Row:
        number = self.numbers[item]
        try:
            return number, make_views(self.images.read(number)[1], *self.sizes), ""
        except DataError as error:
            return number, None, str(error)


def _as_they_are(rows: list[_Row]) -> list[_Row]:
    """What cannot be read is an error in the process that writes, not in the one that reads."""
    return rows


def _together(rows: Sequence[_Row]) -> tuple[list[int], Views]:
    """Views side by side.

    Raises:
        DataError: An image cannot be read.
    """
    if reason := next((reason for _, _, reason in rows if reason), None):
        raise DataError(reason)
    views = [view for _, view, _ in rows if view is not None]
    dinos = [view.dino for view in views if view.dino is not None]
    dino = torch.stack(dinos) if dinos else None
    return [row[0] for row in rows], Views(torch.stack([v.sam for v in views]), dino, views[0].size)


@torch.no_grad()
def compute_maps(
    model: SegmentationModel,
    stored: StoredImages,
    missing: Sequence[int],
    images: PairDataset,
    device: torch.device,
    workers: int,
    say: Callable[[str], None],
) -> None:
    """Computes and writes the maps of some images.

    Args:
        model: The teacher, in evaluation mode on the device.
        stored: Where they belong.
        missing: Numbers of the images.
        images: Gives them.
        device: Where to compute.
        workers: Processes that read images.
        say: Called with lines of progress.

    Raises:
        DataError: An image cannot be read, or a value does not fit the store's type.
        OutputError: The maps cannot be written; what was written before is whole.
    """
    wanted = _Missing(images, missing, model.view_sizes)
    loader = make_loader(wanted, _BATCH, _as_they_are, workers=workers)
    started = told = time.monotonic()
    done = 0
    for rows in loader:
        numbers, views = _together(rows)
        dino = None if views.dino is None else views.dino.to(device)
        maps = _maps(model, views.sam.to(device), dino, stored.store.kind)
        for row, number in enumerate(numbers):
            _write(stored, number, [each[row] for each in maps])
        done += len(numbers)
        now = time.monotonic()
        if now - told > _SECONDS_BETWEEN_LINES or done == len(missing):
            left = (now - started) / done * (len(missing) - done)
            say(f"teacher: {done:,} of {len(missing):,} images, {left / 60:.1f} min left")
            told = now


def _maps(
    model: SegmentationModel, sam: Tensor, dino: Tensor | None, kind: FeatureKind
) -> list[np.ndarray]:
    """Logits and feature maps of some images, each B×C×h×w float32.

    Raises:
        DataError: A value does not fit the store's type.
    """
    logits, levels = model.small_logits_and_levels(sam, dino)
    maps = [logits, *(levels[depth - 1] for depth in kind.depths)]
    largest = max(float(each.abs().max()) for each in maps)
    if not largest <= float(np.finfo(kind.dtype).max):  # nor NaN
        raise DataError(
            f"the teacher's maps have values up to {largest:g}, which {kind.dtype} cannot hold; "
            "use `cache_type` float32, or look at its weights"
        )
    return [each.float().cpu().numpy() for each in maps]


def _write(stored: StoredImages, number: int, maps: Sequence[np.ndarray]) -> None:
    try:
        stored.store.write((stored.numbers[number], 0), maps)
    except OSError as error:
        raise OutputError(
            f"{error.filename} cannot be written ({error.strerror}); what was written before is "
            "whole: make room, and run it again"
        ) from error
