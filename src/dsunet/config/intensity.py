"""How bright the stored values of a picture are."""

from __future__ import annotations

import re
from typing import Literal

from dsunet.errors import ConfigError

__all__ = ["PERCENTILES", "as_intensity", "intensity_range"]

PERCENTILES = (0.5, 99.5)
"""Shares, in percent, of a picture's pixels below which `percentile` shows black and from which
white; those of nnU-Net for CT."""

_NUMBER = r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*"


def as_intensity(value: object) -> str:
    """A setting of intensity as it is kept: `full`, `percentile`, or `LOW,HIGH`.

    Args:
        value: One of these, or two numbers.

    Raises:
        ConfigError: It is neither.
    """
    if isinstance(value, list | tuple) and len(value) == 2:
        value = f"{value[0]},{value[1]}"
    if value in ("full", "percentile"):
        return str(value)
    match = re.fullmatch(f"{_NUMBER},{_NUMBER}", str(value))
    if match is None:
        raise ConfigError(
            f"`intensity` is {value!r}, but needs full, percentile, or the two values that "
            "are black and white, as 0,4095"
        )
    low, high = match.groups()
    if not float(low) < float(high) < float("inf"):
        raise ConfigError(
            f"`intensity` is {value}, but the first number, which is black, needs to be below the "
            "second, which is white"
        )
    return f"{float(low):.15g},{float(high):.15g}"


def intensity_range(intensity: str) -> tuple[float, float] | Literal["full", "percentile"]:
    """What `as_intensity` gives, with the two numbers apart."""
    if intensity == "full":
        return "full"
    if intensity == "percentile":
        return "percentile"
    low, high = intensity.split(",")
    return float(low), float(high)
