"""Means over seeds, and intervals for differences on the same images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dsunet.metrics.intervals import bootstrap_intervals
from dsunet.support.tables import Cell

__all__ = ["PairedDifference", "over_seeds", "paired_difference"]


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
    differences = np.asarray(first, np.float64) - np.asarray(second, np.float64)
    for low, high in bootstrap_intervals(differences[:, None], level=level, seed=seed):
        return PairedDifference(float(differences.mean()), low, high)
    return None
