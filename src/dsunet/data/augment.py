"""Random changes of a training image beside flips."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageEnhance

__all__ = ["Box", "change_colours", "crop_box", "vary"]

Box = tuple[int, int, int, int]  # left, top, right, bottom

_AREA = (0.4, 1.0)
_PROPORTION = (3 / 4, 4 / 3)
_STRENGTH = (0.6, 1.4)


def vary(
    image: Image.Image, mask: Image.Image, crop: float, colour: float, rng: np.random.Generator
) -> tuple[Image.Image, Image.Image]:
    """A pair after a random crop and a random change of colours.

    Args:
        image: RGB.
        mask: Grey, of the same size.
        crop: Probability of a crop, whose area is 40 to 100 % of the image and whose proportions
            are up to 4:3 wider or higher than the image's.
        colour: Probability that brightness, contrast and saturation change, in random order, each
            by a factor of 0.6 to 1.4.
        rng: What the draws are taken from.
    """
    box = crop_box(image.size, crop, rng)
    if box is not None:
        image, mask = image.crop(box), mask.crop(box)
    return change_colours(image, colour, rng), mask


def crop_box(size: tuple[int, int], chance: float, rng: np.random.Generator) -> Box | None:
    """Left, top, right and bottom of a random crop, see `vary`; `None` if there is none.

    Args:
        size: Width and height of the image.
        chance: Probability of a crop.
        rng: What the draws are taken from.
    """
    if rng.random() >= chance:
        return None
    width, height = size
    area = rng.uniform(*_AREA)
    proportion = math.exp(rng.uniform(*np.log(_PROPORTION)))
    w = min(width, max(16, round(width * math.sqrt(area * proportion))))
    h = min(height, max(16, round(height * math.sqrt(area / proportion))))
    left, top = int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1))
    return left, top, left + w, top + h


def change_colours(image: Image.Image, chance: float, rng: np.random.Generator) -> Image.Image:
    """A picture after a random change of colours, see `vary`."""
    if rng.random() < chance:
        kinds = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
        for number in rng.permutation(len(kinds)):
            image = kinds[number](image).enhance(float(rng.uniform(*_STRENGTH)))
    return image
