"""Which epoch is the best one."""

from __future__ import annotations

from collections.abc import Mapping

from dsunet.metrics import ALL_MEASURES

__all__ = ["FALLBACK", "OF_CLASSES", "deciding", "is_better"]

FALLBACK = "MAE_without_object"
"""Decides where no picture of the validation set has an object."""

OF_CLASSES = {"S": "mIoU", "IoU": "mIoU", "Dice": "mDice"}
"""What decides of a model of several classes, by what is asked for."""


def deciding(measures: Mapping[str, float], best_by: str) -> tuple[str, float] | None:
    """The measure that decides, and its value.

    It is over the pictures with an object, but for `Dice_all`, which is over all, and the same as
    Dice where each has one. Without any, it is the mean absolute error over those without one,
    which says more than the number of false alarms, as that may be 0 for long. Of a model of
    several classes it is the mean over these, see `OF_CLASSES`.

    Args:
        measures: What `Measures.summary` gives; empty without validation.
        best_by: The measure that is asked for.
    """
    known = (best_by, "Dice", FALLBACK) if best_by == "Dice_all" else (best_by, FALLBACK)
    known = (OF_CLASSES.get(best_by, best_by), *known)
    for key in known:
        if key in measures:
            return key, measures[key]
    return None


def is_better(key: str, value: float, before: float | None) -> bool:
    """Whether a value is better than the best one before; an equal one is not."""
    if before is None:
        return True
    higher = key in ("Dice_all", *OF_CLASSES.values()) or (
        key in ALL_MEASURES and ALL_MEASURES[key].higher_is_better
    )
    return value > before if higher else value < before
