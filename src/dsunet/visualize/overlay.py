"""One image with its mask."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter

__all__ = ["cutout", "opacity", "overlay"]

COLOUR = (255, 64, 32)
ROWS = 64
"""How many rows are worked on at a time, so that floats of a whole picture are never in memory."""


def overlay(image: Image.Image, probability: np.ndarray, threshold: float = 0.5) -> Image.Image:
    """The image with the object tinted and outlined.

    Works on strips: beside image and map, a large picture needs about eight bytes a pixel.

    Args:
        image: RGB.
        probability: H×W in 0..1, at the image's size.
        threshold: From which probability a pixel belongs to the object.

    Returns:
        RGB, at the image's size.
    """
    picture = _copy(image)
    width, height = picture.size
    mask = probability >= threshold
    # a box filter costs the same at any width, unlike a maximum filter
    radius = max(1, min(mask.shape) // 150)
    grown = Image.fromarray(mask.view(np.uint8) * np.uint8(255)).filter(ImageFilter.BoxBlur(radius))
    colour = 0.4 * np.array(COLOUR, dtype=np.float32)
    for top in range(0, height, ROWS):
        bottom = min(top + ROWS, height)
        strip = np.array(picture.crop((0, top, width, bottom)))
        inside = mask[top:bottom]
        strip[inside] = (np.float32(0.6) * strip[inside] + colour).round().astype(np.uint8)
        outline = np.asarray(grown.crop((0, top, width, bottom))) > 0
        strip[outline & ~inside] = COLOUR
        picture.paste(Image.fromarray(strip), (0, top))
    return picture


def opacity(
    probability: np.ndarray, alpha: np.ndarray | None = None, threshold: float | None = None
) -> np.ndarray:
    """How opaque a cut-out is: the map times the image's own opacity, rounded.

    Args:
        probability: H×W in 0..1.
        alpha: The image's own opacity, H×W uint8; `None` if it is opaque everywhere.
        threshold: Below this probability nothing is left; `None` for soft edges down to 0.

    Returns:
        H×W uint8.
    """
    result = np.empty(probability.shape, np.uint8)
    for top in range(0, len(result), ROWS):
        rows = slice(top, top + ROWS)
        values = probability[rows] * (np.float32(255) if alpha is None else alpha[rows])
        if threshold is not None:
            values[probability[rows] < threshold] = 0
        result[rows] = values.round()
    return result


def cutout(
    image: Image.Image,
    probability: np.ndarray,
    alpha: np.ndarray | None = None,
    threshold: float | None = None,
    background: tuple[int, int, int] | None = None,
) -> Image.Image:
    """The image without its background.

    Args:
        image: RGB.
        probability: H×W in 0..1, at the image's size.
        alpha: The image's own opacity, see `opacity`.
        threshold: Below this probability nothing is left, see `opacity`.
        background: The colour to put the object on; `None` for a transparent background.

    Returns:
        With a background RGB. Without one RGBA, whose alpha is `opacity`; where that is 0 the
        colour is black, so that nothing of what was removed is left in the file.
    """
    picture = _copy(image)
    opaque = opacity(probability, alpha, threshold)
    solid = Image.fromarray(opaque)
    if background is not None:
        picture.paste(background, mask=Image.fromarray(~opaque))
        return picture
    picture.paste((0, 0, 0), mask=Image.fromarray((opaque == 0).view(np.uint8) * np.uint8(255)))
    picture.putalpha(solid)
    return picture


def _copy(image: Image.Image) -> Image.Image:
    """As RGB to draw on, without what a file said beside its pixels, such as a colour profile."""
    picture = image.convert("RGB")
    picture.info = {}
    return picture
