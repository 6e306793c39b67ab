"""What measuring folders comes to."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dsunet.config.measuring import MeasuringProtocol
from dsunet.metrics.cuts import BestThreshold, FalseAlarms
from dsunet.metrics.detection import Detection
from dsunet.metrics.instances import ImageObjects, ObjectScores
from dsunet.metrics.intervals import Interval
from dsunet.support.files import encode_text, write_atomically, write_json

__all__ = ["Comparison", "Evaluation", "ObjectFacts", "as_text"]


@dataclass
class Evaluation:
    """The measures of a set of maps."""

    scores: dict[str, float] = field(default_factory=dict)
    """By the keys of `ALL_MEASURES` that were asked for: over the images with an object by the
    protocol `raw`, NaN if there is none; over all by `benchmark`."""
    per_image: dict[str, dict[str, float]] = field(default_factory=dict)
    """The measures of every image, by stem; those of a curve are of the image's own. By protocol
    `raw`, an image without an object has the mean absolute error alone."""
    curves: dict[str, np.ndarray] = field(default_factory=dict, compare=False)
    """"precision", "recall", "F" and "E", each the mean over the images that the scores are of, at
    256 thresholds: number i counts map values of 255 − i and more as object, the order of
    PySODMetrics. Empty if there is no such image."""
    resized: list[str] = field(default_factory=list)
    """Images whose map had another size than the mask and was resized to it, bilinearly."""
    empty: list[str] = field(default_factory=list)
    """Images whose mask is empty; by `benchmark`, F is 0 for them, whatever the map."""
    turned: list[str] = field(default_factory=list)
    """Those of `resized` whose map has its mask's size turned by 90°."""
    failures: dict[str, str] = field(default_factory=dict)
    """Images that could not be measured, by stem, each with the reason."""
    protocol: MeasuringProtocol = "raw"
    """Whether maps were measured as they are, or by the paper's protocol."""
    threshold: float = 0.5
    """From which a pixel is object, for Dice, IoU and false alarms."""
    false_alarms: FalseAlarms = field(default_factory=lambda: FalseAlarms(0, 0, math.nan, math.nan))
    """What the maps say of the images whose mask is empty."""
    detection: Detection = field(default_factory=lambda: Detection(0, 0, 0, 0, math.nan))
    """How well images with and without an object are told apart."""
    image_scores: dict[str, float] = field(default_factory=dict)
    """How sure every map is that there is an object, by stem, see `image_score`."""
    best_threshold: BestThreshold | None = None
    """Where the maps agree best with the objects; `None` if no image has one."""
    intervals: dict[str, Interval] = field(default_factory=dict)
    """95 % percentile bootstrap intervals of `scores` over images, where they were asked for."""
    objects: ObjectScores | None = None
    """Objects found, missed and invented, where that was asked for."""
    per_image_objects: dict[str, ImageObjects] = field(default_factory=dict, compare=False)
    """Those of every image, by stem."""

    def to_dict(self) -> dict[str, float | int]:
        """The scores, and counts.

        `{"S": …, "F": …, "E": …, "MAE": …, "Dice": …, "IoU": …, "images": n}`, or what was asked
        for. By the protocol `raw` also `without_object`, the number of images whose mask is empty,
        and `false_alarms`, the number of those with a pixel at or above the threshold; if there
        are such images, `false_alarm_area`, the mean share of such pixels, and
        `MAE_without_object`; if there are images of both kinds, `misses`, the number of images with
        an object and no pixel at or above the threshold, and `AUROC`, see `Detection`.
        """
        values: dict[str, float | int] = {**self.scores, "images": len(self.per_image)}
        if self.protocol == "benchmark":
            return values
        images, alarmed, area, error = self.false_alarms
        values |= {"without_object": images, "false_alarms": alarmed}
        if images:
            values |= {"false_alarm_area": area, "MAE_without_object": error}
        return values | (self.detection.to_dict() if self.detection.both else {})

    def write_json(self, path: Path) -> None:
        """Writes means, counts and the values of every image; what cannot be measured is null."""
        best = self.best_threshold
        content = {
            **{key: None if math.isnan(value) else value for key, value in self.to_dict().items()},
            "protocol": self.protocol,
            "threshold": self.threshold,
            "best_threshold": best.to_dict() if best is not None else None,
            "resized": self.resized,
            "turned": self.turned,
            "failures": self.failures,
            "empty_masks": self.empty,
            "image_scores": self.image_scores,
            "per_image": self.per_image,
        }
        if self.objects is not None:
            counts = {name: one.counts() for name, one in self.per_image_objects.items()}
            content["objects"] = {**self.objects.to_dict(), "per_image": counts}
        write_json(path, content)

    def write_csv(self, path: Path) -> None:
        """Writes one row per image, and the mean last; what cannot be measured is empty.

        Objects, if they were asked for, are counted; in the last row those of all images.
        """
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        counted: dict[str, dict[str, int]] = {}
        if self.objects is not None:
            counted = {name: one.counts() for name, one in self.per_image_objects.items()}
            counted["mean"] = self.objects.counts()  # of all images
        writer.writerow(["image", *self.scores, *counted.get("mean", ())])
        for name, values in {**self.per_image, "mean": self.scores}.items():
            row = [as_text(values.get(measure)) for measure in self.scores]
            writer.writerow([name, *row, *counted.get(name, {}).values()])
        write_atomically(path, encode_text(text.getvalue()))


def as_text(value: float | None) -> str:
    """A score in full precision; empty for one that there is not."""
    return "" if value is None or math.isnan(value) else repr(value)


@dataclass(frozen=True)
class ObjectFacts:
    """What is to be found in one image, by its mask."""

    share: float
    """Object pixels over all pixels that count, 0 to 1."""
    count: int
    """Objects: 8-connected regions of mask values above 128."""
    height: int
    width: int


@dataclass
class Comparison:
    """The measures of several methods' maps of the same images."""

    evaluations: dict[str, Evaluation]
    """By method, in the given order; all over the same images, those in `names`."""
    objects: dict[str, ObjectFacts]
    """By stem, of the images in `names`."""
    names: list[str]
    """The images that count, by stem: those that could be measured with every method."""
    left_out: list[str]
    """The images that do not, because some method failed on them: see its `failures`."""
