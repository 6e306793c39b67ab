"""Objects found, missed and invented; and how much of every region a map finds (PRO).

Objects are 8-connected regions, as everywhere. One of the map and a true one are a match if their
IoU is 0.5 at least, as in COCO. Each has one partner at most: two partners would each have to hold
half of it and nothing else, so that together they are all of it, and touch, and are one region.

PRO is MVTec AD's per-region overlap (Bergmann et al., The MVTec Anomaly Detection Dataset, IJCV
2021): the share of a true region that is at or above a threshold, the mean over all regions of all
pictures, against the share of all other pixels that are. Its area up to a false positive rate of
0.3, over 0.3, is exact here: maps have 256 values, and so many thresholds.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from dsunet.metrics.cuts import cut_of
from dsunet.metrics.inputs import Truth
from dsunet.metrics.packages import cv2

__all__ = ["IOU", "PRO_LIMIT", "ImageObjects", "ObjectScores", "match_objects", "object_scores"]

IOU = 0.5
"""From which overlap a found object is a true one."""

PRO_LIMIT = 0.3
"""Of the false positive rate, up to which the area below the curve is taken."""


class ImageObjects(NamedTuple):
    """The objects of one picture."""

    found: tuple[int, ...]
    """Pixels of each true object that is found."""
    missed: tuple[int, ...]
    """Pixels of each that is not."""
    invented: tuple[int, ...]
    """Pixels of each found object that is no true one."""
    background: np.ndarray
    """Pixels of no true object by grey value, 256."""
    overlap: np.ndarray
    """Share of a true object by grey value, the sum over objects: 256."""

    @property
    def regions(self) -> int:
        """How many true objects there are."""
        return len(self.found) + len(self.missed)

    def counts(self) -> dict[str, int]:
        """How many are found, missed and invented."""
        return _counts(self)


@dataclass(frozen=True)
class ObjectScores:
    """Objects over many pictures."""

    found: tuple[int, ...]
    """Pixels of each true object that is found."""
    missed: tuple[int, ...]
    invented: tuple[int, ...]
    """Pixels of each found object that is no true one."""
    pro: float
    """Area under the per-region overlap, 0 to 1; NaN without an object, or without background."""
    threshold: float
    least: int
    """Found objects of fewer pixels do not count."""

    @property
    def precision(self) -> float:
        """Of the objects that the maps have, how many are true; NaN if there are none."""
        return _share(len(self.found), len(self.invented))

    @property
    def recall(self) -> float:
        """Of the true objects, how many are found; NaN if there are none."""
        return _share(len(self.found), len(self.missed))

    @property
    def f1(self) -> float:
        """Twice those found over true and found ones together."""
        return _share(2 * len(self.found), len(self.missed) + len(self.invented))

    def counts(self) -> dict[str, int]:
        """How many are found, missed and invented."""
        return _counts(self)

    def to_dict(self) -> dict[str, Any]:
        """As files have it; what cannot be said is null."""
        values = {
            "precision": self.precision,
            "recall": self.recall,
            "F1": self.f1,
            "PRO": self.pro,
        }
        return {
            **{key: None if math.isnan(value) else value for key, value in values.items()},
            **self.counts(),
            "pixels": {
                "found": _spread(self.found),
                "missed": _spread(self.missed),
                "invented": _spread(self.invented),
            },
            "IoU": IOU,
            "threshold": self.threshold,
            "min_area": self.least,
            "PRO_limit": PRO_LIMIT,
        }


def match_objects(
    levels: np.ndarray, truth: Truth, threshold: float, least: int = 0
) -> ImageObjects:
    """The objects of one map beside those of its mask.

    Args:
        levels: H×W uint8.
        truth: The mask, of the same size; what it ignores counts neither way.
        threshold: Probability from which a pixel is object.
        least: Objects of the map with fewer pixels are left out.
    """
    counted = truth.counted
    above = levels >= cut_of(threshold)
    if counted is not None:
        above &= counted
    true, own = _regions(truth.object), _regions(above)
    true_sizes, own_sizes = np.bincount(true.ravel())[1:], np.bincount(own.ravel())[1:]
    partner = _partners(true, own, true_sizes, np.where(own_sizes >= least, own_sizes, 0))
    found = partner >= 0
    matched = np.zeros(len(own_sizes), bool)
    matched[partner[found]] = True
    inside = truth.object
    return ImageObjects(
        tuple(true_sizes[found].tolist()),
        tuple(true_sizes[~found].tolist()),
        tuple(own_sizes[~matched & (own_sizes >= least)].tolist()),
        np.bincount(levels[truth.background], minlength=256),
        np.bincount(levels[inside], 1 / true_sizes[true[inside] - 1], minlength=256),
    )


def _regions(mask: np.ndarray) -> np.ndarray:
    """Numbers of 8-connected regions, H×W int32 with 0 outside."""
    labels: np.ndarray = cv2.connectedComponents(mask.view(np.uint8), connectivity=8)[1]
    return labels


def _partners(
    true: np.ndarray, own: np.ndarray, true_sizes: np.ndarray, own_sizes: np.ndarray
) -> np.ndarray:
    """For each true object the number of what it is in the map, or -1.

    Args:
        true: H×W, numbers of the true objects from 1 on.
        own: H×W, those of the map's.
        true_sizes: Pixels of each.
        own_sizes: Pixels of each; 0 of those that do not count.
    """
    both = (true > 0) & (own > 0)
    codes, common = np.unique(
        (true[both] - 1).astype(np.int64) * len(own_sizes) + own[both] - 1, return_counts=True
    )
    rows, columns = np.divmod(codes, max(1, len(own_sizes)))
    sizes = own_sizes[columns]
    # in whole numbers: the common part is half of the union, or a third of both sizes together
    alike = (sizes > 0) & (3 * common >= true_sizes[rows] + sizes)
    partners = np.full(len(true_sizes), -1)
    partners[rows[alike]] = columns[alike]
    return partners


def object_scores(images: Iterable[ImageObjects], threshold: float, least: int = 0) -> ObjectScores:
    """Objects over many pictures, in which all objects count alike."""
    every = list(images)
    return ObjectScores(
        tuple(size for each in every for size in each.found),
        tuple(size for each in every for size in each.missed),
        tuple(size for each in every for size in each.invented),
        _area(every),
        threshold,
        least,
    )


def _area(images: Sequence[ImageObjects]) -> float:
    """Below the curve of per-region overlap over the false positive rate, up to `PRO_LIMIT`."""
    regions = sum(each.regions for each in images)
    background = np.sum([each.background for each in images], axis=0) if images else np.zeros(256)
    if not regions or not background.sum():
        return math.nan
    overlap = np.sum([each.overlap for each in images], axis=0) / regions
    # from the highest threshold, at which nothing is found, to the lowest
    rate = np.concatenate(([0.0], np.cumsum(background[::-1]) / background.sum()))
    found = np.concatenate(([0.0], np.cumsum(overlap[::-1])))
    inside = rate <= PRO_LIMIT
    ends = np.interp(PRO_LIMIT, rate, found) if not (rate == PRO_LIMIT).any() else found[inside][-1]
    rate = np.append(rate[inside], PRO_LIMIT)
    found = np.append(found[inside], ends)
    area = np.sum(np.diff(rate) * (found[1:] + found[:-1])) / 2
    return float(area / PRO_LIMIT)


def _counts(of: ImageObjects | ObjectScores) -> dict[str, int]:
    return {"found": len(of.found), "missed": len(of.missed), "invented": len(of.invented)}


def _share(part: int, rest: int) -> float:
    return part / (part + rest) if part + rest else math.nan


def _spread(sizes: Sequence[int]) -> dict[str, float] | None:
    if not sizes:
        return None
    return {"least": min(sizes), "median": statistics.median(sizes), "largest": max(sizes)}
