"""Objects found and missed, by their size."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from dsunet.metrics.packages import cv2

__all__ = ["FOUND", "Counts", "Object", "by_size", "objects_of"]

FOUND = 0.5
"""The share of its pixels from which an object counts as found."""

_CLASSES = (
    (0.001, "below 0.1 %"),
    (0.01, "0.1 to 1 %"),
    (0.1, "1 to 10 %"),
    (1.0, "above 10 %"),
)


class Object(NamedTuple):
    """One 8-connected region of a mask."""

    share: float
    """Its pixels over all of the picture's."""
    covered: float
    """Those of them that the map has, too, over all of its own."""


class Counts(NamedTuple):
    """The objects of one size."""

    size: str
    """As a share of the picture, in words."""
    objects: int
    found: int


def objects_of(truth: np.ndarray, found: np.ndarray) -> tuple[list[Object], int]:
    """The objects of a mask, and how many regions of a map touch none of them.

    Args:
        truth: H×W bool.
        found: H×W bool, the map at its threshold.
    """
    count, labels, stats, _ = cv2.connectedComponentsWithStats(truth.view(np.uint8), connectivity=8)
    areas = stats[1:, cv2.CC_STAT_AREA]
    covered = np.bincount(labels[found], minlength=count)[1:]
    objects = [
        Object(int(area) / truth.size, int(own) / int(area))
        for area, own in zip(areas, covered, strict=True)
    ]
    regions, labels = cv2.connectedComponents(found.view(np.uint8), connectivity=8)
    touching = np.unique(labels[truth & found])
    return objects, regions - 1 - len(touching)


def by_size(objects: Iterable[Object]) -> list[Counts]:
    """How many objects there are of each size, and how many of them are found."""
    every, rows, low = list(objects), [], -1.0
    for high, size in _CLASSES:
        own = [each for each in every if low < each.share <= high]
        rows.append(Counts(size, len(own), sum(each.covered >= FOUND for each in own)))
        low = high
    return rows
