"""The structure measure (Fan et al., Structure-measure, ICCV 2017), as PySODMetrics computes it.

What belongs to the mask alone is worked out once. The order of every sum is PySODMetrics', so that
the digits are the same.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

__all__ = ["EPS", "Quadrant", "quadrants", "structure_measure"]

EPS = np.spacing(1)
ALPHA = 0.5


class Quadrant(NamedTuple):
    """One of the four parts that the object's centre divides an image into."""

    place: tuple[slice, slice]
    weight: float
    """Its share of the image's pixels that count."""
    mean: np.float64
    """Of the mask in it."""
    deviation: np.ndarray
    """The mask less its mean; H×W float64 of this part."""
    variance: np.float64
    counted: np.ndarray | None = None
    """Which of its pixels count, H×W bool; all if `None`. Deviations are of these alone then."""

    def of(self, image: np.ndarray) -> np.ndarray:
        """Its pixels of an image that count."""
        part = image[self.place]
        return part if self.counted is None else part[self.counted]


def quadrants(truth: np.ndarray, counted: np.ndarray | None = None) -> list[Quadrant]:
    """The parts of a mask: top left, top right, bottom left, bottom right.

    Parts without a pixel, which weigh nothing, are left out; PySODMetrics' S is NaN then.

    Args:
        truth: H×W bool, not empty.
        counted: H×W bool: which pixels count. The others weigh nothing: a part's weight is its
            share of the pixels that count, and its means are over these.
    """
    height, width = truth.shape
    rows, columns = (np.count_nonzero(truth, axis=axis) for axis in (1, 0))
    count = rows.sum()
    y = int((np.arange(height) @ rows / count).round()) + 1
    x = int((np.arange(width) @ columns / count).round()) + 1
    area = height * width
    weights = [x * y / area, y * (width - x) / area, (height - y) * x / area]
    weights.append(1 - weights[0] - weights[1] - weights[2])
    places = [
        (slice(0, y), slice(0, x)),
        (slice(0, y), slice(x, width)),
        (slice(y, height), slice(0, x)),
        (slice(y, height), slice(x, width)),
    ]
    if counted is not None:
        shares = [int(np.count_nonzero(counted[place])) for place in places]
        weights = [share / sum(shares) for share in shares]
    return [
        _quadrant(truth, place, weight, counted)
        for place, weight in zip(places, weights, strict=True)
        if (truth[place].size if counted is None else weight)
    ]


def _quadrant(
    truth: np.ndarray, place: tuple[slice, slice], weight: float, counted: np.ndarray | None
) -> Quadrant:
    kept = None if counted is None else counted[place]
    part = truth[place] if kept is None else truth[place][kept]
    mean = np.mean(part)
    deviation = part - mean
    return Quadrant(place, weight, mean, deviation, _variance(deviation * deviation), kept)


def _variance(products: np.ndarray) -> np.float64:
    """Of the products of deviations; a single pixel has none."""
    result: np.float64 = np.sum(products) / (products.size - 1 + EPS)
    return result


def structure_measure(
    values: np.ndarray, inside: np.ndarray, outside: np.ndarray, parts: list[Quadrant]
) -> float:
    """S of a map.

    Args:
        values: The map, H×W float64 in 0..1.
        inside: Its values on the object, in the order of rows.
        outside: Its values elsewhere.
        parts: `quadrants` of the mask.
    """
    if not inside.size:
        return float(1 - np.mean(outside))
    if not outside.size:
        return float(np.mean(inside))
    share = inside.size / (inside.size + outside.size)
    objects = _object_score(inside) * share + _object_score(1 - outside) * (1 - share)
    regions = sum(_similarity(part.of(values), part) * part.weight for part in parts)
    return float(np.maximum(0, objects * ALPHA + regions * (1 - ALPHA)))


def _object_score(values: np.ndarray) -> np.float64:
    """How near to 1 and how even the map is on the object, or off it when it is turned over."""
    mean = np.mean(values)
    deviation = np.float64(0)
    if values.size > 1:
        squares = values - mean
        np.square(squares, out=squares)
        deviation = np.sqrt(np.sum(squares) / (values.size - 1))
    score: np.float64 = 2 * mean / (np.power(mean, 2) + 1 + deviation + EPS)
    return score


def _similarity(values: np.ndarray, part: Quadrant) -> float:
    """The structural similarity of map and mask in one part."""
    mean = np.mean(values)
    deviation = values - mean
    covariance = _variance(deviation * part.deviation)
    variance = _variance(np.square(deviation, out=deviation))
    above = 4 * mean * part.mean * covariance
    below = (mean**2 + part.mean**2) * (variance + part.variance)
    if above != 0:
        return float(above / (below + EPS))
    return 1.0 if below == 0 else 0.0
