"""The learning rate over a training."""

from __future__ import annotations

import math

__all__ = ["cosine_factor"]


def cosine_factor(epoch: float, epochs: int, warmup: int, floor: float) -> float:
    """The learning rate at a moment, in epochs from the start, as a share of the first one.

    A cosine from 1 to `floor` after `warmup` epochs of linear rise. As a plain function of the
    moment it needs no state to resume from.
    """
    if epoch < warmup:
        return (epoch + 1) / (warmup + 1)
    progress = (epoch - warmup) / (epochs - warmup)
    return floor + (1 - floor) * (1 + math.cos(math.pi * progress)) / 2
