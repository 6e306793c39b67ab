"""The measures of one prediction map after another."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np

from dsunet.config.measuring import Measuring, MeasuringProtocol
from dsunet.metrics.cuts import Alarm, BestThreshold, FalseAlarms, best_threshold, cut_of
from dsunet.metrics.definitions import ALL_MEASURES, CURVES, check_measures, usual_measures
from dsunet.metrics.detection import Detection, auroc
from dsunet.metrics.inputs import Map, Truth
from dsunet.metrics.thresholds import curves

__all__ = ["ImageMeasures", "Measures", "measure"]


class ImageMeasures(NamedTuple):
    """The measures of one map."""

    values: dict[str, float]
    """By the keys of `ALL_MEASURES`; those of a curve are of this map's own. By the protocol `raw`,
    a picture without an object has the mean absolute error alone."""
    curves: dict[str, np.ndarray]
    """Those in `CURVES`, and what other curves the measures need; 256 thresholds each."""
    dice: np.ndarray | None = None
    """The Dice coefficient of the map as it is, cut at each of the 256 grey values; `None` where
    there is no object."""
    alarm: Alarm | None = None
    """What the map says of a picture without an object; `None` where there is one."""
    score: float = 0.0
    """How sure the map is that there is an object, see `dsunet.metrics.detection.image_score`."""
    found: bool = False
    """Whether a pixel reaches the threshold."""


def measure(
    prediction: np.ndarray,
    mask: np.ndarray | Truth,
    measures: Iterable[str] | None = None,
    protocol: MeasuringProtocol = "raw",
    threshold: float = 0.5,
) -> ImageMeasures:
    """The measures of one map.

    Args:
        prediction: H×W uint8 in 0..255.
        mask: H×W uint8 in 0..255, above 128 for object; as a `Truth` it is worked out once for
            several maps, and may have ignored pixels.
        measures: Keys of `ALL_MEASURES`; by default the protocol's usual ones.
        protocol: `raw` measures the map as it is; `benchmark`, the paper's and PySODMetrics',
            stretches it from its least to its largest value first.
        threshold: Probability from which a pixel is object, for Dice, IoU and false alarms; these
            are of the map as it is by both protocols.

    Raises:
        ValueError: A measure or the protocol is unknown, or the sizes differ.
    """
    measuring = Measuring(protocol, threshold)
    keys = check_measures(usual_measures(protocol) if measures is None else measures)
    _keep_memory()
    truth = mask if isinstance(mask, Truth) else Truth(mask)
    map_ = Map(prediction, truth, measuring)
    alarm = None if truth.count else map_.alarm
    dice = map_.overlaps["Dice"][:-1] if truth.count else None
    of_image = map_.score, map_.found
    if map_.raw and alarm is not None:
        values = {"MAE": alarm.error} if "MAE" in keys else {}
        return ImageMeasures(values, {}, dice, alarm, *of_image)
    found = curves(map_.counts)
    needed = {*CURVES, *(ALL_MEASURES[key].curve for key in keys)}
    return ImageMeasures(
        {key: _value(key, map_, found) for key in keys},
        {name: curve for name, curve in found.items() if name in needed},
        dice,
        alarm,
        *of_image,
    )


@cache
def _keep_memory() -> None:
    """Lets this process keep what large arrays leave behind, once.

    glibc hands their memory back to the system and gets it anew page by page for the next image,
    which took longer than computing. Freeing one array of 31 MiB, which is never touched, raises
    its limits: up to 64 MiB stay. Other C libraries do not care.
    """
    np.empty(31 << 20, np.uint8)


def _value(key: str, map_: Map, found: Mapping[str, np.ndarray]) -> float:
    about = ALL_MEASURES[key]
    return about.of_map(map_) if about.of_map is not None else about.take(found[about.curve])


class Measures:
    """Measures over many maps.

    By the protocol `raw` they are over the pictures with an object; those without one are told of
    by `false_alarms`. By `benchmark` the mean is taken as PySODMetrics does, over all pictures.
    Means are over the images' values, or over their curves before the mean or maximum of the curve.
    Images without a pixel that counts are left out.

    Args:
        measures: Keys of `ALL_MEASURES`; by default the protocol's usual ones.
        protocol: `raw` or `benchmark`, see `measure`.
        threshold: Probability from which a pixel is object.

    Raises:
        ValueError: A measure or the protocol is unknown.
    """

    def __init__(
        self,
        measures: Iterable[str] | None = None,
        protocol: MeasuringProtocol = "raw",
        threshold: float = 0.5,
    ) -> None:
        self.protocol, self.threshold = protocol, threshold
        self.measures = check_measures(usual_measures(protocol) if measures is None else measures)
        self._values: dict[str, list[float]] = {key: [] for key in self.measures}
        self._sums: dict[str, np.ndarray] = {}
        self._dice = np.zeros(256)
        self._alarms: list[Alarm] = []
        self._scores: tuple[list[float], list[float]] = ([], [])  # with an object, and without
        self._missed = 0
        self._count = self._objects = 0

    def __len__(self) -> int:
        return self._objects + len(self._alarms)

    def add(self, one: ImageMeasures) -> None:
        """Adds one map's measures, which have to be of the same keys, protocol and threshold."""
        self._scores[one.dice is None].append(one.score)
        if one.dice is not None:
            self._objects += 1
            self._dice += one.dice
            self._missed += not one.found
        if one.alarm is not None:
            self._alarms.append(one.alarm)
            if self.protocol == "raw":
                return
        self._count += 1
        for key, values in self._values.items():
            values.append(one.values[key])
        for name, curve in one.curves.items():
            # NumPy's mean over rows adds one after the other, too
            self._sums[name] = self._sums[name] + curve if name in self._sums else curve

    def update(
        self, prediction: np.ndarray, mask: np.ndarray, ignored: np.ndarray | None = None
    ) -> None:
        """Adds one map; all H×W uint8, `ignored` not 0 where a pixel counts in no measure."""
        if (one := self.of(prediction, mask, ignored)) is not None:
            self.add(one)

    def of(
        self, prediction: np.ndarray, mask: np.ndarray, ignored: np.ndarray | None = None
    ) -> ImageMeasures | None:
        """What `update` would add, for a sum that is made elsewhere; `None` for nothing."""
        truth = Truth(mask, ignored)
        if not truth.size:
            return None
        return measure(prediction, truth, self.measures, self.protocol, self.threshold)

    def curves(self) -> dict[str, np.ndarray]:
        """Those in `CURVES`, the mean over all maps so far that they are of; none without one."""
        return {name: self._sums[name] / self._count for name in CURVES if self._count}

    def compute(self) -> dict[str, float]:
        """The mean over all maps so far, by key; NaN if there is nothing to measure."""
        return {key: self._mean(key) if self._count else math.nan for key in self.measures}

    def summary(self) -> dict[str, float]:
        """What can be said: measures that are numbers, and of pictures without an object.

        By the protocol `raw`, and if there are pictures without an object, `false_alarm_rate`
        is the share of them with a pixel at or above the threshold, `false_alarm_area` the mean
        share of such pixels, and `MAE_without_object` the mean absolute error. If there are
        pictures with one as well, `miss_rate` is the share of them without a pixel at or above the
        threshold, `AUROC` says how well the two kinds are told apart, and `Dice_all` is the mean
        of Dice over all pictures, which is 1 for one without an object if no pixel reaches the
        threshold, and else 0.
        """
        scores = {key: value for key, value in self.compute().items() if not math.isnan(value)}
        alarms = self.false_alarms()
        if self.protocol == "benchmark" or not alarms.images:
            return scores
        scores |= {
            "false_alarm_rate": alarms.rate,
            "false_alarm_area": alarms.area,
            "MAE_without_object": alarms.error,
        }
        found = self.detection()
        if not found.both:
            return scores
        dice = self._dice[cut_of(self.threshold)]
        silent = alarms.images - alarms.alarmed
        return scores | {
            "miss_rate": found.miss_rate,
            "AUROC": found.auroc,
            "Dice_all": float(dice + silent) / len(self),
        }

    def detection(self) -> Detection:
        """How well pictures with and without an object are told apart."""
        alarms = self.false_alarms()
        found, missed = self._objects, self._missed
        return Detection(found, missed, alarms.images, alarms.alarmed, auroc(*self._scores))

    def false_alarms(self) -> FalseAlarms:
        """What the maps say of the pictures without an object."""
        return FalseAlarms.of(self._alarms, self.threshold)

    def best_threshold(self) -> BestThreshold | None:
        """Where the maps agree best with the objects; `None` if there is no picture with one."""
        if not self._objects:
            return None
        return best_threshold(self.dice(), self._alarms, self.threshold)

    def dice(self) -> np.ndarray:
        """The mean Dice coefficient of maps as they are, cut at each of the 256 grey values.

        Over the pictures with an object; empty if there are none.
        """
        return self._dice / self._objects if self._objects else np.zeros(0)

    @property
    def alarms(self) -> Sequence[Alarm]:
        """What the maps say of each picture without an object."""
        return self._alarms

    def _mean(self, key: str) -> float:
        about = ALL_MEASURES[key]
        if about.curve:
            return about.take(self._sums[about.curve] / self._count)
        return float(np.mean(np.array(self._values[key], np.float64)))
