"""A look at what the network will be shown."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image

from dsunet.config import IMAGENET_MEAN, IMAGENET_STD
from dsunet.data.dataset import PairDataset
from dsunet.data.pairs import read_pair
from dsunet.visualize.overlay import overlay
from dsunet.visualize.panel import panel

__all__ = ["data_sheet"]


def data_sheet(dataset: PairDataset, indices: Sequence[int]) -> Image.Image:
    """Pairs as files and as samples of the first epoch: RGB.

    Args:
        dataset: A training set; its flips show.
        indices: Which pairs.

    Raises:
        ImageError: A file cannot be read.
    """
    rows, captions = [], []
    for index in indices:
        pair, sample = dataset.pairs[index], dataset[0, index]
        image, mask, upright = read_pair(pair)
        view = _as_picture(sample.sam)
        target = sample.mask[0].numpy()
        rows.append((image, mask, view, overlay(view, target)))
        stored = "" if upright else ", as stored"
        size = f"{image.width} x {image.height}{stored}"
        flipped = _describe_flips(dataset, index)
        captions.append((pair.name, size, f"{view.width} x {view.height}{flipped}", ""))
    return panel(rows, ("image", "mask", "the model's view", "with its target"), captions)


def _as_picture(view: torch.Tensor) -> Image.Image:
    """The inverse of `image_view`."""
    pixels = view * torch.tensor(IMAGENET_STD).view(3, 1, 1)
    pixels += torch.tensor(IMAGENET_MEAN).view(3, 1, 1)
    return Image.fromarray(np.round(pixels.permute(1, 2, 0).numpy() * 255).astype(np.uint8))


def _describe_flips(dataset: PairDataset, index: int) -> str:
    names = {(): "", (-1,): ", flipped left-right", (-2,): ", flipped top-bottom"}
    return names.get(tuple(dataset.flip_axes(0, index)), ", flipped both ways")
