"""Values of any range → 8 bits, as the setting `intensity` says."""

from __future__ import annotations

from typing import Any

import numpy as np

from dsunet.config.intensity import PERCENTILES, intensity_range

__all__ = ["mark_of", "stretch"]


def stretch(values: np.ndarray, intensity: str, counts: np.ndarray | None = None) -> np.ndarray:
    """Stored values as 8-bit ones: from black to white linearly, and cut there.

    Args:
        values: H×W, or H×W×C, whose channels are stretched alike; any kind of number.
        intensity: `percentile`, by which black and white are `PERCENTILES` of the picture's values;
            or `LOW,HIGH`.
        counts: H×W bool: the pixels that percentiles are of; all by default.

    Returns:
        uint8. What is no number is black, as are minus and white as plus infinity. Of a picture
        with one value alone, percentiles give black.
    """
    found = intensity_range(intensity)
    numbers: np.ndarray[Any, np.dtype[np.floating]]
    numbers = values.astype(np.float64 if values.dtype.itemsize > 2 else np.float32)
    if isinstance(found, tuple):
        low, high = found
    else:
        shown = numbers[counts] if counts is not None and counts.any() else numbers
        shown = shown[np.isfinite(shown)]
        low, high = np.percentile(shown, PERCENTILES) if shown.size else (0.0, 0.0)
        if low >= high and shown.size:  # nearly all of it is one value
            low, high = float(shown.min()), float(shown.max())
    if low >= high:
        return np.zeros(values.shape, np.uint8)
    with np.errstate(invalid="ignore", over="ignore"):
        scaled = (numbers - low) * (255 / (high - low))
    scaled = np.nan_to_num(scaled, nan=0.0, posinf=255.0, neginf=0.0)
    return np.asarray(np.round(scaled.clip(0, 255)), np.uint8)


def mark_of(intensity: str) -> bytes:
    """What tells pictures read so from those of the full range, in keys by content."""
    return b"" if intensity == "full" else f"intensity {intensity}".encode()
