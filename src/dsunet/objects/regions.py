"""A mask → its connected regions, each measured by scikit-image's `regionprops`."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from dsunet.config.objects import PixelSize
from dsunet.errors import MissingPackageError

try:
    from scipy.spatial import ConvexHull
    from scipy.spatial.distance import pdist
    from skimage import measure
except ImportError as error:
    raise MissingPackageError(
        "measuring objects needs the package scikit-image; pip install 'dsunet[objects]'"
    ) from error

__all__ = ["PIXELS", "Region", "find_regions", "runs_of"]

_measure: Any = measure  # whose functions have no types

PIXELS = PixelSize(1.0, 1.0, "px")
"""Where nobody knows how large a pixel is."""


@dataclass(frozen=True)
class Region:
    """One object. Lengths and areas are in the unit that it was measured in, but for pixels'."""

    pixels: int
    """Its area in pixels; holes are not part of it."""
    box: tuple[int, int, int, int]
    """x and y of the upper left corner, width and height in pixels."""
    centroid: tuple[float, float]
    """x and y in pixels; 0 is the middle of the first one."""
    area: float
    longest_axis: float
    """The largest distance between two points of its outline, the largest Feret diameter."""
    major_axis: float
    """Of the ellipse with the same second moments."""
    minor_axis: float
    perimeter: float | None
    """Of all its outlines, those of holes too; `None` if pixels are not square."""
    holes: int
    mean_score: float | None
    """Mean probability; `None` where there are no scores."""
    max_score: float | None
    at_border: bool
    """Whether it touches the picture's border, beyond which it may go on."""
    coordinates: np.ndarray = field(repr=False, compare=False)
    """N×2, row and column of each pixel."""

    def without_pixels(self) -> Region:
        """The same without its `coordinates`, which take most of the memory."""
        return replace(self, coordinates=self.coordinates[:0])


def find_regions(
    inside: np.ndarray,
    scores: np.ndarray | None = None,
    *,
    least: float = 0.0,
    pixel: PixelSize = PIXELS,
) -> list[Region]:
    """The objects of a mask: pixels that touch at sides or corners, from top to bottom.

    Args:
        inside: H×W bool.
        scores: H×W floats, the probability of each pixel.
        least: Leave out those of a smaller area, in pixels.
        pixel: How large a pixel is; the unit of lengths and areas.
    """
    labels = np.asarray(_measure.label(inside, connectivity=2))
    areas = np.bincount(labels.ravel())
    small = areas < least
    small[0] = False
    if small.any():  # before they are measured, which takes most of the time
        labels[small[labels]] = 0
    found = _measure.regionprops(labels, scores, spacing=(pixel.height, pixel.width))
    height, width = inside.shape
    regions = []
    for each in found:
        top, left, bottom, right = (int(side) for side in each.bbox)
        row, column = (
            float(at / side)
            for at, side in zip(each.centroid, (pixel.height, pixel.width), strict=True)
        )
        regions.append(
            Region(
                pixels=int(areas[each.label]),
                box=(left, top, right - left, bottom - top),
                centroid=(column, row),
                area=float(each.area),
                longest_axis=_longest(each.image, pixel),
                major_axis=float(each.axis_major_length),
                minor_axis=float(each.axis_minor_length),
                perimeter=_perimeter(each.image, pixel),
                holes=1 - int(each.euler_number),
                mean_score=None if scores is None else float(each.intensity_mean),
                max_score=None if scores is None else float(each.intensity_max),
                at_border=left == 0 or top == 0 or right == width or bottom == height,
                coordinates=np.asarray(each.coords),
            )
        )
    return regions


def _perimeter(shape: np.ndarray, pixel: PixelSize) -> float | None:
    """scikit-image has none for pixels that are not square."""
    if not pixel.is_square:
        return None
    return float(_measure.perimeter(shape, 4)) * (pixel.width + pixel.height) / 2


def _longest(shape: np.ndarray, pixel: PixelSize) -> float:
    """The largest Feret diameter of a region: h×w bool, its box.

    Its outline goes through the middles of the pixels' outer sides, as that of `regionprops`, which
    compares every point of it with every other: of an object of 5,000 px a side, 1.6 GB.
    """
    points = []
    for axis in (0, 1):
        lines = shape if axis == 0 else shape.T
        filled = np.flatnonzero(lines.any(axis=1))
        first = lines[filled].argmax(axis=1) - 0.5
        last = lines.shape[1] - 0.5 - lines[filled][:, ::-1].argmax(axis=1)
        for ends in (first, last):
            pair = np.stack((filled, ends), axis=1)
            points.append(pair if axis == 0 else pair[:, ::-1])
    outline = np.concatenate(points)
    corners = outline[ConvexHull(outline).vertices] * (pixel.height, pixel.width)
    return float(pdist(corners).max())


def runs_of(coordinates: np.ndarray, size: tuple[int, int]) -> list[int]:
    """COCO's run lengths of some pixels: outside and inside in turn, column by column.

    Args:
        coordinates: N×2, row and column, N at least 1.
        size: Height and width of the picture.
    """
    height, width = size
    places = np.sort(coordinates[:, 1].astype(np.int64) * height + coordinates[:, 0])
    breaks = np.flatnonzero(np.diff(places) > 1)
    starts = places[np.concatenate(([0], breaks + 1))]
    ends = places[np.concatenate((breaks, [len(places) - 1]))] + 1
    borders = np.stack((starts, ends), axis=1).ravel()
    return [int(n) for n in np.diff(np.concatenate(([0], borders, [height * width])))]
