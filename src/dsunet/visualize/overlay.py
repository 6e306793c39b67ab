"""One image with its mask."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter

__all__ = ["cutout", "overlay"]

COLOUR = (255, 64, 32)


def overlay(image: Image.Image, probability: np.ndarray, threshold: float = 0.5) -> Image.Image:
    """The image with the object tinted and outlined.

    Args:
        image: RGB.
        probability: H×W in 0..1, at the image's size.
        threshold: From which probability a pixel belongs to the object.

    Returns:
        RGB, at the image's size.
    """
    pixels = np.asarray(image.convert("RGB"), dtype=np.float32)
    mask = probability >= threshold
    tinted = pixels.copy()
    tinted[mask] = 0.6 * pixels[mask] + 0.4 * np.array(COLOUR, dtype=np.float32)
    solid = Image.fromarray(mask.astype(np.uint8) * 255)
    # a box filter costs the same at any width, unlike a maximum filter
    grown = np.asarray(solid.filter(ImageFilter.BoxBlur(max(1, min(mask.shape) // 150)))) > 0
    tinted[grown & ~mask] = COLOUR
    return Image.fromarray(tinted.round().astype(np.uint8))


def cutout(image: Image.Image, probability: np.ndarray) -> Image.Image:
    """The image with its background transparent: RGBA whose alpha is the probability."""
    result = image.convert("RGB")
    result.putalpha(Image.fromarray(np.round(probability * 255).astype(np.uint8)))
    return result
