"""Boundary IoU (Cheng et al., Boundary IoU, CVPR 2021)."""

from __future__ import annotations

import math

import numpy as np

from dsunet.metrics.packages import cv2

__all__ = ["boundary", "boundary_iou"]

WIDTH = 0.02


def boundary(
    mask: np.ndarray, width: float = WIDTH, ignored: np.ndarray | None = None
) -> np.ndarray:
    """The pixels of a mask that lie near its boundary, which the image's border belongs to.

    Args:
        mask: H×W bool, or uint8 of 0 and 1.
        width: How near, as a share of the image's diagonal; one pixel at least. Distance counts
            along the larger of the two axes, as in the authors' code.
        ignored: H×W bool: pixels that do not count. What is known ends there without a boundary:
            they are taken as object, and are in no boundary themselves.

    Returns:
        H×W bool.
    """
    pixels = max(1, round(width * math.hypot(*mask.shape)))
    known = mask.astype(bool, copy=False)
    values = (known if ignored is None else known | ignored).view(np.uint8)
    inner = cv2.erode(
        values,
        np.ones((3, 3), np.uint8),
        iterations=pixels,
        borderType=cv2.BORDER_CONSTANT,
        borderValue=0,
    )
    band: np.ndarray = np.not_equal(values, inner)
    return band if ignored is None else band & ~ignored


def boundary_iou(prediction: np.ndarray, truth: np.ndarray) -> float:
    """Intersection over union of two boundaries, H×W bool each, as `boundary` gives them.

    Only an empty mask has an empty boundary; two empty ones agree: 1.
    """
    union = int(np.count_nonzero(prediction | truth))
    return int(np.count_nonzero(prediction & truth)) / union if union else 1.0
