"""Measures of a map cut at thresholds: all come from how many pixels there are of each grey value.

Definitions and order of operations are PySODMetrics', so that the digits are the same.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dsunet.metrics.structure import EPS

__all__ = ["Counts", "alignment", "curves", "f_measure", "overlaps"]

BETA_SQUARED = 0.3

# One whole number for one threshold, or an array of them for several; and what comes of it.
Number = Any


class Counts:
    """Pixels above thresholds, on and off the object.

    Args:
        hits: How many pixels of the object are at or above a threshold: a number, or an array.
        false_alarms: How many other pixels are.
        objects: Pixels of the object.
        size: Pixels of the image that count.
    """

    def __init__(self, hits: Number, false_alarms: Number, objects: int, size: int) -> None:
        self.hits, self.false_alarms = hits, false_alarms
        self.objects, self.size = objects, size


def curves(counts: Counts) -> dict[str, np.ndarray]:
    """Precision, recall, F, E, Dice and IoU over thresholds; 0 where 0 is divided by 0."""
    found = counts.hits + counts.false_alarms
    precision, recall = _ratio(counts.hits, found), _ratio(counts.hits, counts.objects)
    weighted = (1 + BETA_SQUARED) * precision * recall
    return {
        "precision": precision,
        "recall": recall,
        "F": _ratio(weighted, BETA_SQUARED * precision + recall),
        "E": alignment(counts),
        **overlaps(counts),
    }


def overlaps(counts: Counts) -> dict[str, np.ndarray]:
    """Dice and IoU over thresholds; 0 where 0 is divided by 0."""
    found = counts.hits + counts.false_alarms
    return {
        "Dice": _ratio(2 * counts.hits, counts.objects + found),
        "IoU": _ratio(counts.hits, counts.objects + counts.false_alarms),
    }


def _ratio(above: np.ndarray, below: np.ndarray | int) -> np.ndarray:
    result = np.zeros(above.shape)
    np.divide(above, below, out=result, where=np.asarray(below) != 0)
    return result


def f_measure(counts: Counts) -> float:
    """The F-measure at one threshold, with β² = 0.3 (Achanta et al., CVPR 2009)."""
    if counts.hits == 0:
        return 0.0
    precision = counts.hits / (counts.hits + counts.false_alarms)
    recall = counts.hits / counts.objects
    weighted = (1 + BETA_SQUARED) * precision * recall
    return float(weighted / (BETA_SQUARED * precision + recall))


def alignment(counts: Counts) -> Number:
    """The enhanced-alignment measure (Fan et al., IJCAI 2018) at one threshold, or at several."""
    found = counts.hits + counts.false_alarms
    rest = counts.size - found
    if counts.objects == 0:
        total = rest
    elif counts.objects == counts.size:
        total = found
    else:
        misses = counts.objects - counts.hits
        found_share, object_share = found / counts.size, counts.objects / counts.size
        total = 0
        for pixels, one, other in (
            (counts.hits, 1 - found_share, 1 - object_share),
            (counts.false_alarms, 1 - found_share, 0 - object_share),
            (misses, 0 - found_share, 1 - object_share),
            (rest - misses, 0 - found_share, 0 - object_share),
        ):
            agreement = 2 * (one * other) / (one**2 + other**2 + EPS)
            total = total + (agreement + 1) ** 2 / 4 * pixels
    return total / (counts.size - 1 + EPS)
