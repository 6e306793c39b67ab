"""Bootstrap intervals of means over images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from dsunet.config.measuring import MeasuringProtocol
from dsunet.errors import MissingPackageError
from dsunet.metrics.definitions import ALL_MEASURES
from dsunet.metrics.measures import ImageMeasures

__all__ = ["DRAWS", "Interval", "PerImage", "bootstrap_intervals"]

DRAWS = 10_000
"""How often images are drawn anew."""


class Interval(NamedTuple):
    """Where a measure lies in most of the draws."""

    low: float
    high: float


def bootstrap_intervals(
    values: np.ndarray,
    take: Callable[[np.ndarray], np.ndarray] = lambda means: means,
    *,
    level: float = 0.95,
    seed: int = 0,
) -> list[Interval]:
    """Percentile bootstrap intervals over images; computed by SciPy.

    Images are drawn with replacement, as many as there are; the same seed and number of images give
    the same draws, whatever the values.

    Args:
        values: N×K: K numbers for each image.
        take: What is looked at, of the means of each draw: B×K → B×M.
        level: Share of the draws inside the interval.
        seed: Seed of the draws.

    Returns:
        M of them; none for fewer than two images.

    Raises:
        MissingPackageError: SciPy is not installed.
    """
    try:
        from scipy.stats import bootstrap
    except ImportError as error:
        raise MissingPackageError(
            "intervals need the package scipy; pip install 'dsunet[evaluate]'"
        ) from error
    rows = np.asarray(values, np.float64)
    count = len(rows)
    if count < 2:
        return []

    def statistic(drawn: np.ndarray, axis: int = -1) -> Any:
        """Of images by number, N or B×N: M or M×B."""
        draws = np.atleast_2d(drawn)
        first = count * np.arange(len(draws))[:, None]
        often = np.bincount((draws + first).ravel(), minlength=draws.size)
        found = take(often.reshape(draws.shape) @ rows / count).T
        return found if drawn.ndim > 1 else found[:, 0]

    result = bootstrap(
        (np.arange(count),),
        statistic,
        n_resamples=DRAWS,
        batch=max(1, 4_000_000 // count),
        vectorized=True,
        confidence_level=level,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    both = result.confidence_interval
    return [
        Interval(float(low), float(high)) for low, high in zip(both.low, both.high, strict=True)
    ]


class PerImage:
    """One method's measures of every image, kept for their intervals.

    Args:
        keys: Keys of `ALL_MEASURES`.
        protocol: By `raw`, images without an object count for none.
    """

    def __init__(self, keys: tuple[str, ...], protocol: MeasuringProtocol) -> None:
        self.keys = keys
        self.protocol = protocol
        self._rows: list[np.ndarray] = []

    def add(self, one: ImageMeasures) -> None:
        """Adds the measures of one map."""
        if self.protocol == "benchmark" or one.alarm is None:
            parts = [_part(key, one) for key in self.keys]
            self._rows.append(np.concatenate(parts))
            self._ends = np.cumsum([len(part) for part in parts])

    def intervals(self) -> dict[str, Interval]:
        """95 % intervals by key; none for fewer than two images."""
        if len(self._rows) < 2:
            return {}
        found = bootstrap_intervals(np.stack(self._rows), self._take)
        return dict(zip(self.keys, found, strict=True))

    def _take(self, means: np.ndarray) -> np.ndarray:
        """B×K → B×M: what is a curve gives its maximum."""
        return np.stack(
            [part.max(axis=1) for part in np.split(means, self._ends[:-1], axis=1)], axis=1
        )


def _part(key: str, one: ImageMeasures) -> np.ndarray:
    """The image's number, or its curve where the set's measure is the maximum of the mean curve."""
    about = ALL_MEASURES[key]
    if about.curve and about.of_curve == "max":
        return one.curves[about.curve]
    return np.array([one.values[key]])
