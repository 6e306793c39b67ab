"""From logits to a map at the image's own size, and to what is written of it: needs no torch."""

from __future__ import annotations

import numpy as np

__all__ = ["class_maps_of_logits", "map_of_logits", "quantise"]

VALUES = (
    1 << 18
)  # of a map that are worked on at a time, so that they stay in the processor's cache


def map_of_logits(logits: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The object's probability at every pixel of an image, from a network's fine logits.

    The logits are resized bilinearly (half-pixel centres, no antialiasing) before the sigmoid, as
    `dsunet.running.inference.predict_probabilities` does; the two differ in the last digits.

    Args:
        logits: h×w float32.
        size: Height and width in pixels of the image.

    Returns:
        H×W float32 in 0..1.
    """
    height, width = size
    top, bottom, down = _between(logits.shape[0], height)
    left, right, across = _between(logits.shape[1], width)
    wide = logits[:, left]
    wide += (logits[:, right] - wide) * across
    result = np.empty((height, width), np.float32)
    rows = max(1, VALUES // width)
    for start in range(0, height, rows):
        part = slice(start, start + rows)
        values = wide[top[part]]
        lower = wide[bottom[part]]
        lower -= values
        lower *= down[part, None]
        values += lower
        np.negative(np.abs(values), out=lower)
        np.exp(lower, out=lower)  # at most 1, whatever the logit is
        np.divide(np.where(values < 0, lower, np.float32(1)), 1 + lower, out=result[part])
    return result


def class_maps_of_logits(logits: np.ndarray, size: tuple[int, int], exclusive: bool) -> np.ndarray:
    """The probability of each class at every pixel of an image, from a network's fine logits.

    Resized as `map_of_logits` does, before the softmax over background, whose logit is 0, and the
    classes; or before the sigmoid of each.

    Args:
        logits: C×h×w float32.
        size: Height and width in pixels of the image.
        exclusive: Whether a pixel has one class at most.

    Returns:
        C×H×W float32 in 0..1.
    """
    if not exclusive or len(logits) == 1:
        return np.stack([map_of_logits(each, size) for each in logits])
    height, width = size
    top, bottom, down = _between(logits.shape[1], height)
    left, right, across = _between(logits.shape[2], width)
    wide = logits[..., left] + (logits[..., right] - logits[..., left]) * across
    result = np.empty((len(logits), height, width), np.float32)
    rows = max(1, VALUES // (width * len(logits)))
    for start in range(0, height, rows):
        part = slice(start, start + rows)
        upper = wide[:, top[part]]
        values = upper + (wide[:, bottom[part]] - upper) * down[part, None]
        largest = np.maximum(values.max(0), 0)
        values = np.exp(values - largest)
        result[:, part] = values / (values.sum(0) + np.exp(-largest))
    return result


def _between(given: int, wanted: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each wanted place the two given ones beside it, and how far it is from the first."""
    places = (np.arange(wanted) + 0.5) * (given / wanted) - 0.5
    places = places.clip(0, given - 1)
    first = places.astype(np.int64)
    second = np.minimum(first + 1, given - 1)
    return first, second, (places - first).astype(np.float32)


def quantise(probability: np.ndarray, *, benchmark_normalization: bool = False) -> np.ndarray:
    """A map as it is written to an 8-bit PNG: H×W float32 in 0..1 → H×W uint8 in 0..255.

    Args:
        probability: H×W in 0..1.
        benchmark_normalization: The paper's protocol for benchmark maps: stretch each map to its
            full range (ε = 1e-8 in the denominator) and truncate. It invents an object in images
            that have none. Without it, values are rounded.
    """
    if benchmark_normalization:
        low, high = probability.min(), probability.max()
        stretched = (probability - low) / (high - low + np.float32(1e-8))
        return np.asarray((stretched * 255).astype(np.uint8))
    return np.asarray(np.round(probability * 255).astype(np.uint8))
