"""A model that has been found, and how it is to look at pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, Union

from dsunet.config import require_one_class
from dsunet.predict.engines.base import Engine, Size
from dsunet.predict.engines.zoom import ZoomEngine

if TYPE_CHECKING:
    from dsunet.network.base import SegmentationModel
    from dsunet.network.source import CustomSource

__all__ = ["Given", "Looks", "Opened"]

# What `dsunet.Segmenter` takes as model; as texts, because these names need torch.
Given: TypeAlias = Union["SegmentationModel", "CustomSource", Callable[..., object], str, Path]


@dataclass(frozen=True)
class Looks:
    """How often, and how closely, a picture is looked at, see `dsunet.Segmenter`."""

    view: Size | None = None
    flips: bool = False
    zoom: bool = False

    def closer(self, engine: Engine[Any]) -> Engine[Any]:
        """The engine, with a second look where that is wanted.

        Raises:
            ConfigError: It is of several classes, and a second look is wanted.
        """
        if self.zoom:
            require_one_class(engine.classes, "`zoom`", "leave it out")
        return ZoomEngine(engine) if self.zoom else engine

    def asked(self) -> dict[str, Any]:
        """What differs from one look at the model's own view, by name."""
        view = {} if self.view is None else {"view": list(self.view)}
        return view | {name: True for name in ("flips", "zoom") if getattr(self, name)}


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
