"""Maps cut at a threshold, as `dsunet predict` cuts them: overlap, false alarms, best threshold.

An 8-bit map of probabilities holds p × 255, rounded. Its value v is object at a threshold t if
v / 255 ≥ t; the threshold (v − 0.5) / 255 cuts the probabilities themselves at the same pixels, so
at 0.5 a map and the probabilities agree. At other thresholds pixels may differ whose probability
lies within 1/510 of it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

__all__ = [
    "NOTHING_TO_MEASURE",
    "Alarm",
    "BestThreshold",
    "FalseAlarms",
    "alarm_rates",
    "best_threshold",
    "cut_of",
    "describe_alarms",
    "describe_threshold",
    "threshold_of",
]

NOTHING_TO_MEASURE = "cannot say anything of such a set: there are only false alarms to count."
"""Ends a sentence about measures of objects where no mask has one."""

MIDDLE = 128
"""The least grey value that is object at 0.5."""


class Alarm(NamedTuple):
    """What a map says of a picture without an object."""

    highest: int
    """Its largest grey value, 0 to 255; -1 if no pixel counts."""
    area: float
    """Pixels at or above the threshold, over all that count."""
    error: float
    """The mean absolute error."""


class FalseAlarms(NamedTuple):
    """What maps say of the pictures without an object."""

    images: int
    """How many such pictures there are."""
    alarmed: int
    """Those with at least one pixel at or above the threshold."""
    area: float
    """Pixels at or above the threshold, over all: the mean over all these pictures."""
    error: float
    """Mean absolute error over these pictures."""

    @classmethod
    def of(cls, alarms: Sequence[Alarm], threshold: float) -> FalseAlarms:
        """The mean over pictures; area and error are NaN where there are none."""
        if not alarms:
            return cls(0, 0, math.nan, math.nan)
        alarmed = sum(alarm.highest >= cut_of(threshold) for alarm in alarms)
        area, error = (float(np.mean([alarm[part] for alarm in alarms])) for part in (1, 2))
        return cls(len(alarms), alarmed, area, error)

    @property
    def rate(self) -> float:
        """Pictures with a false alarm, over all without an object; NaN where there are none."""
        return self.alarmed / self.images if self.images else math.nan


class BestThreshold(NamedTuple):
    """The threshold at which maps agree best with the masks of their objects."""

    threshold: float
    """For `dsunet predict --threshold`."""
    dice: float
    """Mean Dice coefficient over the pictures with an object, at this threshold."""
    dice_in_use: float
    """The same at the threshold that the measures were asked for."""
    alarmed: int
    """Pictures without an object that have a false alarm at this threshold."""

    def to_dict(self) -> dict[str, float | int]:
        """As files have it."""
        return {
            "threshold": self.threshold,
            "Dice": self.dice,
            "Dice_in_use": self.dice_in_use,
            "false_alarms": self.alarmed,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any] | None) -> BestThreshold | None:
        """From what `to_dict` gives; `None` from nothing."""
        if not values:
            return None
        dice, in_use = float(values["Dice"]), float(values["Dice_in_use"])
        return cls(float(values["threshold"]), dice, in_use, int(values["false_alarms"]))


def describe_alarms(alarms: FalseAlarms) -> str:
    """In words; of pictures without an object, of which there are some."""
    return (
        f"{alarms.alarmed} of {alarms.images} images without an object "
        f"({100 * alarms.rate:.1f} %) have a false alarm; on average {100 * alarms.area:.2f} % of "
        f"the area, MAE {alarms.error:.4f}"
    )


def describe_threshold(best: BestThreshold, in_use: float) -> str:
    """In words, for the pictures that it was found on."""
    alarms = f", and {best.alarmed} false alarms" if best.alarmed else ""
    return (
        f"best threshold: {best.threshold:g} (`threshold`), with a mean Dice of {best.dice:.4f}"
        f"{alarms}; at {in_use:g} it is {best.dice_in_use:.4f}"
    )


def cut_of(threshold: float) -> int:
    """The least grey value of an 8-bit map that is object at a threshold; 256 if none is."""
    return int(np.searchsorted(np.arange(256) / 255, threshold))


def threshold_of(cut: int) -> float:
    """The threshold at which a grey value is the least one that is object.

    Three digits are enough to tell grey values apart, and are what a person types.
    """
    return round((cut - 0.5) / 255, 3)


def alarm_rates(highest: Sequence[int]) -> np.ndarray:
    """The share of pictures without an object that have a false alarm, for each of 256 cuts.

    Args:
        highest: The largest grey value of each picture's map.
    """
    alarmed = np.asarray(highest)[:, None] >= np.arange(256)
    return np.asarray(alarmed.mean(axis=0))


def best_threshold(dice: np.ndarray, alarms: Sequence[Alarm], in_use: float) -> BestThreshold:
    """The threshold with the highest mean Dice coefficient; of several, the nearest to 0.5.

    Args:
        dice: The mean coefficient over pictures with an object, of pixels at or above each of the
            256 grey values.
        alarms: Of the pictures without an object.
        in_use: The threshold to set it beside.
    """
    highest = np.flatnonzero(dice[1:] == dice[1:].max()) + 1
    cut = int(highest[np.argmin(np.abs(highest - MIDDLE))])
    threshold = threshold_of(cut)
    own = cut_of(in_use)
    at = float(dice[own]) if own < dice.size else 0.0
    alarmed = sum(alarm.highest >= cut for alarm in alarms)
    return BestThreshold(threshold, float(dice[cut]), at, alarmed)
