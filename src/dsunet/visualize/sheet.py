"""A look at what the network will be shown."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from PIL import Image

from dsunet.config import IMAGENET_MEAN, IMAGENET_STD
from dsunet.data.changes import describe
from dsunet.data.dataset import PairDataset
from dsunet.data.pairs import read_pair
from dsunet.errors import DsunetError
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
            (image, mask, upright, _), sample = read_pair(pair), dataset[0, index]
        except DsunetError:
            continue
        view = _as_picture(sample.sam)
        target = sample.mask[0].numpy()
        rows.append((image, mask, view, overlay(view, target)))
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


def _as_picture(view: torch.Tensor) -> Image.Image:
    """The inverse of `image_view`."""
    pixels = view * torch.tensor(IMAGENET_STD).view(3, 1, 1)
    pixels += torch.tensor(IMAGENET_MEAN).view(3, 1, 1)
    return Image.fromarray(np.round(pixels.permute(1, 2, 0).numpy() * 255).astype(np.uint8))


def _describe_flips(dataset: PairDataset, index: int) -> str:
    names = {(): "", (-1,): ", flipped left-right", (-2,): ", flipped top-bottom"}
    return names.get(tuple(dataset.flip_axes(0, index)), ", flipped both ways")
