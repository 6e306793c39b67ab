"""A model that has been found, and how it is to look at pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, Union, cast

from dsunet.config import require_one_class
from dsunet.config.tiling import OVERLAP, Tiling
from dsunet.errors import ConfigError
from dsunet.predict.engines.base import Engine, Size
from dsunet.predict.engines.tiles import TileEngine
from dsunet.predict.engines.zoom import ZoomEngine

if TYPE_CHECKING:
    from dsunet.network.base import SegmentationModel
    from dsunet.network.source import CustomSource

__all__ = ["Given", "Looks", "Opened", "one_tiling", "tile_arguments"]

# What `dsunet.Segmenter` takes as model; as texts, because these names need torch.
Given: TypeAlias = Union["SegmentationModel", "CustomSource", Callable[..., object], str, Path]


@dataclass(frozen=True)
class Looks:
    """How often, and how closely, a picture is looked at, see `dsunet.Segmenter`."""

    view: Size | None = None
    flips: bool = False
    zoom: bool = False
    tiling: Tiling | None = None

    def closer(self, engine: Engine[Any]) -> Engine[Any]:
        """The engine, with a second look or tile by tile where that is wanted.

        Raises:
            ConfigError: It is of several classes, and a second look or tiles are wanted.
        """
        if self.tiling is not None:
            require_one_class(engine.classes, "`tile`", "leave it out")
            return TileEngine(engine, self.tiling)
        if self.zoom:
            require_one_class(engine.classes, "`zoom`", "leave it out")
        return ZoomEngine(engine) if self.zoom else engine

    def asked(self) -> dict[str, Any]:
        """What differs from one look at the model's own view, by name."""
        view = {} if self.view is None else {"view": list(self.view)}
        tiling = {} if self.tiling is None else {"tiling": self.tiling.to_dict()}
        return view | tiling | {name: True for name in ("flips", "zoom") if getattr(self, name)}


@dataclass(frozen=True)
class Opened:
    """A model that has been found, and where."""

    model: Any
    """A network, a function of an image, or an exported file."""
    exported: bool = False
    """Whether it is such a file."""
    weights: Path | None = None
    """The file that its weights are from."""
    source: CustomSource | None = None
    """What makes it, if it is one of the user's own."""
    identity: Mapping[str, str | None] | None = None
    """What tells a model of the user's own from another one, see `CustomSource.identity`."""
    intensity: str = "full"
    """Which stored values of images are black and white, as the model says."""
    training: Mapping[str, Any] = field(default_factory=dict)
    """What is said of its training, see `dsunet.weights.checkpoint`."""


def one_tiling(
    opened: Sequence[Opened], tile: int | None, overlap: float | None, zoom: bool
) -> Tiling | None:
    """The tiles that are asked for, or else those that all members were trained on."""
    told = {Tiling.from_dict(each.training.get("tiling")) for each in opened}
    if tile is None and len(told) > 1:
        ways = ", ".join(sorted(str(each or "whole images") for each in told))
        raise ConfigError(
            f"the models were trained on images in other ways ({ways}); say which by `tile`, 0 for "
            "whole images, or leave the odd ones out"
        )
    known = next(iter(told)) if len(told) == 1 else None
    if tile == 0 or (tile is None and known is None):
        if overlap is not None:
            raise ConfigError("`overlap` is of tiles: give `tile`, too, or leave it out")
        return None
    usual = OVERLAP if known is None else known.overlap
    side = known.side if tile is None and known is not None else tile
    tiling = Tiling(cast(int, side), usual if overlap is None else overlap)
    if zoom:
        hint = ", or give `tile` 0" if tile is None else ""
        raise ConfigError(
            f"`zoom` looks again at one part of a whole image, but this one goes by {tiling}; "
            f"leave `zoom` out{hint}"
        )
    return tiling


def tile_arguments(tiling: Tiling | None) -> dict[str, Any]:
    """As `Segmenter` takes them, whatever the weights say."""
    if tiling is None:
        return {"tile": 0}
    return {"tile": tiling.side, "overlap": tiling.overlap}
