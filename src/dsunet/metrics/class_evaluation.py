"""A folder of predictions of several classes against a folder of masks."""

from __future__ import annotations

import csv
import io
import multiprocessing
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from dsunet.config import ClassReading
from dsunet.data.images import decode
from dsunet.data.pairing import pair_up
from dsunet.data.pairs import Pair, select_pairs
from dsunet.data.sources import ClassMasks
from dsunet.data.survey import survey
from dsunet.errors import DataError, ImageError
from dsunet.metrics.classes import ClassMeasures, class_counts, mean_of_classes
from dsunet.metrics.inputs import Truth
from dsunet.metrics.measures import measure
from dsunet.metrics.results import as_text
from dsunet.support.files import encode_text, write_atomically, write_json
from dsunet.support.processes import in_processes

__all__ = ["OF_PICTURES", "OF_SET", "ClassEvaluation", "evaluate_classes"]

OF_SET = ("IoU", "Dice")
"""Measures from the pixels of all pictures together."""

OF_PICTURES = ("S", "F", "E", "MAE")
"""Measures of each picture that has the class, of which the mean is taken."""


@dataclass
class ClassEvaluation:
    """The measures of predictions of several classes."""

    classes: tuple[str, ...]
    scores: dict[str, dict[str, float]] = field(default_factory=dict)
    """By class, and then by measure (IoU, Dice, S, F, E, MAE); NaN for what cannot be measured: IoU
    and Dice of a class that is nowhere, the others of a class that no mask holds."""
    mean: dict[str, float] = field(default_factory=dict)
    """The mean of each measure over the classes that have it."""
    with_class: dict[str, int] = field(default_factory=dict)
    """How many masks hold each class."""
    per_image: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    """By picture and class, the measures of pictures."""
    failures: dict[str, str] = field(default_factory=dict)
    """Pictures that could not be measured, each with the reason."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values; what cannot be measured is `None`."""
        return {
            "images": len(self.per_image),
            "classes": {
                name: {**_plain(values), "images": self.with_class[name]}
                for name, values in self.scores.items()
            },
            "mean": _plain(self.mean),
        }

    def write_json(self, path: Path) -> None:
        """Writes all there is."""
        write_json(path, {**self.to_dict(), "failures": self.failures, "per_image": self.per_image})

    def write_csv(self, path: Path) -> None:
        """Writes one row for each class, and the mean last."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        keys = (*OF_SET, *OF_PICTURES)
        writer.writerow(["class", "images", *keys])
        for name, values in self.scores.items():
            row = [as_text(values[key]) for key in keys]
            writer.writerow([name, self.with_class[name], *row])
        means = [as_text(self.mean[key]) for key in keys]
        writer.writerow(["mean", len(self.per_image), *means])
        write_atomically(path, encode_text(text.getvalue()))


def _plain(values: dict[str, float]) -> dict[str, float | None]:
    return {key: None if np.isnan(value) else value for key, value in values.items()}


class _Task(NamedTuple):
    """A picture to measure."""

    pair: Pair
    max_pixels: int | None


class _Outcome(NamedTuple):
    """What it came to."""

    name: str
    counts: np.ndarray
    values: dict[str, dict[str, float]]
    reason: str = ""


def evaluate_classes(
    predictions: str | Path,
    masks: str | Path,
    reading: ClassReading,
    names: Sequence[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
    workers: int = 1,
) -> ClassEvaluation:
    """Measures predictions of several classes, matched with masks by stem.

    IoU and Dice of a class are worked out once from the pixels of all pictures together, as the
    field does. S, F, E and MAE are those of the class's black-and-white maps, prediction and mask,
    by the protocol `raw`, as a mean over the pictures whose mask holds the class. Means are over
    the classes that have a value.

    Args:
        predictions: Folder of numbers of classes, 1 to C in their order and 0 for background, as
            `dsunet predict --save labels` writes them.
        masks: Folder of masks, or of a folder for each class.
        reading: What the masks' values mean.
        names: Measure these stems only, such as those of a run's `val.txt`.
        progress: Called with the number of pictures done and the number of all.
        workers: Processes to share the work.

    Raises:
        DataError: A folder is missing or empty, a file has no partner, or masks hold no class.
        ImageError: No picture can be measured.
    """
    pairs = _pairs(predictions, masks, reading, names)
    if any(isinstance(pair.mask, ClassMasks) for pair in pairs):
        reading = replace(reading, folders=True)
    values = survey([pair.mask for pair in pairs], reading, workers=workers)
    if not values.troubles:  # else each picture tells
        values.raise_if_unclear()
    tasks = [_Task(replace(pair, reading=reading), Image.MAX_IMAGE_PIXELS) for pair in pairs]
    result, together = ClassEvaluation(reading.names), ClassMeasures(reading.names)
    for done, outcome in enumerate(in_processes(_measured, tasks, workers), 1):
        if outcome.reason:
            result.failures[outcome.name] = outcome.reason
        else:
            together.add(outcome.counts)
            result.per_image[outcome.name] = outcome.values
        if progress:
            progress(done, len(tasks))
    if not result.per_image:
        name, reason = next(iter(result.failures.items()))
        raise ImageError(f"no picture could be measured; the first: {name}: {reason}")
    _sum_up(result, together)
    return result


def _pairs(
    predictions: str | Path,
    masks: str | Path,
    reading: ClassReading,
    names: Sequence[str] | None,
) -> list[Pair]:
    found = pair_up(images=predictions, masks=masks, classes=reading.names)
    if names is not None:
        return select_pairs(found.pairs, names, "the list")
    if found.lone_images or found.lone_masks or found.duplicates:
        raise DataError(
            f"of {predictions} and {masks} there are {found.trouble()}; partners share a stem: add "
            "or move these files, or name those to measure in a list"
        )
    if not found.pairs:
        raise DataError(f"{predictions} and {masks} share no stem; give masks of the predictions")
    return found.pairs


def _sum_up(result: ClassEvaluation, together: ClassMeasures) -> None:
    for name, iou, dice in zip(result.classes, together.iou(), together.dice(), strict=True):
        own = [each[name] for each in result.per_image.values() if name in each]
        result.with_class[name] = len(own)
        of_pictures = {
            key: float(np.mean([each[key] for each in own])) if own else float("nan")
            for key in OF_PICTURES
        }
        result.scores[name] = {"IoU": iou, "Dice": dice, **of_pictures}
    result.mean = {
        key: mean_of_classes([values[key] for values in result.scores.values()])
        for key in (*OF_SET, *OF_PICTURES)
    }


def _measured(task: _Task) -> _Outcome:
    if multiprocessing.parent_process() is not None:
        Image.MAX_IMAGE_PIXELS = task.max_pixels
    pair = task.pair
    assert isinstance(pair.reading, ClassReading)
    names = pair.reading.names
    numbers = ClassReading(",".join(map(str, range(1, len(names) + 1))), names=names)
    try:
        labels = decode(pair.mask).as_classes(pair.reading)
        found = np.stack(
            [np.asarray(mask) >= 128 for mask in decode(pair.image).as_classes(numbers).masks]
        )
    except ImageError as error:
        return _Outcome(pair.name, np.zeros(0), {}, str(error))
    truth = np.stack([np.asarray(mask) >= 128 for mask in labels.masks])
    ignored = None if labels.ignored is None else np.asarray(labels.ignored) >= 128
    if found.shape != truth.shape:
        sizes = " and ".join(f"{each.shape[2]}×{each.shape[1]}" for each in (found, truth))
        reason = f"{pair.image} and its mask have {sizes} px; classes need one size"
        return _Outcome(pair.name, np.zeros(0), {}, reason)
    values = {}
    for name, own, true in zip(names, found, truth, strict=True):
        known = Truth(true.view(np.uint8) * np.uint8(255), ignored)
        if known.count:
            map_ = own.view(np.uint8) * np.uint8(255)
            values[name] = measure(map_, known, OF_PICTURES).values
    return _Outcome(pair.name, class_counts(found, truth, ignored), values)
