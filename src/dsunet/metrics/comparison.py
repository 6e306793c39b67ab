"""Several folders of prediction maps against one folder of masks, in one pass."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from dsunet.config.masks import MaskReading
from dsunet.config.measuring import Measuring, MeasuringProtocol
from dsunet.data.images import Labels, decode, read_labels, read_map
from dsunet.data.pairs import by_stem, list_images, match_by_stem, select_names
from dsunet.data.pixels import turn
from dsunet.data.survey import survey
from dsunet.errors import ConfigError, DataError, ImageError, few
from dsunet.metrics.definitions import ALL_MEASURES, check_measures
from dsunet.metrics.inputs import Truth
from dsunet.metrics.instances import ImageObjects, match_objects, object_scores
from dsunet.metrics.intervals import PerImage
from dsunet.metrics.measures import ImageMeasures, Measures, measure
from dsunet.metrics.packages import cv2
from dsunet.metrics.results import Comparison, Evaluation, ObjectFacts
from dsunet.support.processes import in_processes

__all__ = ["compare_folders"]


class _Task(NamedTuple):
    """A mask and every method's map to measure by it."""

    name: str
    mask: Path
    maps: tuple[Path, ...]
    measures: tuple[str, ...]
    measuring: Measuring
    reading: MaskReading | None
    count_objects: bool
    least: int | None
    """Pixels of the smallest object of a map that counts; `None`: objects are not matched."""
    max_pixels: int | None
    """Of pictures that are decoded, `PIL.Image.MAX_IMAGE_PIXELS`."""


class _Measured(NamedTuple):
    """What measuring one map came to."""

    measures: ImageMeasures | None = None
    reason: str = ""
    resized: bool = False
    turned: bool = False
    objects: ImageObjects | None = None


class _Outcome(NamedTuple):
    """What a task came to, with one entry per method."""

    name: str
    maps: list[_Measured]
    empty: bool = False
    facts: ObjectFacts | None = None


def compare_folders(
    methods: Mapping[str, str | Path],
    masks: str | Path | Mapping[str, Path],
    names: Sequence[str] | None = None,
    measures: Sequence[str] = tuple(ALL_MEASURES),
    progress: Callable[[int, int], None] | None = None,
    workers: int = 1,
    *,
    count_objects: bool = True,
    protocol: MeasuringProtocol = "raw",
    threshold: float = 0.5,
    reading: MaskReading | None = None,
    intervals: bool = False,
    incomplete: bool = False,
    objects: bool = False,
    min_area: int = 0,
) -> Comparison:
    """Measures several methods' maps against the same masks, matched by stem.

    Every mask is read once. All scores are over the same images: where one method's map cannot be
    read, that is among its `failures`, and the image counts for no method.

    Args:
        methods: Folders of grey maps, 0 for background and 255 for object, by method's name.
        masks: Folder of masks, or masks by stem.
        names: Measure these stems only.
        measures: Keys of `ALL_MEASURES`.
        progress: Called with the number of images done and the number of all.
        workers: Processes to share the work; the values do not depend on it. From more than one on,
            a script that calls this needs the usual `if __name__ == "__main__":`.
        count_objects: Whether to find `objects`, which takes a little time.
        protocol: `raw` measures maps as they are, over the images with an object, and tells of the
            others by their false alarms; `benchmark` is the paper's: each map is stretched to its
            full range first, and all images count alike.
        threshold: Probability from which a pixel is object, for Dice, IoU and false alarms.
        reading: What the masks' values mean, where they are not 0 and 255.
        intervals: Whether to draw images for intervals of the scores.
        incomplete: Whether maps may lack: such images count for no method, like those whose map
            cannot be read.
        objects: Whether to match the maps' objects with the masks', see `dsunet.metrics.instances`.
        min_area: Leave out objects of maps that have fewer pixels.

    Raises:
        DataError: A folder is missing or empty, a method's maps and the masks differ in stems, or
            by the protocol `raw` the masks do not say what is object, see `dsunet.data.survey`.
        ImageError: No image can be measured with every method.
        ConfigError: A measure or the protocol is unknown, or there is no method.
    """
    keys, measuring = check_measures(measures), Measuring(protocol, threshold)
    if not methods:
        raise ConfigError("no method is given; at least one folder of maps is needed")
    if objects and protocol == "benchmark":
        raise ConfigError(
            "objects are those of maps as they are, which `protocol` benchmark stretches; use raw"
        )
    files, missing = _files(methods, masks, names, incomplete)
    if protocol == "raw":  # the paper's takes what is above 128, whatever there is
        values = survey([mask for _, mask, _ in files], reading, workers=workers)
        values.raise_if_unclear()
    most = Image.MAX_IMAGE_PIXELS
    least = min_area if objects else None
    tasks = [_Task(*each, keys, measuring, reading, count_objects, least, most) for each in files]
    gathered = {method: Measures(keys, protocol, threshold) for method in methods}
    evaluations = {method: Evaluation(protocol=protocol, threshold=threshold) for method in methods}
    result = Comparison(evaluations, {}, [], [])
    for method, reasons in missing.items():
        evaluations[method].failures.update(reasons)
    result.left_out += sorted({name for reasons in missing.values() for name in reasons})
    kept = {method: PerImage(keys, protocol) for method in methods if intervals}
    for done, outcome in enumerate(in_processes(_measure, tasks, workers), start=1):
        _enter(outcome, result, gathered, kept)
        if progress:
            progress(done, len(tasks))
    if not result.names:
        raise ImageError(_nothing(result))
    for method, evaluation in result.evaluations.items():
        evaluation.scores = gathered[method].compute()
        evaluation.curves = gathered[method].curves()
        evaluation.false_alarms = gathered[method].false_alarms()
        evaluation.detection = gathered[method].detection()
        evaluation.best_threshold = gathered[method].best_threshold()
        if intervals:
            evaluation.intervals = kept[method].intervals()
        if objects:
            every = evaluation.per_image_objects.values()
            evaluation.objects = object_scores(every, threshold, min_area)
    return result


def _files(
    methods: Mapping[str, str | Path],
    masks: str | Path | Mapping[str, Path],
    names: Sequence[str] | None,
    incomplete: bool,
) -> tuple[list[tuple[str, Path, tuple[Path, ...]]], dict[str, dict[str, str]]]:
    """Stem, mask and every method's map, by stem; and by method which maps lack."""
    found = [by_stem(list_images(folder)) for folder in methods.values()]
    place = "the masks" if isinstance(masks, Mapping) else str(masks)
    truths = dict(masks) if isinstance(masks, Mapping) else by_stem(list_images(masks))
    if names is not None:
        found = [
            select_names(maps, names, folder)
            for maps, folder in zip(found, methods.values(), strict=True)
        ]
        truths = select_names(truths, names, place)
    missing: dict[str, dict[str, str]] = {}
    troubles = []
    for (method, folder), maps in zip(methods.items(), found, strict=True):
        lacking = sorted(truths.keys() - maps.keys()) if incomplete else []
        if lacking:
            missing[method] = {name: f"{folder} has no map of {name}" for name in lacking}
        try:
            match_by_stem({*maps, *lacking}, truths, (str(folder), place))
        except DataError as error:
            troubles.append(str(error))
    if troubles:
        raise DataError("; ".join(troubles))
    whole = sorted(truths.keys() - {name for lacking in missing.values() for name in lacking})
    if not whole:
        raise DataError(f"no image has a map of every method: {place} has {few(sorted(truths))}")
    return [(name, truths[name], tuple(maps[name] for maps in found)) for name in whole], missing


def _enter(
    outcome: _Outcome,
    result: Comparison,
    gathered: Mapping[str, Measures],
    kept: Mapping[str, PerImage],
) -> None:
    """Adds what a task came to."""
    name = outcome.name
    measured = dict(zip(result.evaluations, outcome.maps, strict=True))
    for method, one in measured.items():
        if one.measures is None:
            result.evaluations[method].failures[name] = one.reason
    if any(one.measures is None for one in outcome.maps):
        result.left_out.append(name)
        return
    result.names.append(name)
    if outcome.facts is not None:
        result.objects[name] = outcome.facts
    for method, one in measured.items():
        evaluation = result.evaluations[method]
        assert one.measures is not None
        gathered[method].add(one.measures)
        if kept:
            kept[method].add(one.measures)
        evaluation.per_image[name] = one.measures.values
        evaluation.image_scores[name] = one.measures.score
        if one.objects is not None:
            evaluation.per_image_objects[name] = one.objects
        for flag, flagged in (
            (one.resized, evaluation.resized),
            (one.turned, evaluation.turned),
            (outcome.empty, evaluation.empty),
        ):
            if flag:
                flagged.append(name)


def _nothing(result: Comparison) -> str:
    """The error if no image counts."""
    failed = next(one for one in result.evaluations.values() if one.failures)
    name, reason = next(iter(failed.failures.items()))
    what = "map could be measured"
    if len(result.evaluations) > 1:
        what = "image could be measured with every method"
    return f"no {what}; the first: {name}: {reason}"


def _measure(task: _Task) -> _Outcome:
    if multiprocessing.parent_process() is not None:  # the cores are busy with other images
        cv2.setNumThreads(1)
        Image.MAX_IMAGE_PIXELS = task.max_pixels
    try:
        labels = _labels(task)
    except ImageError as error:
        return _Outcome(task.name, [_Measured(reason=str(error))] * len(task.maps))
    ignored = None if labels.ignored is None else np.asarray(labels.ignored)
    known = Truth(np.asarray(labels.mask), ignored)
    if not known.size:
        reason = f"{task.mask}: all its pixels are ignored, so there is nothing to measure by"
        return _Outcome(task.name, [_Measured(reason=reason)] * len(task.maps))
    maps = [_measure_map(path, known, task) for path in task.maps]
    facts = _facts(known) if task.count_objects else None
    return _Outcome(task.name, maps, known.count == 0, facts)


def _labels(task: _Task) -> Labels:
    """The mask as told or as it says by itself; by the paper's protocol also any greys.

    Of those PySODMetrics takes what is above 128, as published values do.
    """
    try:
        return read_labels(task.mask, task.reading)
    except ImageError:
        if task.measuring.protocol == "raw" or (task.reading or MaskReading()) != MaskReading():
            raise
        decoded = decode(task.mask)
        grey = decoded.as_map()
        if grey.max(initial=0) <= 128:  # numbers of classes, say
            raise
        return Labels(turn(Image.fromarray(grey), decoded.orientation))


def _measure_map(path: Path, truth: Truth, task: _Task) -> _Measured:
    try:
        map_ = read_map(path)
    except ImageError as error:
        return _Measured(reason=str(error))
    height, width = truth.object.shape
    resized = map_.shape != (height, width)
    turned = resized and map_.shape == (width, height)
    if resized:
        small = Image.fromarray(map_).resize((width, height), Image.Resampling.BILINEAR)
        map_ = np.asarray(small)
    protocol, threshold = task.measuring.protocol, task.measuring.threshold
    measured = measure(map_, truth, task.measures, protocol, threshold)
    matched = None if task.least is None else match_objects(map_, truth, threshold, task.least)
    return _Measured(measured, "", resized, turned, matched)


def _facts(truth: Truth) -> ObjectFacts:
    regions, _ = cv2.connectedComponents(truth.object.view(np.uint8), connectivity=8)
    return ObjectFacts(truth.count / truth.size, regions - 1, *truth.object.shape)
