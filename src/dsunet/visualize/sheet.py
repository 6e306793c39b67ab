"""A look at what the network will be shown."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from PIL import Image

from dsunet.config import IMAGENET_MEAN, IMAGENET_STD, ClassReading
from dsunet.data.changes import describe
from dsunet.data.class_masks import index_of
from dsunet.data.dataset import PairDataset
from dsunet.data.pairs import Pair, read_classes, read_pair
from dsunet.errors import DsunetError
from dsunet.visualize.classes import class_overlay, coloured
from dsunet.visualize.overlay import overlay
from dsunet.visualize.panel import panel

__all__ = ["data_sheet"]


def data_sheet(
    dataset: PairDataset, indices: Iterable[int], limit: int | None = None
) -> Image.Image:
    """Pairs as files and as samples of the first epoch: RGB.

    Args:
        dataset: A training set; its flips, crops and other changes show.
        indices: Which pairs; those that cannot be read are left out.
        limit: Stop at this many.

    Raises:
        DsunetError: None of them can be read.
    """
    rows, captions = [], []
    for index in indices:
        pair = dataset.pairs[index]
        try:
            sample = dataset[0, index]
            view = _as_picture(sample.sam)
            image, mask, upright, shown = _drawn(pair, view, sample.mask.numpy())
        except DsunetError:
            continue
        rows.append((image, mask, view, shown))
        stored = "" if upright else ", as stored"
        size = f"{image.width} x {image.height}{stored}"
        flipped = _describe_flips(dataset, index)
        changed = describe(dataset.drawn(0, index))
        captions.append((pair.name, size, f"{view.width} x {view.height}{flipped}", changed))
        if len(rows) == limit:
            break
    if not rows:
        raise DsunetError("no pair can be read, so there is nothing to draw")
    return panel(rows, ("image", "mask", "the model's view", "with its target"), captions)


def _drawn(
    pair: Pair, view: Image.Image, target: np.ndarray
) -> tuple[Image.Image, Image.Image, bool, Image.Image]:
    """Image, mask, whether it is upright, and the view with its target, C×H×W in 0..1."""
    if not isinstance(pair.reading, ClassReading):
        image, mask, upright, _ = read_pair(pair)
        return image, mask, upright, overlay(view, target[0])
    read, names = read_classes(pair), pair.reading.names
    index = index_of(np.stack([np.asarray(mask) for mask in read.masks]))
    tinted = class_overlay(view, index_of((target * 255).astype(np.uint8)), names)
    return read.image, coloured(index, len(names)), read.upright, tinted


def _as_picture(view: torch.Tensor) -> Image.Image:
    """The inverse of `image_view`."""
    pixels = view * torch.tensor(IMAGENET_STD).view(3, 1, 1)
    pixels += torch.tensor(IMAGENET_MEAN).view(3, 1, 1)
    return Image.fromarray(np.round(pixels.permute(1, 2, 0).numpy() * 255).astype(np.uint8))


def _describe_flips(dataset: PairDataset, index: int) -> str:
    names = {(): "", (-1,): ", flipped left-right", (-2,): ", flipped top-bottom"}
    return names.get(tuple(dataset.flip_axes(0, index)), ", flipped both ways")
