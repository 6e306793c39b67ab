"""A folder of prediction maps against a folder of masks."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from dsunet.data.images import read_map, read_mask
from dsunet.data.pairs import by_stem, list_images, match_by_stem, read_names, select_names
from dsunet.files import write_atomically
from dsunet.metrics.measures import MEASURES, Measures

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

    def to_dict(self) -> dict[str, float | int]:
        """`{"S": …, "F": …, "E": …, "MAE": …, "images": n}`."""
        return {**self.scores, "images": len(self.per_image)}

    def write_json(self, path: Path) -> None:
        """Writes means, counts and the values of every image."""
        content = {
            **self.to_dict(),
            "resized": self.resized,
            "empty_masks": self.empty,
            "per_image": self.per_image,
        }
        write_atomically(path, (json.dumps(content, indent=2) + "\n").encode())

    def write_csv(self, path: Path) -> None:
        """Writes one row per image, and the mean last."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["image", *MEASURES])
        for name, values in {**self.per_image, "mean": self.scores}.items():
            writer.writerow([name, *(repr(values[measure]) for measure in MEASURES)])
        write_atomically(path, text.getvalue().encode())


def evaluate_folders(
    predictions: str | Path,
    masks: str | Path,
    names: Sequence[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Measures the maps in one folder against the masks in another, matched by stem.

    Args:
        predictions: Folder of grey maps, 0 for background and 255 for object.
        masks: Folder of masks.
        names: Measure these stems only, such as those of a run's `val.txt`.
        progress: Called with the number of images done and the number of all.

    Raises:
        DataError: A folder is missing or empty, or a file has no partner.
        ImageError: A file cannot be read.
    """
    maps = by_stem(list_images(predictions))
    truths = by_stem(list_images(masks))
    if names is not None:
        maps, truths = select_names(maps, names, predictions), select_names(truths, names, masks)
    ordered = match_by_stem(maps, truths, (str(predictions), str(masks)))
    measures, result = Measures(), Evaluation()
    for done, name in enumerate(ordered, start=1):
        map_, truth = read_map(maps[name]), np.asarray(read_mask(truths[name]))
        if map_.shape != truth.shape:
            result.resized.append(name)
            height, width = truth.shape
            resized = Image.fromarray(map_).resize((width, height), Image.Resampling.BILINEAR)
            map_ = np.asarray(resized)
        if not (truth > 128).any():
            result.empty.append(name)
        result.per_image[name] = measures.update(map_, truth)
        if progress:
            progress(done, len(ordered))
    result.scores = measures.compute()
    return result


def evaluate(
    predictions: str | Path, masks: str | Path, names: str | Path | Sequence[str] | None = None
) -> dict[str, float | int]:
    """S-measure, adaptive F-measure, mean E-measure and MAE of a folder of maps.

    Args:
        predictions: Folder of 8-bit grey maps.
        masks: Folder of masks with the same stems.
        names: Measure these stems only: a list, or a text file with one per line.

    Returns:
        `{"S": …, "F": …, "E": …, "MAE": …, "images": n}`.

    Raises:
        DataError: A folder is missing or empty, or a file has no partner.
        ImageError: A file cannot be read.
    """
    wanted = read_names(names) if isinstance(names, str | Path) else names
    return evaluate_folders(predictions, masks, wanted).to_dict()
