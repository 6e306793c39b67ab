"""The measures of one prediction map after another."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import NamedTuple

import numpy as np

from dsunet.metrics.definitions import ALL_MEASURES, CURVES, MEASURES, check_measures
from dsunet.metrics.inputs import Map, Truth
from dsunet.metrics.thresholds import curves

__all__ = ["ImageMeasures", "Measures", "measure"]


class ImageMeasures(NamedTuple):
    """The measures of one map."""

    values: dict[str, float]
    """By the keys of `ALL_MEASURES`; those of a curve are of this map's own."""
    curves: dict[str, np.ndarray]
    """Those in `CURVES`, and what other curves the measures need; 256 thresholds each."""


def measure(
    prediction: np.ndarray, mask: np.ndarray | Truth, measures: Iterable[str] = MEASURES
) -> ImageMeasures:
    """The measures of one map.

    Args:
        prediction: H×W uint8 in 0..255.
        mask: H×W uint8 in 0..255, above 128 for object; as a `Truth` it is worked out once for
            several maps.
        measures: Keys of `ALL_MEASURES`.

    Raises:
        ValueError: A measure is unknown, or the sizes differ.
    """
    keys = check_measures(measures)
    _keep_memory()
    map_ = Map(prediction, mask if isinstance(mask, Truth) else Truth(mask))
    found = curves(map_.counts)
    needed = {*CURVES, *(ALL_MEASURES[key].curve for key in keys)}
    return ImageMeasures(
        {key: _value(key, map_, found) for key in keys},
        {name: curve for name, curve in found.items() if name in needed},
    )


@cache
def _keep_memory() -> None:
    """Lets this process keep what large arrays leave behind, once.

    glibc hands their memory back to the system and gets it anew page by page for the next image,
    which took longer than computing. Freeing one array of 31 MiB, which is never touched, raises
    its limits: up to 64 MiB stay. Other C libraries do not care.
    """
    np.empty(31 << 20, np.uint8)


def _value(key: str, map_: Map, found: Mapping[str, np.ndarray]) -> float:
    about = ALL_MEASURES[key]
    return about.of_map(map_) if about.of_map is not None else about.take(found[about.curve])


class Measures:
    """Measures over many maps.

    The mean is taken as PySODMetrics does: over the images' values, or over their curves before
    the mean or maximum of the curve.

    Args:
        measures: Keys of `ALL_MEASURES`.

    Raises:
        ValueError: A measure is unknown.
    """

    def __init__(self, measures: Iterable[str] = MEASURES) -> None:
        self.measures = check_measures(measures)
        self._values: dict[str, list[float]] = {key: [] for key in self.measures}
        self._sums: dict[str, np.ndarray] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, one: ImageMeasures) -> None:
        """Adds one map's measures, which have to be of the same keys."""
        self._count += 1
        for key, values in self._values.items():
            values.append(one.values[key])
        for name, curve in one.curves.items():
            # NumPy's mean over rows adds one after the other, too
            self._sums[name] = self._sums[name] + curve if name in self._sums else curve

    def update(self, prediction: np.ndarray, mask: np.ndarray) -> None:
        """Adds one map; both H×W uint8 in 0..255."""
        self.add(measure(prediction, mask, self.measures))

    def curves(self) -> dict[str, np.ndarray]:
        """Those in `CURVES`, the mean over all maps so far."""
        return {name: self._sums[name] / self._count for name in CURVES}

    def compute(self) -> dict[str, float]:
        """The mean over all maps so far, by key."""
        return {key: self._mean(key) for key in self.measures}

    def _mean(self, key: str) -> float:
        about = ALL_MEASURES[key]
        if about.curve:
            return about.take(self._sums[about.curve] / self._count)
        return float(np.mean(np.array(self._values[key], np.float64)))
