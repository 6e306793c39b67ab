"""Random changes of a training image beside flips."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageEnhance

__all__ = ["vary"]

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
    width, height = image.size
    if rng.random() < crop:
        area = rng.uniform(*_AREA)
        proportion = math.exp(rng.uniform(*np.log(_PROPORTION)))
        w = min(width, max(16, round(width * math.sqrt(area * proportion))))
        h = min(height, max(16, round(height * math.sqrt(area / proportion))))
        left, top = int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1))
        box = (left, top, left + w, top + h)
        image, mask = image.crop(box), mask.crop(box)
    if rng.random() < colour:
        kinds = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
        for number in rng.permutation(len(kinds)):
            image = kinds[number](image).enhance(float(rng.uniform(*_STRENGTH)))
    return image, mask
