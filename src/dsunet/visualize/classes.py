"""Several classes in colours, with a legend."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

__all__ = ["class_colours", "class_overlay", "coloured", "index_picture"]

# Okabe and Ito's colours, then Paul Tol's muted ones: both are told apart by colour-blind people.
_COLOURS = (
    *("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7"),
    *("#882255", "#88ccee", "#44aa99", "#117733", "#999933", "#ddcc77", "#cc6677", "#332288"),
)
_GOLDEN = 0.618034
_IGNORED = (224, 224, 224)
_ROWS = 64


def class_colours(count: int) -> list[tuple[int, int, int]]:
    """A colour for each of some classes: 15 that colour-blind people tell apart, then more."""
    colours = [(int(c[1:3], 16), int(c[3:5], 16), int(c[5:7], 16)) for c in _COLOURS[:count]]
    for number in range(len(colours), count):  # hues far from those before, in three lightnesses
        lightness = (0.45, 0.65, 0.3)[number % 3]
        values = colorsys.hls_to_rgb(number * _GOLDEN % 1, lightness, 0.75)
        red, green, blue = (round(255 * value) for value in values)
        colours.append((red, green, blue))
    return colours


def index_picture(index: np.ndarray, classes: int) -> Image.Image:
    """An index picture with a palette: the values are the classes' numbers, shown in colours.

    Args:
        index: H×W uint8, 0 for background (black), 1 to C for the classes; 255 is light grey.
        classes: C.
    """
    picture = Image.fromarray(np.ascontiguousarray(index))
    palette = np.zeros((256, 3), np.uint8)
    palette[1 : classes + 1] = class_colours(classes)
    palette[255] = _IGNORED
    picture.putpalette(palette.tobytes())  # which makes grey levels indices
    return picture


def coloured(index: np.ndarray, classes: int) -> Image.Image:
    """The same in RGB."""
    return index_picture(index, classes).convert("RGB")


def class_overlay(
    image: Image.Image, index: np.ndarray, classes: Sequence[str], *, legend: bool = True
) -> Image.Image:
    """The image with each class tinted and outlined in its colour.

    Args:
        image: RGB.
        index: H×W uint8 at the image's size: 0 for background, 1 to C for the classes.
        classes: Their names.
        legend: Put names and colours of the classes that there are into a strip below the image.

    Returns:
        RGB, at the image's size, and higher by the strip.
    """
    width, height = image.size
    picture = image.convert("RGB")
    picture.info = {}
    colours = np.array([(0, 0, 0), *class_colours(len(classes))], np.float32)
    changes = np.zeros(index.shape, np.uint8)  # beside a pixel of something else
    changes[:, 1:][index[:, 1:] != index[:, :-1]] = 255
    changes[1:][index[1:] != index[:-1]] = 255
    radius = max(1, min(index.shape) // 150)
    near = Image.fromarray(changes).filter(ImageFilter.BoxBlur(radius))
    for top in range(0, height, _ROWS):
        box = (0, top, width, min(top + _ROWS, height))
        strip = np.array(picture.crop(box))
        own = index[top : box[3]]
        edge = np.asarray(near.crop(box)) > 0
        inside, edge = (own > 0) & ~edge, (own > 0) & edge
        tint = np.float32(0.6) * strip[inside] + np.float32(0.4) * colours[own[inside]]
        strip[inside] = tint.round().astype(np.uint8)
        strip[edge] = colours[own[edge]].astype(np.uint8)
        picture.paste(Image.fromarray(strip), (0, top))
    there = [i for i in range(1, len(classes) + 1) if (index == i).any()]
    return (
        _with_legend(picture, [(classes[i - 1], colours[i]) for i in there]) if legend else picture
    )


def _with_legend(picture: Image.Image, entries: Sequence[tuple[str, np.ndarray]]) -> Image.Image:
    if not entries:
        return picture
    size = max(11, min(picture.size) // 24)
    font = ImageFont.load_default(size=size)
    gap = size // 2
    rows: list[list[tuple[str, tuple[int, int, int]]]] = [[]]
    right = gap
    measure = ImageDraw.Draw(picture)
    for name, colour in entries:
        needed = 3 * gap + size + round(measure.textlength(name, font=font))
        if rows[-1] and right + needed > picture.width:
            rows.append([])
            right = gap
        red, green, blue = (int(value) for value in colour)
        rows[-1].append((name, (red, green, blue)))
        right += needed
    high = len(rows) * (size + gap) + gap
    sheet = Image.new("RGB", (picture.width, picture.height + high), "white")
    sheet.paste(picture)
    draw = ImageDraw.Draw(sheet)
    for number, row in enumerate(rows):
        left, top = gap, picture.height + gap + number * (size + gap)
        for name, tint in row:
            draw.rectangle((left, top, left + size - 1, top + size - 1), fill=tint)
            draw.text((left + size + gap, top + size // 2), name, (30, 30, 30), font, "lm")
            left += 3 * gap + size + round(draw.textlength(name, font=font))
    return sheet
