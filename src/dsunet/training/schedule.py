"""The learning rate over the epochs."""

from __future__ import annotations

import math

__all__ = ["cosine_factor"]


def cosine_factor(epoch: int, epochs: int, warmup: int, floor: float) -> float:
    """The learning rate of an epoch as a share of the first one.

    A cosine from 1 to `floor`, stepping once an epoch, after `warmup` epochs of linear rise. As a
    plain function of the epoch it needs no state to resume from.
    """
    if epoch < warmup:
        return (epoch + 1) / (warmup + 1)
    progress = (epoch - warmup) / (epochs - warmup)
    return floor + (1 - floor) * (1 + math.cos(math.pi * progress)) / 2
