"""Whether there is an object in a picture at all: a score for a picture, and how good it is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

__all__ = ["Detection", "auroc", "describe_detection", "image_score", "score_of_map"]

SHARE = 0.001
"""Of a picture's pixels that its score is the mean of, the highest ones."""


def image_score(pixels: np.ndarray) -> float:
    """How sure a map is that there is an object in the picture, 0 to 1.

    The mean of the highest 0.1 % of its values, of at least one: like its maximum, but not a matter
    of one pixel. It says nothing of how much there is.

    Args:
        pixels: How many pixels there are of each of the 256 grey values.

    Returns:
        0 if there is no pixel.
    """
    total = int(pixels.sum())
    wanted = max(1, math.ceil(SHARE * total))
    from_above = np.minimum(np.cumsum(pixels[::-1]), wanted)
    taken = np.diff(from_above, prepend=0)
    return float(taken @ np.arange(255, -1, -1) / 255 / wanted) if total else 0.0


def score_of_map(levels: np.ndarray) -> float:
    """`image_score` of a map, H×W uint8."""
    return image_score(np.bincount(levels.ravel(), minlength=256))


def auroc(with_object: Sequence[float], without: Sequence[float]) -> float:
    """Area under the receiver operating characteristic of scores, 0 to 1.

    How often a picture with an object has the higher score than one without; equal ones count half
    (Mann and Whitney's U). NaN without pictures of both kinds.
    """
    if not len(with_object) or not len(without):
        return math.nan
    reference = np.sort(np.asarray(without, np.float64))
    below = np.searchsorted(reference, with_object, "left")
    upto = np.searchsorted(reference, with_object, "right")
    return float((below + upto).sum() / 2 / (len(with_object) * len(without)))


class Detection(NamedTuple):
    """Pictures with and without an object, told apart by maps."""

    with_object: int
    """Pictures that have one."""
    missed: int
    """Those where no pixel reaches the threshold."""
    without: int
    """Pictures that have none."""
    alarmed: int
    """Those where some pixel does."""
    auroc: float
    """Of the pictures' scores, see `auroc` and `image_score`; NaN without both kinds."""

    @property
    def miss_rate(self) -> float:
        """Pictures whose object was missed, over all that have one; NaN if there are none."""
        return self.missed / self.with_object if self.with_object else math.nan

    @property
    def both(self) -> bool:
        """Whether there are pictures of both kinds."""
        return self.with_object > 0 and self.without > 0

    def to_dict(self) -> dict[str, Any]:
        """As files have it."""
        return {"misses": self.missed, "AUROC": self.auroc}


def describe_detection(found: Detection) -> str:
    """In words; of pictures of both kinds."""
    return (
        f"{found.missed} of {found.with_object} images with an object "
        f"({100 * found.miss_rate:.1f} %) have nothing at the threshold; scores of images tell the "
        f"two kinds apart with an AUROC of {found.auroc:.4f}"
    )
