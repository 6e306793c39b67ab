"""IoU and Dice of several classes over a whole set, from the pixels of all its pictures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["ClassMeasures", "class_counts", "mean_of_classes"]


def class_counts(
    found: np.ndarray, truth: np.ndarray, ignored: np.ndarray | None = None
) -> np.ndarray:
    """Hits, false alarms and misses of each class in a picture, in pixels: C×3 int64.

    Args:
        found: C×H×W bool.
        truth: C×H×W bool.
        ignored: H×W bool, of pixels that do not count; `None`: all count.

    Raises:
        ValueError: The sizes differ.
    """
    if found.shape != truth.shape:
        raise ValueError(f"the masks found are {found.shape} and the true ones {truth.shape}")
    if ignored is not None:
        found, truth = found & ~ignored, truth & ~ignored
    hits = np.count_nonzero(found & truth, axis=(1, 2))
    both = (np.count_nonzero(each, axis=(1, 2)) for each in (found, truth))
    return np.stack([hits, *(total - hits for total in both)], 1).astype(np.int64)


def mean_of_classes(values: Sequence[float]) -> float:
    """The mean over the classes that have a value; NaN if none has."""
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")


class ClassMeasures:
    """IoU and Dice of classes over a set, as the field has them: from the pixels of all pictures.

    They are worked out once, from sums over all pictures, so that a picture counts by its pixels of
    a class. A class that neither masks nor predictions hold anywhere has none, and no part in the
    mean; one that is missing in one of both alone has 0.

    Args:
        classes: Their names.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = tuple(classes)
        self.counts = np.zeros((len(self.classes), 3), np.int64)
        """Hits, false alarms and misses of each class so far, in pixels."""

    def add(self, counts: np.ndarray) -> None:
        """Adds what `class_counts` gives of a picture."""
        self.counts += counts

    def iou(self) -> list[float]:
        """Of each class; NaN of one that is nowhere."""
        return self._ratio(1)

    def dice(self) -> list[float]:
        """Of each class; NaN of one that is nowhere."""
        return self._ratio(2)

    def _ratio(self, weight: int) -> list[float]:
        hits, false_alarms, misses = self.counts.T
        total = weight * hits + false_alarms + misses
        return [
            float(weight * h / t) if t else float("nan") for h, t in zip(hits, total, strict=True)
        ]

    def summary(self) -> dict[str, float]:
        """`mIoU`, `mDice`, `IoU/NAME` and `Dice/NAME` of every class; without what is NaN."""
        iou, dice = self.iou(), self.dice()
        named = {"mIoU": mean_of_classes(iou), "mDice": mean_of_classes(dice)}
        for measure, values in (("IoU", iou), ("Dice", dice)):
            named |= {f"{measure}/{n}": v for n, v in zip(self.classes, values, strict=True)}
        return {name: value for name, value in named.items() if not np.isnan(value)}
