"""A mask and a map as the measures need them; everything is worked out when it is first used."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from dsunet.config.measuring import Measuring
from dsunet.metrics.boundary import boundary
from dsunet.metrics.cuts import Alarm, cut_of
from dsunet.metrics.detection import image_score
from dsunet.metrics.packages import cv2
from dsunet.metrics.structure import Quadrant, quadrants
from dsunet.metrics.thresholds import Counts, overlaps
from dsunet.metrics.weighted import Weighting, weighting

__all__ = ["Map", "Truth"]

EXACT = 1 << 24
"""How far OpenCV's histograms, in float32, count without rounding."""


class Truth:
    """A mask, to measure any number of maps by.

    Args:
        mask: H×W uint8; values above 128 are object.
        ignored: H×W bool, or uint8 that is not 0 where a pixel is ignored: it counts in no
            measure, as if it weighed nothing. `None`: all pixels count.

    Raises:
        ValueError: The sizes differ.
    """

    def __init__(self, mask: np.ndarray, ignored: np.ndarray | None = None) -> None:
        self.object: np.ndarray = np.ascontiguousarray(mask) > 128
        """H×W bool; of pixels that count."""
        self.counted: np.ndarray | None = None
        """H×W bool: which pixels count; `None` if all do."""
        if ignored is not None and ignored.any():
            if ignored.shape != mask.shape:
                raise ValueError(
                    f"the mask is {mask.shape} and its ignored pixels {ignored.shape}; they need "
                    "one size"
                )
            self.counted = np.ascontiguousarray(ignored) == 0
            self.object &= self.counted
        self.count = int(np.count_nonzero(self.object))
        """Pixels of the object."""
        self.size = self.object.size if self.counted is None else int(self.counted.sum())
        """Pixels of the image that count."""

    @cached_property
    def background(self) -> np.ndarray:
        """H×W bool; of pixels that count."""
        return ~self.object if self.counted is None else self.counted & ~self.object

    @cached_property
    def ignored(self) -> np.ndarray | None:
        """H×W bool: which pixels do not count; `None` if all do."""
        return None if self.counted is None else ~self.counted

    @cached_property
    def quadrants(self) -> list[Quadrant]:
        """For the structure measure; of a mask that is not empty."""
        return quadrants(self.object, self.counted)

    @cached_property
    def weighting(self) -> Weighting:
        """For the weighted F-measure; of a mask that is not empty."""
        return weighting(self.object, self.background)

    @cached_property
    def boundary(self) -> np.ndarray:
        """For boundary IoU, H×W bool."""
        return boundary(self.object, ignored=self.ignored)


class Map:
    """A prediction map beside its mask.

    By the protocol `raw` a grey value v is v / 255. By `benchmark`, PySODMetrics', every map is
    stretched from its own least to its own largest value to 0..1, unless it has one value alone. As
    there are 256 grey values at most, that and all thresholds are worked out for those, not for the
    pixels.

    Args:
        levels: H×W uint8.
        truth: The mask, of the same size.
        measuring: The protocol, and the threshold in use.

    Raises:
        ValueError: The sizes differ.
    """

    def __init__(self, levels: np.ndarray, truth: Truth, measuring: Measuring) -> None:
        if levels.shape != truth.object.shape:
            raise ValueError(
                f"the map is {levels.shape} and the mask {truth.object.shape}; they need one size"
            )
        self.levels, self.truth = np.ascontiguousarray(levels), truth
        self.raw = measuring.protocol == "raw"
        self.cut = cut_of(measuring.threshold)
        """The least grey value that is object at the threshold in use."""

    @cached_property
    def histogram(self) -> np.ndarray:
        """Pixels that count by grey value, off the object and on it: 2×256."""
        counted = self.truth.counted
        everywhere = _histogram(self.levels, None if counted is None else counted.view(np.uint8))
        inside = _histogram(self.levels, self.truth.object.view(np.uint8))
        return np.stack((everywhere - inside, inside))

    @cached_property
    def table(self) -> np.ndarray:
        """The value of each grey value, 256 in 0..1; stretched by the benchmark's protocol."""
        if self.raw:
            return np.arange(256) / 255
        present = np.flatnonzero(self.histogram.any(axis=0))
        least, largest = present[0], present[-1]
        values = np.arange(256).clip(least, largest) / 255
        if least != largest:
            values = (values - values[0]) / (values[-1] - values[0])
        return values

    @cached_property
    def values(self) -> np.ndarray:
        """The map, H×W float64 in 0..1; stretched by the benchmark's protocol."""
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
        """Of the map at the threshold in use, or above half of its range if it is stretched."""
        found = self.table > 0.5
        if self.raw:
            found = np.arange(256) >= self.cut
        ignored = self.truth.ignored
        return boundary(cv2.LUT(self.levels, found.astype(np.uint8)), ignored=ignored)

    @cached_property
    def adaptive_counts(self) -> Counts:
        """At twice the map's mean, 1 at most."""
        counted = self.truth.counted
        values = self.values if counted is None else self.values[counted]
        above = self.table >= min(2 * np.mean(values), 1)
        if self.raw:
            above[0] = False  # of a map that is 0 everywhere, nothing is object
        false_alarms, hits = self.histogram[:, above].sum(axis=1).tolist()
        return Counts(hits, false_alarms, self.truth.count, self.truth.size)

    @cached_property
    def counts(self) -> Counts:
        """At 256 thresholds of the map in steps of 1/255, the highest first."""
        # truncated as PySODMetrics does; of a raw map these are the grey values, without rounding
        steps = np.arange(256) if self.raw else (self.table * 255).astype(np.uint8)
        stretched = np.zeros((256, 2), np.int64)
        np.add.at(stretched, steps, self.histogram.T)
        false_alarms, hits = np.cumsum(stretched[::-1], axis=0).T
        return Counts(hits, false_alarms, self.truth.count, self.truth.size)

    @cached_property
    def overlaps(self) -> dict[str, np.ndarray]:
        """Dice and IoU of the pixels at or above each grey value, of the map as it is; 257.

        The last is of no pixel. Both are 0 where neither map nor mask has an object.
        """
        cumulated = np.cumsum(self.histogram[:, ::-1], axis=1)[:, ::-1]
        false_alarms, hits = np.pad(cumulated, ((0, 0), (0, 1)))
        return overlaps(Counts(hits, false_alarms, self.truth.count, self.truth.size))

    @cached_property
    def score(self) -> float:
        """How sure it is that there is an object, see `image_score`."""
        return image_score(self.histogram.sum(axis=0))

    @cached_property
    def found(self) -> bool:
        """Whether a pixel that counts reaches the threshold in use."""
        return bool(self.histogram[:, self.cut :].any())

    @cached_property
    def alarm(self) -> Alarm:
        """What it says of a picture without an object."""
        pixels = self.histogram.sum(axis=0)
        present = np.flatnonzero(pixels)
        area = float(pixels[self.cut :].sum() / max(1, self.truth.size))
        error = float(pixels @ np.arange(256) / 255 / max(1, self.truth.size))
        return Alarm(int(present[-1]) if present.size else -1, area, error)


def _histogram(levels: np.ndarray, where: np.ndarray | None) -> np.ndarray:
    """How many pixels there are of each grey value, 256; of those where a second uint8 is not 0."""
    counts = np.zeros(256, np.int64)
    step = max(1, EXACT // levels.shape[1])
    for row in range(0, levels.shape[0], step):
        piece = slice(row, row + step)
        mask = None if where is None else where[piece]
        counts += cv2.calcHist([levels[piece]], [0], mask, [256], [0, 256])[:, 0].astype(np.int64)
    return counts
