"""One image → the two encoders' views of it, and back from the network's grid to its own size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dsunet.data.pixel_views import image_array, resized_array

__all__ = [
    "Views",
    "centre_crop",
    "counted_mask_view",
    "counted_view",
    "image_view",
    "make_views",
    "mask_view",
    "target_views",
]


class Views(NamedTuple):
    """What the network sees of one image.

    `sam` is 3×H×W and `dino` 3×h×w (`None` for models without DINOv2), both normalised;
    `size` is the height and width of the original image in pixels.
    """

    sam: Tensor
    dino: Tensor | None
    size: tuple[int, int]


def image_view(image: Image.Image, size: tuple[int, int]) -> Tensor:
    """An RGB image resized to (height, width) and normalised: 3×height×width, float32.

    As `dsunet.data.pixel_views.image_array`, which see.
    """
    return torch.from_numpy(image_array(image, size))


def mask_view(mask: Image.Image, size: tuple[int, int]) -> Tensor:
    """A grey mask resized to (height, width): 1×height×width in 0..1, float32.

    Resized bicubically, as the published code does, so that its edge is soft.
    """
    return _resize(mask, size, Image.Resampling.BICUBIC)


def counted_view(ignored: Image.Image, size: tuple[int, int]) -> Tensor:
    """Which pixels of a mask's view count: 1×height×width, 1 or 0, float32; the nearest decides.

    Args:
        ignored: 255 where a pixel is ignored, else 0.
        size: Height and width.
    """
    return (_resize(ignored, size, Image.Resampling.NEAREST) < 0.5).float()


def counted_mask_view(mask: Image.Image, ignored: Image.Image, size: tuple[int, int]) -> Tensor:
    """As `mask_view`, of the pixels that count alone: an ignored neighbour softens no edge.

    Args:
        mask: Grey.
        ignored: 255 where a pixel is ignored, else 0; of the mask's size.
        size: Height and width.
    """
    counts = np.asarray(ignored) < 128
    held = np.where(counts, np.asarray(mask), 0).astype(np.float32)
    bicubic = Image.Resampling.BICUBIC
    height, width = size
    total, weight = (
        np.asarray(Image.fromarray(values).resize((width, height), bicubic))
        for values in (held, counts.astype(np.float32))
    )
    nearest = np.asarray(mask.resize((width, height), Image.Resampling.NEAREST))
    enough = weight > 0.25  # of its weight, which bicubically may be next to nothing
    view = np.where(enough, total / np.where(enough, weight, 1), nearest)
    return torch.from_numpy((view.clip(0, 255).round() / 255).astype(np.float32))[None]


def target_views(
    masks: Sequence[Image.Image], ignored: Image.Image | None, size: tuple[int, int]
) -> tuple[Tensor, Tensor | None]:
    """What a network is to find in its view, and which pixels of it count, if not all do.

    Args:
        masks: Grey, that of the object or one for each class.
        ignored: 255 where a pixel is ignored, of the masks' size; `None` if none is.
        size: Height and width of the view.

    Returns:
        C×height×width for so many masks, and 1×height×width; see `mask_view`, `counted_mask_view`
        and `counted_view`.
    """
    if ignored is None:
        return torch.cat([mask_view(mask, size) for mask in masks]), None
    targets = [counted_mask_view(mask, ignored, size) for mask in masks]
    return torch.cat(targets), counted_view(ignored, size)


def _resize(image: Image.Image, size: tuple[int, int], resampling: Image.Resampling) -> Tensor:
    return torch.from_numpy(resized_array(image, size, resampling))


def make_views(
    image: Image.Image, sam_size: tuple[int, int], dino_size: tuple[int, int] | None
) -> Views:
    """Both views, each made straight from the original image."""
    dino = image_view(image, dino_size) if dino_size else None
    return Views(image_view(image, sam_size), dino, (image.height, image.width))


def centre_crop(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The largest part with the proportions of (height, width), from the middle of an image.

    Resized to `size`, it is the image resized on its short side and cropped.
    """
    scale = min(image.height / size[0], image.width / size[1])
    height, width = (max(1, round(side * scale)) for side in size)
    top, left = (image.height - height) // 2, (image.width - width) // 2
    return image.crop((left, top, left + width, top + height))
