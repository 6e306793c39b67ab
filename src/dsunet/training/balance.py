"""How much rarer object than background is in the masks of a training."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np

from dsunet.data import Pair
from dsunet.data.images import decode
from dsunet.errors import DataError
from dsunet.support.processes import available_cores
from dsunet.training.request import Request

__all__ = ["LARGEST", "MOST", "balanced_weight", "with_positive_weight"]

MOST = 1000
"""So many masks are looked at, evenly spread over the set."""

LARGEST = 100.0
"""A larger weight, or a smaller one than its reciprocal, is cut."""


def with_positive_weight(request: Request, pairs: Sequence[Pair]) -> Request:
    """The request with a number for `positive_weight="auto"`.

    Raises:
        DataError: No mask has an object.
        ImageError: A mask cannot be read.
    """
    if request.loss.positive_weight != "auto":
        return request
    weight, share, looked = balanced_weight(pairs)
    request.say(
        f"positive weight {weight:.3g} (`positive_weight`): {100 * share:.3g} % of the pixels of "
        f"{looked} training masks are object"
    )
    return replace(request, loss=replace(request.loss, positive_weight=weight))


def balanced_weight(pairs: Sequence[Pair]) -> tuple[float, float, int]:
    """The weight by which object and background count alike.

    Of a share s of object pixels it is (1 − s) / s, at most `LARGEST`. Every mask weighs the same,
    whatever its size, as in training; pixels that are ignored do not count.

    Returns:
        The weight, with three digits; the share; and how many masks were looked at.

    Raises:
        DataError: No mask has an object.
        ImageError: A mask cannot be read.
    """
    chosen = [pairs[i] for i in np.linspace(0, len(pairs) - 1, min(MOST, len(pairs))).astype(int)]
    with ThreadPoolExecutor(min(8, available_cores())) as pool:
        shares = [share for share in pool.map(_share, chosen) if share is not None]
    share = float(np.mean(shares)) if shares else 0.0
    if share == 0:
        raise DataError(
            "`positive_weight` auto weighs object by how rare it is, but no training mask has an "
            "object; give a number"
        )
    weight = min(LARGEST, max(1 / LARGEST, (1 - share) / share))
    return float(f"{weight:.3g}"), share, len(chosen)


def _share(pair: Pair) -> float | None:
    """The share of object in a mask; `None` if no pixel of it counts."""
    labels = decode(pair.mask).as_labels(pair.reading)
    values = np.asarray(labels.mask, np.float32) / 255
    if labels.ignored is None:
        return float(values.mean())
    counted = np.asarray(labels.ignored) < 128
    return float(values[counted].mean()) if counted.any() else None
