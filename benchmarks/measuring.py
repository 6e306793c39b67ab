"""What several scripts here do: the circumstances of a record, and measures of a few pairs."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

import dsunet
from dsunet.benchmarking import circumstances
from dsunet.data import Pair
from dsunet.data.pairs import read_pair
from dsunet.metrics import Measures
from dsunet.research.experiments.statistics import paired_difference
from dsunet.running.inference import quantise

__all__ = ["circumstances", "difference", "measures_of"]


def difference(after: np.ndarray, before: np.ndarray) -> list[float]:
    """The 95 % bootstrap interval of the mean difference of paired values, to five digits."""
    interval = paired_difference(after, before)
    assert interval is not None
    return [round(interval.low, 5), round(interval.high, 5)]


def measures_of(segmenter: dsunet.Segmenter, pairs: Iterable[Pair]) -> dict[str, float]:
    """S, F, E, MAE by the paper's protocol of 8-bit maps of these pairs, rounded to five digits."""
    measures = Measures(protocol="benchmark")
    for pair in pairs:
        image, mask, *_ = read_pair(pair)
        [probability] = segmenter.probabilities([segmenter.prepare(image)])
        measures.update(quantise(probability), np.asarray(mask))
    return {name: round(value, 5) for name, value in measures.compute().items()}
