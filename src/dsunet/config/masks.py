"""What the values of masks mean."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["MaskReading"]


@dataclass(frozen=True)
class MaskReading:
    """What the values of a set's masks mean, where they are not 0 and 255."""

    object_values: str | None = None
    """Values of the masks that are object, separated by commas: grey levels or class numbers
    (`1,2`), or colours (`#00ff00`). Every other value is background."""

    ignore_value: str | None = None
    """Value of the masks, a grey level or a colour, whose pixels count in neither loss nor
    measures."""

    invert: bool = False
    """Object and background are the other way round: black is object."""
