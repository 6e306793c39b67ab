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

NEAR, FAR = (2, 3), (8, 11)
"""Of the neighbourhoods: at which part of the size they are looked at, and their radii there."""
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
    held = Image.composite(picture, Image.new("RGB", picture.size), weight)
    near, here = _means(held, weight, NEAR, rows, columns)
    far, there = _means(held, weight, FAR, rows, columns)
    far = np.where(there >= 1, far, otherwise)
    return np.where(here >= ENOUGH, near, far)


def _means(
    held: Image.Image,
    weight: Image.Image,
    neighbourhood: tuple[int, int],
    rows: np.ndarray,
    columns: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Mean colours in the neighbourhoods of some pixels, N×3, and the mean weights, N×1.

    Args:
        held: Colours, black where the weight is 0.
        weight: 255 or 0.
        neighbourhood: Part of the size, and radius.
        rows: Of the pixels.
        columns: Of the pixels.
    """
    part, radius = neighbourhood
    blur = ImageFilter.BoxBlur(radius)
    colours, weights = (
        np.asarray(each.reduce(part).filter(blur))[rows // part, columns // part]
        for each in (held, weight)
    )
    share = weights.astype(np.float32)[:, None]
    return (colours * (255 / np.maximum(share, 1))).clip(0, 255), share
