"""A folder of prediction maps against a folder of masks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from dsunet.data.pairs import read_names
from dsunet.errors import ImageError
from dsunet.metrics.comparison import compare_folders
from dsunet.metrics.definitions import MEASURES
from dsunet.metrics.results import Evaluation

__all__ = ["evaluate", "evaluate_folders"]


def evaluate_folders(
    predictions: str | Path,
    masks: str | Path | Mapping[str, Path],
    names: Sequence[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
    workers: int = 1,
    measures: Sequence[str] = MEASURES,
) -> Evaluation:
    """Measures the maps in one folder against the masks in another, matched by stem.

    Args:
        predictions: Folder of grey maps, 0 for background and 255 for object.
        masks: Folder of masks, or masks by stem.
        names: Measure these stems only, such as those of a run's `val.txt`.
        progress: Called with the number of images done and the number of all.
        workers: Processes to share the work, see `compare_folders`.
        measures: Keys of `ALL_MEASURES`.

    Returns:
        The measures of all images whose files can be read; `failures` lists the others.

    Raises:
        DataError: A folder is missing or empty, or a file has no partner.
        ImageError: No pair of files can be read.
        ValueError: A measure is unknown.
    """
    methods = {"": predictions}
    result = compare_folders(
        methods, masks, names, measures, progress, workers, count_objects=False
    )
    return result.evaluations[""]


def evaluate(
    predictions: str | Path,
    masks: str | Path,
    names: str | Path | Sequence[str] | None = None,
    workers: int = 1,
) -> dict[str, float | int]:
    """S-measure, adaptive F-measure, mean E-measure and mean absolute error of a folder of maps.

    Args:
        predictions: Folder of 8-bit grey maps.
        masks: Folder of masks with the same stems.
        names: Measure these stems only: a list, or a text file with one per line.
        workers: Processes to share the work, see `compare_folders`.

    Returns:
        `{"S": …, "F": …, "E": …, "MAE": …, "images": n}`.

    Raises:
        DataError: A folder is missing or empty, or a file has no partner.
        ImageError: A file cannot be read.
    """
    wanted = read_names(names) if isinstance(names, str | Path) else names
    result = evaluate_folders(predictions, masks, wanted, workers=workers)
    if result.failures:
        reasons = list(result.failures.values())
        raise ImageError(f"{len(reasons)} maps cannot be measured; the first: {reasons[0]}")
    return result.to_dict()
