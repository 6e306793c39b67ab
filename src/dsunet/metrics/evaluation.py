"""A folder of prediction maps against a folder of masks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from dsunet.config.masks import MaskReading
from dsunet.config.measuring import MeasuringProtocol
from dsunet.data.pairs import read_names
from dsunet.errors import ImageError
from dsunet.metrics.comparison import compare_folders
from dsunet.metrics.definitions import usual_measures
from dsunet.metrics.results import Evaluation

__all__ = ["evaluate", "evaluate_folders"]


def evaluate_folders(
    predictions: str | Path,
    masks: str | Path | Mapping[str, Path],
    names: Sequence[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
    workers: int = 1,
    measures: Sequence[str] | None = None,
    *,
    protocol: MeasuringProtocol = "raw",
    threshold: float = 0.5,
    reading: MaskReading | None = None,
    objects: bool = False,
    min_area: int = 0,
) -> Evaluation:
    """Measures the maps in one folder against the masks in another, matched by stem.

    Args:
        predictions: Folder of grey maps, 0 for background and 255 for object.
        masks: Folder of masks, or masks by stem.
        names: Measure these stems only, such as those of a run's `val.txt`.
        progress: Called with the number of images done and the number of all.
        workers: Processes to share the work, see `compare_folders`.
        measures: Keys of `ALL_MEASURES`; by default S, F, E, MAE, Dice and IoU, or the paper's four
            by its protocol.
        protocol: `raw` or the paper's `benchmark`, see `compare_folders`.
        threshold: Probability from which a pixel is object, for Dice, IoU and false alarms.
        reading: What the masks' values mean, where they are not 0 and 255.
        objects: Whether to match the maps' objects with the masks', see `dsunet.metrics.instances`.
        min_area: Leave out objects of maps that have fewer pixels.

    Returns:
        The measures of all images whose files can be read; `failures` lists the others.

    Raises:
        DataError: A folder is missing or empty, or a file has no partner.
        ImageError: No pair of files can be read.
        ValueError: A measure or the protocol is unknown.
    """
    result = compare_folders(
        {"": predictions},
        masks,
        names,
        usual_measures(protocol) if measures is None else measures,
        progress,
        workers,
        count_objects=False,
        protocol=protocol,
        threshold=threshold,
        reading=reading,
        objects=objects,
        min_area=min_area,
    )
    return result.evaluations[""]


def evaluate(
    predictions: str | Path,
    masks: str | Path,
    names: str | Path | Sequence[str] | None = None,
    workers: int = 1,
    *,
    protocol: MeasuringProtocol = "raw",
    threshold: float = 0.5,
    reading: MaskReading | None = None,
) -> dict[str, float | int]:
    """Measures of a folder of maps: S, adaptive F, mean E, mean absolute error, Dice and IoU.

    Dice and IoU are those of what `dsunet predict --save binary --threshold T` writes; see
    `dsunet.metrics.cuts` for the last digit.

    Args:
        predictions: Folder of 8-bit grey maps.
        masks: Folder of masks with the same stems.
        names: Measure these stems only: a list, or a text file with one per line.
        workers: Processes to share the work, see `compare_folders`.
        protocol: `raw` measures maps as they are, over the images with an object; `benchmark`, the
            paper's, stretches each map to its full range and averages over all images.
        threshold: Probability from which a pixel is object, for Dice, IoU and false alarms.
        reading: What the masks' values mean, where they are not 0 and 255.

    Returns:
        `{"S": …, "F": …, "E": …, "MAE": …, "Dice": …, "IoU": …, "images": n, "without_object": m,
        "false_alarms": k}`, with `false_alarm_area` and `MAE_without_object` if m is above 0, and
        `misses` and `AUROC` if there are images with an object, too, see `Evaluation.to_dict`; S to
        IoU are NaN if no image has an object. By `benchmark`
        `{"S": …, "F": …, "E": …, "MAE": …, "images": n}`.

    Raises:
        DataError: A folder is missing or empty, or a file has no partner.
        ImageError: A file cannot be read.
    """
    wanted = read_names(names) if isinstance(names, str | Path) else names
    result = evaluate_folders(
        predictions,
        masks,
        wanted,
        workers=workers,
        protocol=protocol,
        threshold=threshold,
        reading=reading,
    )
    if result.failures:
        reasons = list(result.failures.values())
        raise ImageError(f"{len(reasons)} maps cannot be measured; the first: {reasons[0]}")
    return result.to_dict()
