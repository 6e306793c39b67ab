"""A folder of prediction maps against a folder of masks."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from dsunet.data.images import read_map, read_mask
from dsunet.data.pairs import by_stem, list_images, match_by_stem, read_names, select_names
from dsunet.errors import ImageError
from dsunet.files import encode_text, write_atomically, write_json
from dsunet.metrics.measures import MEASURES, ImageMeasures, Measures
from dsunet.processes import in_processes

__all__ = ["Evaluation", "evaluate", "evaluate_folders"]


@dataclass
class Evaluation:
    """The measures of a set of maps."""

    scores: dict[str, float] = field(default_factory=dict)
    """Mean over all images of S, F, E and MAE."""
    per_image: dict[str, dict[str, float]] = field(default_factory=dict)
    """The measures of every image, by stem."""
    resized: list[str] = field(default_factory=list)
    """Images whose map had another size than the mask and was resized to it, bilinearly."""
    empty: list[str] = field(default_factory=list)
    """Images whose mask is empty; for them PySODMetrics gives F = 0 whatever the map."""
    turned: list[str] = field(default_factory=list)
    """Those of `resized` whose map has its mask's size turned by 90°."""
    failures: dict[str, str] = field(default_factory=dict)
    """Images that could not be measured, by stem, each with the reason."""

    def to_dict(self) -> dict[str, float | int]:
        """`{"S": …, "F": …, "E": …, "MAE": …, "images": n}`."""
        return {**self.scores, "images": len(self.per_image)}

    def write_json(self, path: Path) -> None:
        """Writes means, counts and the values of every image."""
        content = {
            **self.to_dict(),
            "resized": self.resized,
            "turned": self.turned,
            "failures": self.failures,
            "empty_masks": self.empty,
            "per_image": self.per_image,
        }
        write_json(path, content)

    def write_csv(self, path: Path) -> None:
        """Writes one row per image, and the mean last."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["image", *MEASURES])
        for name, values in {**self.per_image, "mean": self.scores}.items():
            writer.writerow([name, *(repr(values[measure]) for measure in MEASURES)])
        write_atomically(path, encode_text(text.getvalue()))


class _Task(NamedTuple):
    """A map and the mask to measure it by."""

    name: str
    map: Path
    mask: Path


class _Outcome(NamedTuple):
    """What measuring one map came to."""

    name: str
    measures: ImageMeasures | None = None
    reason: str = ""
    resized: bool = False
    turned: bool = False
    empty: bool = False


def evaluate_folders(
    predictions: str | Path,
    masks: str | Path,
    names: Sequence[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
    workers: int = 1,
) -> Evaluation:
    """Measures the maps in one folder against the masks in another, matched by stem.

    Args:
        predictions: Folder of grey maps, 0 for background and 255 for object.
        masks: Folder of masks.
        names: Measure these stems only, such as those of a run's `val.txt`.
        progress: Called with the number of images done and the number of all.
        workers: Processes to share the work; the values do not depend on it. From more than one on,
            a script that calls this needs the usual `if __name__ == "__main__":`.

    Returns:
        The measures of all images whose files can be read; `failures` lists the others.

    Raises:
        DataError: A folder is missing or empty, or a file has no partner.
        ImageError: No pair of files can be read.
    """
    maps, truths = by_stem(list_images(predictions)), by_stem(list_images(masks))
    if names is not None:
        maps, truths = select_names(maps, names, predictions), select_names(truths, names, masks)
    ordered = match_by_stem(maps, truths, (str(predictions), str(masks)))
    tasks = [_Task(name, maps[name], truths[name]) for name in ordered]
    measures, result = Measures(), Evaluation()
    for done, one in enumerate(in_processes(_measure, tasks, workers), start=1):
        if one.measures is None:
            result.failures[one.name] = one.reason
        else:
            measures.add(one.measures)
            result.per_image[one.name] = one.measures.to_dict()
        for flag, names_ in (
            (one.resized, result.resized),
            (one.turned, result.turned),
            (one.empty, result.empty),
        ):
            if flag:
                names_.append(one.name)
        if progress:
            progress(done, len(tasks))
    if not result.per_image:
        raise ImageError(
            f"no map could be measured; the first: {next(iter(result.failures))}: "
            f"{next(iter(result.failures.values()))}"
        )
    result.scores = measures.compute()
    return result


def _measure(task: _Task) -> _Outcome:
    try:
        map_, truth = read_map(task.map), np.asarray(read_mask(task.mask))
    except ImageError as error:
        return _Outcome(task.name, reason=str(error))
    resized = map_.shape != truth.shape
    turned = resized and map_.shape == truth.shape[::-1]
    if resized:
        height, width = truth.shape
        small = Image.fromarray(map_).resize((width, height), Image.Resampling.BILINEAR)
        map_ = np.asarray(small)
    one = Measures().measure(map_, truth)
    return _Outcome(task.name, one, "", resized, turned, not (truth > 128).any())


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
        workers: Processes to share the work, see `evaluate_folders`.

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
