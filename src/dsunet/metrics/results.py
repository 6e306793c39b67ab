"""What measuring folders comes to."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dsunet.support.files import encode_text, write_atomically, write_json

__all__ = ["Comparison", "Evaluation", "ObjectFacts"]


@dataclass
class Evaluation:
    """The measures of a set of maps."""

    scores: dict[str, float] = field(default_factory=dict)
    """Over all images, by the keys of `ALL_MEASURES` that were asked for."""
    per_image: dict[str, dict[str, float]] = field(default_factory=dict)
    """The measures of every image, by stem; those of a curve are of the image's own."""
    curves: dict[str, np.ndarray] = field(default_factory=dict, compare=False)
    """"precision", "recall", "F" and "E", each the mean over all images at 256 thresholds: number
    i counts map values of 255 − i and more as object, the order of PySODMetrics."""
    resized: list[str] = field(default_factory=list)
    """Images whose map had another size than the mask and was resized to it, bilinearly."""
    empty: list[str] = field(default_factory=list)
    """Images whose mask is empty; for them PySODMetrics gives F = 0 whatever the map."""
    turned: list[str] = field(default_factory=list)
    """Those of `resized` whose map has its mask's size turned by 90°."""
    failures: dict[str, str] = field(default_factory=dict)
    """Images that could not be measured, by stem, each with the reason."""

    def to_dict(self) -> dict[str, float | int]:
        """`{"S": …, "F": …, "E": …, "MAE": …, "images": n}`, or what was asked for."""
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
        writer.writerow(["image", *self.scores])
        for name, values in {**self.per_image, "mean": self.scores}.items():
            writer.writerow([name, *(repr(values[measure]) for measure in self.scores)])
        write_atomically(path, encode_text(text.getvalue()))


@dataclass(frozen=True)
class ObjectFacts:
    """What is to be found in one image, by its mask."""

    share: float
    """Object pixels over all pixels, 0 to 1."""
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
