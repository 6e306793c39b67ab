"""Into which tiles pictures are cut."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from dsunet.config.checking import require
from dsunet.errors import ConfigError

__all__ = ["OVERLAP", "Tiling"]

OVERLAP = 0.25
"""Of neighbouring tiles, where nothing else is said."""

_LEAST = 32
_MOST_OVERLAP = 0.75


@dataclass(frozen=True)
class Tiling:
    """Tiles of pictures that are too large to be seen as a whole.

    Raises:
        ConfigError: A number makes no sense.
    """

    side: int
    """Of a tile, in pixels of the picture."""
    overlap: float = OVERLAP
    """What neighbouring tiles share at least, of a tile's side."""

    def __post_init__(self) -> None:
        side, overlap = self.side, self.overlap
        require(
            type(side) is int and side >= _LEAST,
            "tile",
            side,
            f"needs a whole number of pixels from {_LEAST} on",
        )
        is_number = isinstance(overlap, int | float) and not isinstance(overlap, bool)
        require(
            is_number and 0 <= overlap <= _MOST_OVERLAP,
            "overlap",
            overlap,
            f"needs 0 to {_MOST_OVERLAP}, a share of a tile's side",
        )

    def __str__(self) -> str:
        return f"tiles of {self.side} px that overlap by {100 * self.overlap:g} %"

    def fits(self, height: int, width: int) -> bool:
        """Whether a picture is no larger than a tile, so that it is seen as a whole."""
        return max(height, width) <= self.side

    def fineness(self, view: tuple[int, int], height: int, width: int) -> tuple[int, int]:
        """Height and width of the view that would show a whole picture as finely as tiles do.

        Args:
            view: Height and width of the network's view, which each tile is seen in.
            height: Of the picture, in pixels.
            width: The same.
        """
        if self.fits(height, width):
            return view
        down, across = (length / min(length, self.side) for length in (height, width))
        return round(view[0] * down), round(view[1] * across)

    def to_dict(self) -> dict[str, Any]:
        """As weights files and notes have it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, told: object) -> Tiling | None:
        """What a weights file says; `None` if it says nothing, or nothing that makes sense."""
        if not isinstance(told, Mapping):
            return None
        try:
            return cls(told["side"], told["overlap"])
        except (ConfigError, KeyError):
            return None
