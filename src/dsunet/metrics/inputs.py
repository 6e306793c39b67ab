"""A mask and a map as the measures need them; everything is worked out when it is first used."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from dsunet.metrics.boundary import boundary
from dsunet.metrics.packages import cv2
from dsunet.metrics.structure import Quadrant, quadrants
from dsunet.metrics.thresholds import Counts
from dsunet.metrics.weighted import Weighting, weighting

__all__ = ["Map", "Truth"]

EXACT = 1 << 24
"""How far OpenCV's histograms, in float32, count without rounding."""


class Truth:
    """A mask, to measure any number of maps by.

    Args:
        mask: H×W uint8; values above 128 are object.
    """

    def __init__(self, mask: np.ndarray) -> None:
        self.object: np.ndarray = np.ascontiguousarray(mask) > 128
        """H×W bool."""
        self.count = int(np.count_nonzero(self.object))
        """Pixels of the object."""
        self.size = int(self.object.size)
        """Pixels of the image."""

    @cached_property
    def background(self) -> np.ndarray:
        """H×W bool."""
        return ~self.object

    @cached_property
    def quadrants(self) -> list[Quadrant]:
        """For the structure measure; of a mask that is not empty."""
        return quadrants(self.object)

    @cached_property
    def weighting(self) -> Weighting:
        """For the weighted F-measure; of a mask that is not empty."""
        return weighting(self.object)

    @cached_property
    def boundary(self) -> np.ndarray:
        """For boundary IoU, H×W bool."""
        return boundary(self.object)


class Map:
    """A prediction map beside its mask.

    PySODMetrics stretches every map from its own least to its own largest value to 0..1, unless it
    has one value alone. As there are 256 grey values at most, that and all thresholds are worked
    out for those, not for the pixels.

    Args:
        levels: H×W uint8.
        truth: The mask, of the same size.

    Raises:
        ValueError: The sizes differ.
    """

    def __init__(self, levels: np.ndarray, truth: Truth) -> None:
        if levels.shape != truth.object.shape:
            raise ValueError(
                f"the map is {levels.shape} and the mask {truth.object.shape}; they need one size"
            )
        self.levels, self.truth = np.ascontiguousarray(levels), truth

    @cached_property
    def histogram(self) -> np.ndarray:
        """Pixels by grey value, off the object and on it: 2×256."""
        everywhere = _histogram(self.levels, None)
        inside = _histogram(self.levels, self.truth.object.view(np.uint8))
        return np.stack((everywhere - inside, inside))

    @cached_property
    def table(self) -> np.ndarray:
        """The stretched value of each grey value, 256 in 0..1."""
        present = np.flatnonzero(self.histogram.any(axis=0))
        least, largest = present[0], present[-1]
        values = np.arange(256).clip(least, largest) / 255
        if least != largest:
            values = (values - values[0]) / (values[-1] - values[0])
        return values

    @cached_property
    def values(self) -> np.ndarray:
        """The stretched map, H×W float64 in 0..1."""
        values: np.ndarray = cv2.LUT(self.levels, self.table)
        return values

    @cached_property
    def inside(self) -> np.ndarray:
        """Its values on the object, in the order of rows."""
        inside: np.ndarray = self.values[self.truth.object]
        return inside

    @cached_property
    def outside(self) -> np.ndarray:
        """Its values off the object, in the order of rows."""
        outside: np.ndarray = self.values[self.truth.background]
        return outside

    @cached_property
    def boundary(self) -> np.ndarray:
        """Of the map above half of its range, H×W bool."""
        return boundary(cv2.LUT(self.levels, (self.table > 0.5).astype(np.uint8)))

    @cached_property
    def adaptive_counts(self) -> Counts:
        """At twice the map's mean, 1 at most."""
        threshold = min(2 * np.mean(self.values), 1)
        false_alarms, hits = self.histogram[:, self.table >= threshold].sum(axis=1).tolist()
        return Counts(hits, false_alarms, self.truth.count, self.truth.size)

    @cached_property
    def counts(self) -> Counts:
        """At 256 thresholds of the stretched map in steps of 1/255, the highest first."""
        steps = (self.table * 255).astype(np.uint8)
        stretched = np.zeros((256, 2), np.int64)
        np.add.at(stretched, steps, self.histogram.T)
        false_alarms, hits = np.cumsum(stretched[::-1], axis=0).T
        return Counts(hits, false_alarms, self.truth.count, self.truth.size)


def _histogram(levels: np.ndarray, where: np.ndarray | None) -> np.ndarray:
    """How many pixels there are of each grey value, 256; of those where a second uint8 is not 0."""
    counts = np.zeros(256, np.int64)
    step = max(1, EXACT // levels.shape[1])
    for row in range(0, levels.shape[0], step):
        piece = slice(row, row + step)
        mask = None if where is None else where[piece]
        counts += cv2.calcHist([levels[piece]], [0], mask, [256], [0, 256])[:, 0].astype(np.int64)
    return counts
