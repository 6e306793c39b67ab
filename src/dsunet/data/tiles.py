"""Where the tiles of a picture lie, how they are blended, and which crops training draws."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from PIL import Image

from dsunet.config.tiling import Tiling
from dsunet.data.augment import Box

__all__ = ["OBJECT_CHANCE", "Axis", "Grid", "draw_crop"]


OBJECT_CHANCE = 2 / 3
"""Of a training crop to be drawn around an object, where the picture has one; else it is anywhere.
"""

_SPREAD = 8
"""A tile's side over the standard deviation of its weights, as nnU-Net has it (Isensee et al.,
Nature Methods 2021)."""


@dataclass(frozen=True)
class Axis:
    """The tiles along one side of a picture."""

    length: int
    """Of the picture, in pixels."""
    side: int
    """Of a tile: no more than the picture's."""
    starts: tuple[int, ...]
    """Where tiles begin, from the first pixel on; the last one ends with the picture."""

    @classmethod
    def of(cls, length: int, tiling: Tiling) -> Axis:
        """As few tiles as overlap enough, spread evenly, so that all overlap alike."""
        side = min(length, tiling.side)
        step = max(1, math.floor(side * (1 - tiling.overlap)))
        gaps = math.ceil((length - side) / step)
        return cls(
            length, side, tuple(round(i * (length - side) / max(1, gaps)) for i in range(gaps + 1))
        )

    @property
    def reversed(self) -> Axis:
        """The same tiles, counted from the other end."""
        last = self.length - self.side
        return Axis(self.length, self.side, tuple(last - start for start in self.starts[::-1]))

    @cached_property
    def weights(self) -> tuple[np.ndarray, ...]:
        """What each tile counts at each of its pixels along this side, float32.

        A Gaussian in the middle of the tile, over the sum of those of all tiles, so that they come
        to 1 at every pixel.
        """
        places = (np.arange(self.side) - (self.side - 1) / 2) / (self.side / _SPREAD)
        bump = np.exp(-(places**2) / 2)
        total = np.zeros(self.length)
        for start in self.starts:
            total[start : start + self.side] += bump
        return tuple(
            (bump / total[start : start + self.side]).astype(np.float32) for start in self.starts
        )


@dataclass(frozen=True)
class Grid:
    """The tiles of a picture, row by row."""

    down: Axis
    across: Axis

    @classmethod
    def of(cls, height: int, width: int, tiling: Tiling) -> Grid:
        """Those of a picture of a size in pixels."""
        return cls(Axis.of(height, tiling), Axis.of(width, tiling))

    def __len__(self) -> int:
        return len(self.down.starts) * len(self.across.starts)

    def row(self, number: int) -> list[Box]:
        """Left, top, right and bottom of the tiles in a row."""
        top, (height, width) = self.down.starts[number], (self.down.side, self.across.side)
        return [(left, top, left + width, top + height) for left in self.across.starts]

    def stored(self, orientation: int) -> Grid:
        """The tiles of the same picture as it lies in its file.

        Args:
            orientation: EXIF's, by which it would be turned to be seen as it is here.
        """
        down, across = self.down, self.across
        if orientation in (5, 6, 7, 8):
            down, across = across, down
        return Grid(
            down.reversed if orientation in (3, 4, 7, 8) else down,
            across.reversed if orientation in (2, 3, 6, 7) else across,
        )


def draw_crop(
    size: tuple[int, int],
    mask: Image.Image,
    side: int,
    rng: np.random.Generator,
    ignored: Image.Image | None = None,
) -> Box | None:
    """A random tile of a training picture: left, top, right and bottom.

    With a chance of `OBJECT_CHANCE`, if there is an object: each of the connected ones as likely as
    any other, whatever its size; a pixel of it lies in the middle half of the tile, or nearer to
    the rim where the picture ends. Else it is anywhere.

    Args:
        size: Width and height of the picture.
        mask: Grey, of the same size; objects are pixels of at least 128.
        side: Of the tile, in pixels.
        rng: What the draws are taken from.
        ignored: 255 where pixels are ignored, which are no object.

    Returns:
        `None` if the picture fits a tile.
    """
    if max(size) <= side:
        return None
    wanted, place = rng.random() < OBJECT_CHANCE, rng.random(2)
    point = _point_of_an_object(mask, ignored, rng) if wanted else None
    spans = []
    for axis, length in enumerate(size):
        kept = min(side, length)
        if point is None:
            start = int(place[axis] * (length - kept + 1))
        else:
            start = min(max(0, point[axis] - int((0.25 + place[axis] / 2) * kept)), length - kept)
        spans.append((start, start + kept))
    (left, right), (top, bottom) = spans
    return left, top, right, bottom


def _point_of_an_object(
    mask: Image.Image, ignored: Image.Image | None, rng: np.random.Generator
) -> tuple[int, int] | None:
    """Column and row of a random pixel of a random object; `None` without any."""
    import cv2

    found = np.asarray(mask) >= 128
    if ignored is not None:
        found &= np.asarray(ignored) < 128
    count, labels, boxes, _ = cv2.connectedComponentsWithStats(found.view(np.uint8), connectivity=8)
    if count < 2:
        return None
    number = int(rng.integers(1, count))
    left, top, width, height = (int(value) for value in boxes[number, :4])
    pixels = np.flatnonzero(labels[top : top + height, left : left + width] == number)
    row, column = divmod(int(pixels[rng.integers(len(pixels))]), width)
    return left + column, top + row
