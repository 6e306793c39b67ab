"""Shapes that label files describe → the pixels inside them.

pycocotools draws the polygons of every format, so that masks of COCO files are its own bit for bit
and a square from 20 to 50 px has 30×30 pixels in all of them. supervision, which reads several
formats, rounds corners to whole pixels and colours the border too (31×31), leaves circles out, and
stops at the first broken picture. Of run lengths that make another number of pixels than the
picture has, pycocotools gives what the memory held, so that they are checked and drawn here.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from dsunet.data.images import decode
from dsunet.data.sources import Bytes
from dsunet.errors import DataError, MissingPackageError

__all__ = [
    "Bitmap",
    "Ellipse",
    "NoOutline",
    "Outline",
    "Polygons",
    "Runs",
    "decode_runs",
    "polygon_pixels",
    "rectangle",
    "runs_to_mask",
]

# pycocotools walks along outlines in fifths of a pixel and keeps every step: what is longer would
# fill the memory, and no picture has so long a one.
_LONGEST = 5_000_000
_FEWEST = 3  # corners of a polygon with an area


class Outline(Protocol):
    """A shape in a picture."""

    def inside(self, size: tuple[int, int]) -> np.ndarray:
        """The pixels of the shape, H×W bool, in a picture of this height and width.

        What lies outside the picture is left out.

        Raises:
            DataError: It cannot be drawn, or not in a picture of this size.
        """
        ...


@dataclass(frozen=True)
class NoOutline:
    """A shape that cannot be drawn, which matters only if its class is wanted."""

    reason: str

    def inside(self, size: tuple[int, int]) -> np.ndarray:
        """Raises `DataError` with the reason."""
        raise DataError(self.reason)


@dataclass(frozen=True)
class Polygons:
    """Polygons that together are one object."""

    parts: Sequence[Sequence[float]]
    """x, y of every corner in pixels, in turn; 0 is the left or upper edge of the picture, not the
    middle of its first pixel. Parts of fewer than three corners have no area."""

    def inside(self, size: tuple[int, int]) -> np.ndarray:
        """See `polygon_pixels`."""
        return polygon_pixels(self.parts, size)


@dataclass(frozen=True)
class Runs:
    """COCO's run lengths: uncompressed numbers, or the text that they are compressed to."""

    counts: Sequence[int] | str
    size: tuple[int, int]
    """Height and width in pixels of the picture that they are of."""

    def inside(self, size: tuple[int, int]) -> np.ndarray:
        """See `runs_to_mask`."""
        if tuple(self.size) != size:
            height, width = self.size
            raise DataError(f"its run lengths are of {width}×{height} px, not {size[1]}×{size[0]}")
        counts = decode_runs(self.counts) if isinstance(self.counts, str) else self.counts
        return runs_to_mask(counts, size)


@dataclass(frozen=True)
class Ellipse:
    """An ellipse, or a circle: the pixels whose centre lies inside it."""

    centre: tuple[float, float]
    """x and y in pixels."""
    radii: tuple[float, float]
    """Along x and y in pixels, before it is turned."""
    angle: float = 0.0
    """How far it is turned, clockwise, in degrees."""

    def inside(self, size: tuple[int, int]) -> np.ndarray:
        """See `Outline`."""
        if not all(map(math.isfinite, (*self.centre, *self.radii, self.angle))):
            raise DataError(f"a circle of centre {self.centre} and radii {self.radii} has no place")
        if min(self.radii) <= 0:
            return np.zeros(size, bool)
        height, width = size
        x = np.arange(width) + 0.5 - self.centre[0]
        y = (np.arange(height) + 0.5 - self.centre[1])[:, None]
        cos, sin = math.cos(math.radians(self.angle)), math.sin(math.radians(self.angle))
        along, across = x * cos + y * sin, y * cos - x * sin
        inside: np.ndarray = (along / self.radii[0]) ** 2 + (across / self.radii[1]) ** 2 <= 1
        return inside


@dataclass(frozen=True)
class Bitmap:
    """A mask in a box of the picture."""

    pixels: np.ndarray | str
    """H×W bool; or the file of a picture in base64, whose pixels above 0 are meant."""
    corner: tuple[int, int]
    """x and y of its upper left pixel."""

    def inside(self, size: tuple[int, int]) -> np.ndarray:
        """See `Outline`."""
        inside = np.zeros(size, bool)
        pixels = _decoded(self.pixels) if isinstance(self.pixels, str) else self.pixels
        x, y = self.corner
        left, top = max(0, -x), max(0, -y)
        seen = pixels[top : max(top, size[0] - y), left : max(left, size[1] - x)]
        x, y = max(0, x), max(0, y)
        inside[y : y + seen.shape[0], x : x + seen.shape[1]] = seen
        return inside


def _decoded(text: str) -> np.ndarray:
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise DataError(f"its mask is no base64 ({error})") from error
    return np.asarray(decode(Bytes(content, "its mask")).pixels.convert("L")) > 0


def rectangle(left: float, top: float, right: float, bottom: float, angle: float = 0.0) -> Polygons:
    """A rectangle, turned clockwise about its middle by an angle in degrees."""
    corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
    if angle:
        x, y = (left + right) / 2, (top + bottom) / 2
        cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        corners = [
            (x + (a - x) * cos - (b - y) * sin, y + (a - x) * sin + (b - y) * cos)
            for a, b in corners
        ]
    return Polygons([[value for corner in corners for value in corner]])


def polygon_pixels(parts: Sequence[Sequence[float]], size: tuple[int, int]) -> np.ndarray:
    """The pixels inside any of some polygons, as pycocotools draws them: H×W bool.

    Of a polygon that crosses itself, what is inside an odd number of times, so that one which goes
    round a hole and comes back the same way leaves the hole out.

    Args:
        parts: As of `Polygons`.
        size: Height and width of the picture in pixels.

    Raises:
        DataError: There are half a corner, or no numbers; or an outline is far too long.
        MissingPackageError: pycocotools is not installed.
    """
    try:
        from pycocotools import mask as coco
    except ModuleNotFoundError as error:
        raise MissingPackageError(
            "drawing polygons needs the package pycocotools; pip install 'dsunet[labels]'"
        ) from error
    # four numbers would be a box for pycocotools
    drawn = [corners for part in parts if len(corners := _corners(part)) >= 2 * _FEWEST]
    if not drawn:
        return np.zeros(size, bool)
    runs = coco.merge(coco.frPyObjects([corners.tolist() for corners in drawn], *size))
    inside: np.ndarray = coco.decode(runs).astype(bool)
    return inside


def _corners(part: Sequence[float]) -> np.ndarray:
    """x, y, x, y, … of a polygon that can be drawn."""
    try:
        corners = np.asarray(part, np.float64)
    except (TypeError, ValueError):
        corners = np.full(1, np.nan)
    if corners.ndim != 1 or len(corners) % 2 or not np.isfinite(corners).all():
        raise DataError(f"a polygon is {str(part)[:60]}, but needs x and y of every corner")
    steps = np.abs(np.diff(corners.reshape(-1, 2), axis=0, append=corners[:2].reshape(-1, 2)))
    if len(corners) and steps.max(axis=1).sum() > _LONGEST:
        raise DataError(
            f"a polygon is {steps.max(axis=1).sum():,.0f} px long, but {_LONGEST:,} at most can be "
            "drawn; its corners are no pixels"
        )
    return corners


def decode_runs(text: str) -> list[int]:
    """The run lengths that COCO's compressed text stands for.

    Each number is written in groups of five bits, the lowest first, as characters from `0` (48) on;
    a sixth bit says that more follow, and the fifth of the last is the sign. From the fourth number
    on, the difference to the second last is written (`rleFrString` in COCO's maskApi.c).

    Raises:
        DataError: It is no such text.
    """
    runs: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64:
            raise DataError(
                f"run lengths have the character {character!r}, which none is written by"
            )
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    if shift:
        raise DataError("run lengths end in the middle of a number; the file may be cut off")
    return runs


def runs_to_mask(runs: Sequence[int], size: tuple[int, int]) -> np.ndarray:
    """Run lengths as a mask: H×W bool.

    Args:
        runs: How many pixels in turn are outside and inside, outside first, column by column.
        size: Height and width of the picture in pixels.

    Raises:
        DataError: They are no numbers of pixels, or make another number than the picture has.
    """
    height, width = size
    counts = np.asarray(runs)
    if counts.ndim != 1 or counts.dtype.kind not in "iu" or (counts < 0).any():
        raise DataError("run lengths need to be whole numbers from 0 on")
    if counts.sum() != height * width:
        raise DataError(
            f"run lengths make {int(counts.sum())} pixels, but {width}×{height} are needed"
        )
    inside = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    return inside.reshape(width, height).T
