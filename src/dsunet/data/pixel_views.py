"""One image → the view that a network takes of it, as an array: needs no torch."""

from __future__ import annotations

import numpy as np
from PIL import Image

from dsunet.config import IMAGENET_MEAN, IMAGENET_STD

__all__ = ["image_array", "resized_array"]


def image_array(image: Image.Image, size: tuple[int, int]) -> np.ndarray:
    """An RGB image resized to (height, width) and normalised: 3×height×width, float32.

    Resized by Pillow's bilinear filter, which averages when it shrinks (antialias), as the
    published code does; scaled to 0..1, minus ImageNet's mean, over its standard deviation. Every
    engine takes this view, so that they see the same to the last bit.
    """
    pixels = resized_array(image, size, Image.Resampling.BILINEAR)
    pixels -= np.array(IMAGENET_MEAN, np.float32)[:, None, None]
    pixels /= np.array(IMAGENET_STD, np.float32)[:, None, None]
    return pixels


def resized_array(
    image: Image.Image, size: tuple[int, int], resampling: Image.Resampling
) -> np.ndarray:
    """An 8-bit image resized to (height, width): C×height×width in 0..1, float32."""
    height, width = size
    resized = image.resize((width, height), resampling)
    pixels = np.asarray(resized, np.uint8).reshape(height, width, -1).transpose(2, 0, 1)
    values = pixels.astype(np.float32, order="C")
    values /= np.float32(255)
    return values
