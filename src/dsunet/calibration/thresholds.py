"""Thresholds from what maps of pictures say: chosen on a set, with how sure that choice is.

A pixel's threshold is a cut between two grey values of 8-bit maps, a picture's one between two
scores (`dsunet.metrics.detection.image_score`). Intervals are the bootstrap's: pictures with and
without an object are drawn again, each kind as often as there are of it, and the choice is made
anew; the interval holds the middle 95 % of the choices.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from dsunet.config.checking import require, require_choices
from dsunet.config.measuring import Measuring
from dsunet.errors import DataError
from dsunet.metrics.cuts import MIDDLE, cut_of, threshold_of
from dsunet.metrics.detection import Detection, auroc
from dsunet.metrics.inputs import Map, Truth
from dsunet.metrics.intervals import Interval
from dsunet.metrics.thresholds import curves

__all__ = [
    "Calibration",
    "Effect",
    "Observed",
    "Wanted",
    "choose",
    "effect_of",
    "observe",
]

SAMPLES = 1000
"""Of the bootstrap."""

OVERLAPS = ("Dice", "IoU", "F")


@dataclass(frozen=True)
class Wanted:
    """What thresholds are to be chosen by."""

    by: Literal["Dice", "IoU", "F"] = "Dice"
    """The measure that is highest at the threshold, as its mean over the pictures with an object;
    F has β² = 0.3. The threshold of a picture's score is the one where the share of objects found
    less that of false alarms is largest (Youden's J)."""

    recall: float | None = None
    """In its place: the highest threshold at which so much of an object is found, 0 to 1, as a mean
    over the pictures with one; and the highest score that so many of these pictures reach."""

    false_alarm_rate: float | None = None
    """In its place: the lowest threshold at which no more than this share of the pictures without
    an object have a pixel that reaches it, 0 to 1; and the lowest score that no more of them
    reach."""

    def __post_init__(self) -> None:
        require_choices(self)
        for name in ("recall", "false_alarm_rate"):
            value = getattr(self, name)
            require(value is None or 0 <= value <= 1, name, value, "needs 0 to 1")
        require(
            self.recall is None or self.false_alarm_rate is None,
            "recall",
            self.recall,
            "excludes `false_alarm_rate`: give one of them",
        )

    @property
    def rule(self) -> str:
        """In words."""
        if self.recall is not None:
            return f"a recall of {self.recall:g}"
        if self.false_alarm_rate is not None:
            return f"a false-alarm rate of {self.false_alarm_rate:g}"
        return f"the best {self.by}"


class Observed(NamedTuple):
    """What a map says of a picture, at every grey value as the least one that is object."""

    curves: dict[str, np.ndarray]
    """Dice, IoU, F and recall, 256 each; empty without an object."""
    highest: int
    """Its largest grey value."""
    score: float
    """How sure it is that there is an object."""


def observe(levels: np.ndarray, truth: Truth) -> Observed:
    """What is to be known of one map.

    Args:
        levels: H×W uint8.
        truth: The mask, of the same size, with pixels that count.
    """
    map_ = Map(levels, truth, Measuring())
    found: dict[str, np.ndarray] = {}
    if truth.count:
        by_name = curves(map_.counts)  # from the highest threshold to the lowest
        found = {name: by_name[name][::-1] for name in (*OVERLAPS, "recall")}
    return Observed(found, int(np.flatnonzero(map_.histogram.any(axis=0))[-1]), map_.score)


class Effect(NamedTuple):
    """What a threshold comes to on the pictures that it was chosen on."""

    dice: float
    """Mean Dice over the pictures with an object; NaN if there are none."""
    detection: Detection

    def to_dict(self) -> dict[str, Any]:
        """As files have it."""
        about = self.detection
        there = {} if math.isnan(self.dice) else {"Dice": round(self.dice, 4)}
        return {**there, "misses": about.missed, "false_alarms": about.alarmed}


@dataclass(frozen=True)
class Calibration:
    """Thresholds, and what they come to."""

    wanted: Wanted
    threshold: float
    """Of a pixel's probability."""
    interval: Interval
    """The middle 95 % of what the bootstrap has chosen."""
    image_threshold: float | None
    """Of a picture's score; `None` unless there are pictures of both kinds."""
    image_interval: Interval | None
    before: Effect
    """At 0.5."""
    after: Effect
    """At the threshold."""
    abstaining: Effect | None
    """At the threshold, with nothing found below the image's threshold."""
    by_image_alone: bool = False
    """Whether no threshold of a pixel comes to the wanted false-alarm rate, but that of an image
    does: then a pixel's is the one where the measure `by` is highest."""

    def to_dict(self) -> dict[str, Any]:
        """As weights files have it."""
        about = self.after.detection
        wanted = self.wanted
        rule: dict[str, Any] = {"by": wanted.by}
        if wanted.recall is not None:
            rule = {"recall": wanted.recall}
        if wanted.false_alarm_rate is not None:
            rule = {"false_alarm_rate": wanted.false_alarm_rate}
            rule |= {"by": wanted.by} if self.by_image_alone else {}
        told: dict[str, Any] = {
            **rule,
            "threshold": self.threshold,
            "interval": list(self.interval),
            "pictures": {"with_object": about.with_object, "without": about.without},
            "at_0.5": self.before.to_dict(),
            "at_threshold": self.after.to_dict(),
        }
        if self.image_threshold is not None and self.image_interval and self.abstaining:
            told |= {
                "image_threshold": self.image_threshold,
                "image_interval": list(self.image_interval),
                "AUROC": round(about.auroc, 4),
                "abstaining": self.abstaining.to_dict(),
            }
        return told


def choose(seen: Sequence[Observed], wanted: Wanted, seed: int = 0) -> Calibration:
    """The thresholds for what is wanted.

    Args:
        seen: Pictures that the model was not trained on.
        wanted: What to choose by.
        seed: Of the bootstrap.

    Raises:
        DataError: There are no pictures of a kind that it needs, or no threshold does it.
    """
    objects = [one for one in seen if one.curves]
    empties = [one for one in seen if not one.curves]
    if not objects and wanted.false_alarm_rate is None:
        raise DataError(
            "no picture has an object, so there is nothing to choose a threshold by but false "
            "alarms; give `false_alarm_rate`, or pictures with objects"
        )
    if not empties and wanted.false_alarm_rate is not None:
        raise DataError(
            "`false_alarm_rate` needs pictures without an object, but every mask has one; add "
            "such pictures, or choose by `by` or `recall`"
        )
    curve = _Curve.of(objects, empties, wanted)
    once = np.ones((1, curve.rows.shape[0]))
    cut = int(curve.cuts(once)[0])
    by_image_alone = cut < 0 and wanted.false_alarm_rate is not None and bool(objects)
    if by_image_alone:
        curve = _Curve.of(objects, empties, Wanted(wanted.by))
        once = np.ones((1, curve.rows.shape[0]))
        cut = int(curve.cuts(once)[0])
    if cut < 0:
        raise DataError(f"no threshold comes to {wanted.rule}: {curve.nearest()}")
    chance = np.random.default_rng(seed)
    drawn = _draws(chance, curve.rows.shape[0])
    again = curve.cuts(drawn)
    threshold = threshold_of(cut)
    low, high = np.percentile([threshold_of(max(1, int(c))) for c in again], (2.5, 97.5))
    scores = [np.array([one.score for one in kind]) for kind in (objects, empties)]
    of_image: float | None = None
    image_interval: Interval | None = None
    if objects and empties:
        of_image = _image_threshold(wanted, *scores)
        samples = [
            _image_threshold(wanted, *(chance.choice(kind, len(kind)) for kind in scores))
            for _ in range(SAMPLES)
        ]
        middle = np.percentile(samples, (2.5, 97.5))
        image_interval = Interval(*(round(float(value), 4) for value in middle))
    return Calibration(
        wanted,
        threshold,
        Interval(round(float(low), 3), round(float(high), 3)),
        of_image,
        image_interval,
        effect_of(seen, 0.5),
        effect_of(seen, threshold),
        None if of_image is None else effect_of(seen, threshold, of_image),
        by_image_alone,
    )


class _Curve(NamedTuple):
    """What decides on a cut."""

    rows: np.ndarray
    """Pictures × 256: the value that counts, of each picture at each cut."""
    least: float | None
    """The highest cut is wanted at which the mean is still so large; `None`: the largest mean."""
    most: float | None
    """The lowest cut is wanted at which the mean is so small."""

    @classmethod
    def of(cls, objects: Sequence[Observed], empties: Sequence[Observed], wanted: Wanted) -> _Curve:
        if wanted.false_alarm_rate is not None:
            highest = np.array([one.highest for one in empties])
            alarmed = (highest[:, None] >= np.arange(256)).astype(np.float64)
            return cls(alarmed, None, wanted.false_alarm_rate)
        name = "recall" if wanted.recall is not None else wanted.by
        return cls(np.stack([one.curves[name] for one in objects]), wanted.recall, None)

    def cuts(self, weights: np.ndarray) -> np.ndarray:
        """The cut for each row of weights of pictures; −1 where none does."""
        means: np.ndarray = (weights @ self.rows / weights.sum(axis=1, keepdims=True))[:, 1:]
        if self.least is not None:  # means fall with the cut; sums of parts are not exact
            count = (means >= self.least - 1e-9).sum(axis=1)
            return np.asarray(np.where(count > 0, count, -1))
        if self.most is not None:
            count = (means > self.most + 1e-9).sum(axis=1)
            return np.asarray(np.where(count < 255, count + 1, -1))
        best = means >= means.max(axis=1, keepdims=True)
        away = np.where(best, np.abs(np.arange(1, 256) - MIDDLE), 256)
        return np.asarray(away.argmin(axis=1) + 1)

    def nearest(self) -> str:
        """What can be had at most."""
        if self.least is not None:
            mean = self.rows[:, 1].mean()
            return f"the lowest one finds {mean:.3f} of an object on average"
        mean = self.rows[:, 255].mean()
        return (
            f"at the highest one {mean:.3f} of the pictures without an object have a false alarm; "
            "train with more such pictures"
        )


def _draws(chance: np.random.Generator, pictures: int) -> np.ndarray:
    """How often each picture is drawn, for every sample."""
    return chance.multinomial(pictures, np.full(pictures, 1 / pictures), SAMPLES).astype(np.float64)


def _image_threshold(wanted: Wanted, objects: np.ndarray, empties: np.ndarray) -> float:
    """Between two scores, or beyond all of them."""
    values = np.unique(np.concatenate([objects, empties]))
    between = np.concatenate([[0.0], (values[:-1] + values[1:]) / 2, [(values[-1] + 1) / 2]])
    if values[-1] == 1:
        between[-1] = np.nextafter(1, 2)  # which nothing reaches
    found = 1 - np.searchsorted(np.sort(objects), between, "left") / len(objects)
    alarms = 1 - np.searchsorted(np.sort(empties), between, "left") / len(empties)
    if wanted.recall is not None:
        return float(between[np.flatnonzero(found >= wanted.recall - 1e-9)[-1]])
    if wanted.false_alarm_rate is not None:
        return float(between[np.flatnonzero(alarms <= wanted.false_alarm_rate + 1e-9)[0]])
    index = found - alarms
    if index.max() <= 1e-9:
        return 0.0  # no score tells them apart, so none is a reason to say that there is nothing
    best = np.flatnonzero(index >= index.max() - 1e-9)
    return float(between[best[np.abs(between[best] - 0.5).argmin()]])


def effect_of(seen: Sequence[Observed], threshold: float, image_threshold: float = 0.0) -> Effect:
    """What thresholds come to on some pictures.

    Args:
        seen: The pictures.
        threshold: Of a pixel's probability.
        image_threshold: Of a picture's score; below it nothing is found.
    """
    objects = [one for one in seen if one.curves]
    empties = [one for one in seen if not one.curves]
    cut = cut_of(threshold)

    def finds(one: Observed) -> bool:
        return one.highest >= cut and one.score >= image_threshold

    dice = [
        one.curves["Dice"][cut] if one.score >= image_threshold and cut < 256 else 0.0
        for one in objects
    ]
    missed, alarmed = sum(not finds(one) for one in objects), sum(map(finds, empties))
    scores = [[one.score for one in kind] for kind in (objects, empties)]
    return Effect(
        float(np.mean(dice)) if dice else math.nan,
        Detection(len(objects), missed, len(empties), alarmed, auroc(*scores)),
    )
