"""From probabilities of classes to what is of which class: needs no torch."""

from __future__ import annotations

import numpy as np

__all__ = ["class_index", "class_masks"]


def class_index(probability: np.ndarray, exclusive: bool, threshold: float = 0.5) -> np.ndarray:
    """The class of every pixel: H×W uint8, 0 for background and 1 to C for the classes.

    Of classes that exclude each other, the most probable of them and background, whose probability
    is what is left to 1; of others, the most probable one from the threshold on. Of equal ones
    background counts, or else the first.

    Args:
        probability: C×H×W in 0..1.
        exclusive: Whether a pixel has one class at most.
        threshold: Of classes that do not exclude each other.
    """
    best = probability.argmax(0)
    highest = np.take_along_axis(probability, best[None], 0)[0]
    if exclusive:
        found = highest > 1 - probability.sum(0)
        if len(probability) == 1:  # as the one map has it, where 0.5 is object
            found = highest >= np.float32(0.5)
    else:
        found = highest >= threshold
    return np.where(found, best.astype(np.uint8) + np.uint8(1), np.uint8(0))


def class_masks(probability: np.ndarray, exclusive: bool, threshold: float = 0.5) -> np.ndarray:
    """Which pixels are of each class: C×H×W bool; see `class_index`.

    Of classes that do not exclude each other, a pixel is of all that reach the threshold.
    """
    if not exclusive:
        return probability >= threshold
    index = class_index(probability, exclusive)
    numbers = np.arange(1, len(probability) + 1, dtype=np.uint8)
    return np.asarray(index[None] == numbers[:, None, None])
