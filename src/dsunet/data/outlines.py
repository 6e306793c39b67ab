"""Shapes that annotation files describe → masks: polygons and COCO's run lengths."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dsunet.errors import DataError

__all__ = ["decode_runs", "fill_polygon", "runs_to_mask"]


def fill_polygon(corners: Sequence[float], size: tuple[int, int]) -> np.ndarray:
    """The pixels whose centre lies inside a polygon: H×W bool.

    Of a polygon that crosses itself, what is inside an odd number of times; what lies outside the
    picture is left out. A square from 20 to 50 px has 30×30 pixels, as its area says.

    Args:
        corners: x, y of every corner in pixels, in turn; 0 is the left or upper edge of the
            picture, not the middle of its first pixel.
        size: Height and width of the picture in pixels.

    Raises:
        DataError: There are fewer than three corners, half a corner, or no numbers.
    """
    height, width = size
    try:
        points = np.asarray(corners, np.float64)
    except (TypeError, ValueError):
        points = np.empty(0)
    if points.ndim != 1 or len(points) % 2 or len(points) < 6 or not np.isfinite(points).all():
        raise DataError(
            f"a polygon is {str(corners)[:60]}, but needs x and y of at least three corners"
        )
    points = points.reshape(-1, 2)
    # an edge changes inside to outside, or back, for all that lies right of it in its rows
    changes = np.zeros((height, width + 1), np.int32)
    for (x, y), (other_x, other_y) in zip(points, np.roll(points, -1, axis=0), strict=True):
        if y > other_y:
            x, y, other_x, other_y = other_x, other_y, x, y
        first, end = np.clip(np.ceil((y - 0.5, other_y - 0.5)), 0, height).astype(int)
        if first == end:
            continue
        rows = np.arange(first, end)
        crossings = x + (rows + 0.5 - y) * ((other_x - x) / (other_y - y))
        np.add.at(changes, (rows, np.clip(np.ceil(crossings - 0.5), 0, width).astype(int)), 1)
    inside: np.ndarray = np.cumsum(changes[:, :width], axis=1) % 2 == 1
    return inside


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
