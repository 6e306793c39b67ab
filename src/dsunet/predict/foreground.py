"""Colours of an object along its edge, without those of what was behind it.

A pixel on the edge shows a mixture: its colour is a share of the object's and a share of the
background's. Both are estimated from means of what is surely object, and of what is surely not,
nearby, and what else the picture shows goes to the object by its share: the fusion of blurred
colours by Forte ("Approximate Fast Foreground Colour Estimation", ICIP 2021), in two sizes of
neighbourhoods, of which the larger one is taken where the smaller one says too little.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter

__all__ = ["foreground"]

NEAR, FAR = 6, 11
"""Radii of the neighbourhoods in pixels, the larger one at an eighth of the size."""
SHRINK = 8
SURE = 26
"""How far, of 255, an opacity may be from an end to be surely object or background."""
ENOUGH = 8
"""The share, of 255, of a neighbourhood that has to be sure to say what colour it has."""


def foreground(picture: Image.Image, opacity: np.ndarray) -> Image.Image:
    """A picture whose half-transparent pixels have the object's colours.

    Beside picture and opacity, a large picture needs about twelve bytes a pixel.

    Args:
        picture: RGB.
        opacity: H×W uint8: how much of each pixel is object.

    Returns:
        RGB; pixels that are object or background entirely are as they were.
    """
    rows, columns = np.nonzero((opacity > 0) & (opacity < 255))
    if not len(rows):
        return picture
    share = opacity[rows, columns].astype(np.float32)[:, None] / 255
    shown = np.asarray(picture)[rows, columns].astype(np.float32)
    own = _near(picture, opacity >= 255 - SURE, rows, columns, shown)
    other = _near(picture, opacity <= SURE, rows, columns, shown)
    mixed = own + share * (shown - share * own - (1 - share) * other)
    result = np.array(picture)
    result[rows, columns] = mixed.round().clip(0, 255).astype(np.uint8)
    return Image.fromarray(result)


def _near(
    picture: Image.Image,
    sure: np.ndarray,
    rows: np.ndarray,
    columns: np.ndarray,
    otherwise: np.ndarray,
) -> np.ndarray:
    """The mean colours around some pixels, N×3, of what is sure."""
    weight = Image.fromarray(sure.view(np.uint8) * np.uint8(255))
    size = max(1, picture.width // SHRINK), max(1, picture.height // SHRINK)
    small, thin = (each.resize(size, Image.Resampling.BOX) for each in (picture, weight))
    far_rows = (rows * size[1] // picture.height).clip(0, size[1] - 1)
    far_columns = (columns * size[0] // picture.width).clip(0, size[0] - 1)
    far, there = _means(small, thin, FAR, far_rows, far_columns)
    near, here = _means(picture, weight, NEAR, rows, columns)
    far = np.where(there[:, None] >= 1, far, otherwise)
    return np.where(here[:, None] >= ENOUGH, near, far)


def _means(
    picture: Image.Image, weight: Image.Image, radius: int, rows: np.ndarray, columns: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Weighted means in the neighbourhoods of some pixels, N×3, and the mean weights, N."""
    held = Image.composite(picture, Image.new("RGB", picture.size), weight)
    blur = ImageFilter.BoxBlur(radius)
    colours = np.asarray(held.filter(blur))[rows, columns].astype(np.float32)
    weights = np.asarray(weight.filter(blur))[rows, columns].astype(np.float32)
    return (colours * 255 / np.maximum(weights, 1)[:, None]).clip(0, 255), weights
