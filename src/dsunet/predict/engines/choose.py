"""Which model is meant, and which engine runs it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dsunet.errors import ConfigError, perhaps
from dsunet.network.base import SegmentationModel
from dsunet.network.function import ImageFunction
from dsunet.network.source import CustomSource
from dsunet.predict.engines.base import Engine, Size
from dsunet.predict.engines.function import FunctionEngine
from dsunet.predict.engines.onnx import OnnxEngine, OnnxFile
from dsunet.predict.engines.torch import TorchEngine
from dsunet.predict.engines.zoom import ZoomEngine
from dsunet.weights.exported import SUFFIX
from dsunet.weights.models import load
from dsunet.weights.opened import open_weights

__all__ = ["ENGINES", "Given", "Looks", "Opened", "check_engine", "choose_engine", "open_model"]

ENGINES = ("auto", "torch", "onnx")
"""What `dsunet.Segmenter` takes as engine; `auto` is the one that fits the model."""

# What `dsunet.Segmenter` takes as model.
Given = SegmentationModel | CustomSource | Callable[..., object] | str | Path


@dataclass(frozen=True)
class Looks:
    """How often, and how closely, a picture is looked at, see `dsunet.Segmenter`."""

    view: Size | None = None
    flips: bool = False
    zoom: bool = False

    def closer(self, engine: Engine[Any]) -> Engine[Any]:
        """The engine, with a second look where that is wanted."""
        return ZoomEngine(engine) if self.zoom else engine

    def asked(self) -> dict[str, Any]:
        """What differs from one look at the model's own view, by name."""
        view = {} if self.view is None else {"view": list(self.view)}
        return view | {name: True for name in ("flips", "zoom") if getattr(self, name)}


@dataclass(frozen=True)
class Opened:
    """A model that has been found, and where."""

    model: SegmentationModel | ImageFunction | OnnxFile
    weights: Path | None = None
    """The file that its weights are from."""
    source: CustomSource | None = None
    """What makes it, if it is one of the user's own."""
    identity: Mapping[str, str | None] | None = None
    """What tells a model of the user's own from another one, see `CustomSource.identity`."""

    @property
    def intensity(self) -> str:
        """Which stored values of images are black and white, as the model says."""
        if isinstance(self.model, SegmentationModel):
            return self.model.intensity
        if isinstance(self.model, OnnxFile):
            return self.model.facts.intensity
        return (self.source.intensity if self.source is not None else None) or "full"


def open_model(
    model: Given, weights: str | Path | None, encoders: Mapping[str, str | Path | None]
) -> Opened:
    """The model that is meant, see `dsunet.Segmenter`.

    Args:
        model: A model, a weights file, or what makes a model of the user's own.
        weights: Weights of a network of the user's own.
        encoders: `pyramid_weights` and `semantic_weights`, which go with a weights file alone.

    Raises:
        CheckpointError: The file is missing, broken or not ours.
        CustomModelError: A model of the user's own cannot be made.
        ConfigError: Files are given that do not go with the model.
    """
    if isinstance(model, str | Path):
        if weights is not None:
            raise ConfigError(
                f"weights is {weights}, but goes with a network of your own; of dsunet's models "
                "give the file itself as model"
            )
        if Path(model).suffix.lower() == SUFFIX:
            return _opened_export(Path(model), encoders)
        file = open_weights(model)
        return Opened(
            load(
                file,
                pyramid_weights=encoders["pyramid_weights"],
                semantic_weights=encoders["semantic_weights"],
            ),
            file.path,
        )
    if any(path is not None for path in encoders.values()):
        raise ConfigError("`pyramid_weights` and `semantic_weights` go with a weights file alone")
    if isinstance(model, SegmentationModel) and weights is None:
        return Opened(model)
    source = CustomSource.of(model)
    identity = source.identity()
    if weights is None:
        return Opened(source.make(), None, source, identity)
    file = open_weights(weights)
    return Opened(load(file, model=source), file.path, source, identity)


def _opened_export(path: Path, encoders: Mapping[str, str | Path | None]) -> Opened:
    given = [name for name, file in encoders.items() if file is not None]
    if given:
        raise ConfigError(f"`{given[0]}` goes with a weights file; {path} has all of its weights")
    return Opened(OnnxFile(path), path)


def check_engine(name: str) -> None:
    """Raises `ConfigError` unless there is an engine of this name."""
    if name not in ENGINES:
        hint = perhaps(name, ENGINES)
        raise ConfigError(f"`engine` is {name!r}, but needs one of {', '.join(ENGINES)}{hint}")


def choose_engine(
    name: str,
    opened: Opened,
    device: torch.device,
    dtype: torch.dtype,
    settings: Mapping[str, bool],
    looks: Looks,
) -> Engine[Any]:
    """The engine of a name for a model.

    Raises:
        ConfigError: There is none of this name, it does not run this model, or settings do not go
            together.
        DeviceError: The device is not usable with the settings.
        CustomModelError: A network of the user's own cannot be copied, as settings need.
    """
    check_engine(name)
    if isinstance(opened.model, OnnxFile):
        if name == "torch":
            raise ConfigError(
                f"`engine` is torch, but {opened.weights} is an exported file; leave it out, or "
                "give the weights that it was made of"
            )
        return looks.closer(
            OnnxEngine(opened.model, device, dtype, settings, view=looks.view, flips=looks.flips)
        )
    if name == "onnx":
        raise ConfigError(
            "`engine` is onnx, but the model is none of a file that ends in .onnx; make one by "
            "`dsunet export`, or leave it out"
        )
    if not isinstance(opened.model, ImageFunction):
        return looks.closer(
            TorchEngine(
                opened.model,
                device,
                dtype,
                settings,
                opened.weights,
                opened.identity,
                view=looks.view,
                flips=looks.flips,
            )
        )
    if looks.view is not None or looks.flips:
        asked = "view" if looks.view is not None else "flips"
        raise ConfigError(
            f"`{asked}` is for networks, but {opened.model.name} is a function; leave it out"
        )
    if name != "auto":
        raise ConfigError(
            f"`engine` is {name!r}, which is for networks, but {opened.model.name} is a function; "
            "leave it out"
        )
    engine = FunctionEngine(opened.model, device, dtype, settings, opened.identity or {})
    return looks.closer(engine)
