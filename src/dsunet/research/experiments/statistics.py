"""Means over seeds, and intervals for differences on the same images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dsunet.errors import MissingPackageError
from dsunet.support.tables import Cell

__all__ = ["PairedDifference", "over_seeds", "paired_difference"]

DRAWS = 10_000


class PairedDifference(NamedTuple):
    """The mean difference of two methods, and its interval."""

    mean: float
    low: float
    high: float


def over_seeds(values: Sequence[float]) -> Cell | None:
    """Mean and, from two values on, sample standard deviation; nothing without values."""
    if not values:
        return None
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return Cell(float(np.mean(values)), spread)


def paired_difference(
    first: np.ndarray, second: np.ndarray, *, level: float = 0.95, seed: int = 0
) -> PairedDifference | None:
    """`first` less `second`, with a percentile bootstrap interval over images.

    Images are drawn with replacement, both methods' values of an image together; what differs
    between seeds is not in the interval. Computed by SciPy.

    Args:
        first: A measure of one method for every image: N values.
        second: The same images' values of the other.
        level: Share of the draws inside the interval.
        seed: Seed of the draws.

    Returns:
        Nothing for fewer than two images.

    Raises:
        MissingPackageError: SciPy is not installed.
    """
    try:
        from scipy.stats import bootstrap
    except ImportError as error:
        raise MissingPackageError(
            "intervals need the package scipy; pip install 'dsunet[evaluate]'"
        ) from error
    differences = np.asarray(first, np.float64) - np.asarray(second, np.float64)
    if len(differences) < 2:
        return None
    mean = float(differences.mean())
    if np.ptp(differences) == 0:  # every draw is the same
        return PairedDifference(mean, mean, mean)
    result = bootstrap(
        (differences,),
        np.mean,
        n_resamples=DRAWS,
        batch=max(1, 4_000_000 // len(differences)),
        confidence_level=level,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    interval = result.confidence_interval
    return PairedDifference(mean, float(interval.low), float(interval.high))
