"""Rows of pictures: image, truth, prediction."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

__all__ = ["panel"]

GAP = 8
HEADER = 30
CAPTION = 24
INK = (30, 30, 30)
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def panel(
    rows: Sequence[Sequence[Image.Image | np.ndarray]],
    titles: Sequence[str],
    captions: Sequence[str | Sequence[str]] = (),
    cell: int = 220,
) -> Image.Image:
    """Pictures in rows under column titles.

    Args:
        rows: Each row holds as many pictures as there are titles: PIL images, or H×W arrays that
            are uint8 or in 0..1.
        titles: One per column.
        captions: Below each row, if any: one line, or one for each of its pictures.
        cell: Width and height in pixels of the square that each picture is fitted into.

    Returns:
        RGB.
    """
    caption = CAPTION if captions else 0
    width = len(titles) * (cell + GAP) + GAP
    height = HEADER + len(rows) * (cell + GAP + caption) + GAP
    sheet = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=16)
    small = ImageFont.load_default(size=13)
    for column, title in enumerate(titles):
        x = GAP + column * (cell + GAP) + cell // 2
        draw.text((x, HEADER // 2 + 2), title, fill=INK, font=font, anchor="mm")
    for row, pictures in enumerate(rows):
        top = HEADER + row * (cell + GAP + caption)
        for column, picture in enumerate(pictures):
            fitted = _fit(picture, cell)
            left = GAP + column * (cell + GAP)
            sheet.paste(
                fitted, (left + (cell - fitted.width) // 2, top + (cell - fitted.height) // 2)
            )
        if captions:
            given = captions[row]
            lines = [given] if isinstance(given, str) else given
            room = (width - GAP) // len(lines)
            for i, line in enumerate(lines):
                place = (GAP + i * room, top + cell + caption // 2)
                draw.text(place, _shorten(draw, line, room - GAP, small), INK, small, "lm")
    return sheet


def _shorten(draw: ImageDraw.ImageDraw, line: str, room: int, font: Font) -> str:
    """Cuts a line, with an ellipsis, to the pixels that there is room for."""
    if draw.textlength(line, font=font) <= room:
        return line
    while line and draw.textlength(f"{line}…", font=font) > room:
        line = line[:-1]
    return f"{line}…"


def _fit(picture: Image.Image | np.ndarray, cell: int) -> Image.Image:
    if isinstance(picture, np.ndarray):
        if picture.dtype != np.uint8:
            picture = np.round(np.clip(picture, 0, 1) * 255).astype(np.uint8)
        picture = Image.fromarray(picture)
    scale = cell / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture.convert("RGB").resize(size, Image.Resampling.BILINEAR)
