"""The weighted F-measure (Margolin et al., How to evaluate foreground maps?, CVPR 2014).

As PySODMetrics computes it. What belongs to the mask alone is worked out once, and what concerns
the object alone only on the piece of the image around it.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np

from dsunet.metrics.packages import cv2, ndimage
from dsunet.metrics.structure import EPS

__all__ = ["Weighting", "weighted_f", "weighting"]

SIDE, SIGMA = 7, 5
"""Of the Gaussian that spreads errors."""

LARGEST = 1024
"""Side up to which OpenCV's distances, in float32, tell whole squares apart."""


class Weighting(NamedTuple):
    """How errors count, by a mask."""

    crop: tuple[slice, slice]
    """The object and the pixels that the Gaussian reaches from it."""
    inside: np.ndarray
    """The mask in the crop."""
    outside: np.ndarray
    """Indices of the crop's other pixels, into its pixels in the order of rows."""
    nearest: np.ndarray
    """Index of the nearest pixel of the object for each of `outside`."""
    importance: np.ndarray
    """Of every pixel off the object, in the order of rows: 1 beside it, up to 2 far from it."""


def weighting(truth: np.ndarray, background: np.ndarray) -> Weighting:
    """The weights of a mask, H×W bool, not empty.

    Pixels off the object take the error of the nearest one on it, so what a map says where it is
    ignored does not reach the object; the rest of the image counts where it is background.

    Args:
        truth: The object.
        background: The pixels off it that count.
    """
    crop = _reach(np.any(truth, axis=1)), _reach(np.any(truth, axis=0))
    inside = np.ascontiguousarray(truth[crop])
    outside = np.flatnonzero(~inside)
    rows, columns = ndimage().distance_transform_edt(
        ~inside, return_distances=False, return_indices=True
    )
    nearest = (rows * inside.shape[1] + columns).ravel()[outside]
    # 2 − exp(log(0.5) / 5 · distance)
    importance = _distances(truth, background)
    np.multiply(np.log(0.5) / 5, importance, out=importance)
    np.subtract(2, np.exp(importance, out=importance), out=importance)
    return Weighting(crop, inside, outside, nearest, importance)


def _reach(occupied: np.ndarray) -> slice:
    """The object's extent along an axis, and half the Gaussian's side around it."""
    places = np.flatnonzero(occupied)
    return slice(max(0, places[0] - SIDE // 2), places[-1] + SIDE // 2 + 1)


def _distances(truth: np.ndarray, background: np.ndarray) -> np.ndarray:
    """From every pixel of the background to the object, in the order of rows."""
    if max(truth.shape) > LARGEST:
        exact: np.ndarray = ndimage().distance_transform_edt(~truth)[background]
        return exact
    off = np.logical_not(truth)
    rounded = cv2.distanceTransform(off.view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    distances: np.ndarray = rounded[background].astype(np.float64)
    for step in (np.square, np.rint, np.sqrt):
        step(distances, out=distances)
    return distances


def weighted_f(values: np.ndarray, outside: np.ndarray, weights: Weighting) -> float:
    """The weighted F-measure of a map, with β² = 1.

    Args:
        values: The map, H×W float64 in 0..1.
        outside: Its values off the object, in the order of rows.
        weights: `weighting` of the mask.
    """
    errors = values[weights.crop] - weights.inside
    np.abs(errors, out=errors)
    own = errors[weights.inside]
    flat = errors.ravel()
    flat[weights.outside] = flat[weights.nearest]
    spread = _convolve(errors)[weights.inside]
    least = np.where(spread < own, spread, own)
    hits = own.size - np.sum(least)
    false_alarms = np.sum(outside * weights.importance)
    recall = 1 - np.mean(least)
    precision = hits / (hits + false_alarms + EPS)
    return float(2 * recall * precision / (recall + precision + EPS))


def _convolve(errors: np.ndarray) -> np.ndarray:
    result: np.ndarray
    if _opencv_agrees():
        result = cv2.filter2D(errors, -1, _gaussian(), borderType=cv2.BORDER_CONSTANT)
    else:
        result = ndimage().convolve(errors, _gaussian(), mode="constant")
    return result


@cache
def _gaussian() -> np.ndarray:
    """SIDE×SIDE, as MATLAB's `fspecial` makes it."""
    reach = np.arange(SIDE) - SIDE // 2
    squares = reach[:, None] ** 2 + reach**2
    kernel = np.exp(-squares / (2 * SIGMA**2))
    return np.asarray(kernel / kernel.sum())


@cache
def _opencv_agrees() -> bool:
    """Whether this machine's OpenCV adds up products as SciPy does.

    It is several times as fast, but a build that fuses multiplications and additions would round
    otherwise.
    """
    sample = np.random.default_rng(0).random((64, 64))
    quick = cv2.filter2D(sample, -1, _gaussian(), borderType=cv2.BORDER_CONSTANT)
    return np.array_equal(quick, ndimage().convolve(sample, _gaussian(), mode="constant"))
