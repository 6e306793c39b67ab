"""What several scripts here do: the circumstances of a record, and measures of a few pairs."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

import dsunet
from dsunet.benchmarking import circumstances
from dsunet.data import Pair
from dsunet.data.pairs import read_pair
from dsunet.metrics import Measures
from dsunet.running.inference import quantise

__all__ = ["circumstances", "measures_of"]


def measures_of(segmenter: dsunet.Segmenter, pairs: Iterable[Pair]) -> dict[str, float]:
    """S, F, E, MAE by the paper's protocol of 8-bit maps of these pairs, rounded to five digits."""
    measures = Measures(protocol="benchmark")
    for pair in pairs:
        image, mask, *_ = read_pair(pair)
        [probability] = segmenter.probabilities([segmenter.prepare(image)])
        measures.update(quantise(probability), np.asarray(mask))
    return {name: round(value, 5) for name, value in measures.compute().items()}
