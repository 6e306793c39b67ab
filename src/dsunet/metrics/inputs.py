"""A mask and a map as the measures need them; everything is worked out when it is first used."""

from __future__ import annotations

from functools import cached_property

import cv2
import numpy as np

from dsunet.metrics.boundary import boundary
from dsunet.metrics.structure import Quadrant, quadrants
from dsunet.metrics.thresholds import Counts
from dsunet.metrics.weighted import Weighting, weighting

__all__ = ["Map", "Truth"]


class Truth:
    """A mask, to measure any number of maps by.

    Args:
        mask: H×W uint8; values above 128 are object.
    """

    def __init__(self, mask: np.ndarray) -> None:
        self.object = np.ascontiguousarray(mask) > 128
        """H×W bool."""
        self.count = np.count_nonzero(self.object)
        """Pixels of the object."""

    @cached_property
    def background(self) -> np.ndarray:
        """H×W bool."""
        return ~self.object

    @cached_property
    def second_half(self) -> np.ndarray:
        """256 on the object and 0 elsewhere, H×W; added to grey values, it keeps them apart."""
        return self.object * np.intp(256)

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
        joint = (self.levels + self.truth.second_half).ravel()
        return np.bincount(joint, minlength=512).reshape(2, 256)

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
        return self.values[self.truth.object]

    @cached_property
    def outside(self) -> np.ndarray:
        """Its values off the object, in the order of rows."""
        return self.values[self.truth.background]

    @cached_property
    def boundary(self) -> np.ndarray:
        """Of the map above half of its range, H×W bool."""
        return boundary(cv2.LUT(self.levels, (self.table > 0.5).astype(np.uint8)))

    @cached_property
    def adaptive_counts(self) -> Counts:
        """At twice the map's mean, 1 at most."""
        threshold = min(2 * np.mean(self.values), 1)
        false_alarms, hits = self.histogram[:, self.table >= threshold].sum(axis=1)
        return self._counts(int(hits), int(false_alarms))

    @cached_property
    def counts(self) -> Counts:
        """At 256 thresholds of the stretched map in steps of 1/255, the highest first."""
        steps = (self.table * 255).astype(np.uint8)
        stretched = np.zeros_like(self.histogram)
        np.add.at(stretched, (slice(None), steps), self.histogram)
        false_alarms, hits = np.cumsum(stretched[:, ::-1], axis=1)
        return self._counts(hits, false_alarms)

    def _counts(self, hits: np.ndarray | int, false_alarms: np.ndarray | int) -> Counts:
        return Counts(hits, false_alarms, self.truth.count, self.truth.object.size)
