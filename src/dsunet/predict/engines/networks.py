"""Models of torch, and functions of an image: found, and given to the engine that runs them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from dsunet.config import ModelConfig, Precision
from dsunet.errors import ConfigError
from dsunet.network.base import SegmentationModel
from dsunet.network.blocks import code_of
from dsunet.network.function import ImageFunction
from dsunet.network.source import CustomSource
from dsunet.predict.engines.base import Engine
from dsunet.predict.engines.function import FunctionEngine
from dsunet.predict.engines.models import Looks, Opened
from dsunet.predict.engines.torch import TorchEngine
from dsunet.running.place import choose_device, choose_precision
from dsunet.weights.models import load
from dsunet.weights.opened import open_weights

__all__ = ["network_engine", "open_network"]


def open_network(
    model: SegmentationModel | CustomSource | Callable[..., object] | str | Path,
    weights: str | Path | None,
    encoders: Mapping[str, str | Path | None],
    device: str,
) -> Opened:
    """The model that is meant; arguments and errors as of `open_model`."""
    choose_device(device)  # which says what is wrong before gigabytes are read
    if isinstance(model, str | Path):
        file = open_weights(model)
        network = load(
            file,
            pyramid_weights=encoders["pyramid_weights"],
            semantic_weights=encoders["semantic_weights"],
        )
        config = network.config
        code = code_of(config) if isinstance(config, ModelConfig) else None
        of_blocks: dict[str, str | None] = {} if code is None else {"code": code}
        return Opened(
            network,
            weights=file.path,
            identity=of_blocks,
            intensity=network.intensity,
            training=network.training_facts,
        )
    if any(path is not None for path in encoders.values()):
        raise ConfigError("`pyramid_weights` and `semantic_weights` go with a weights file alone")
    if isinstance(model, SegmentationModel) and weights is None:
        return Opened(model, intensity=model.intensity, training=model.training_facts)
    source = CustomSource.of(model)
    identity = source.identity()
    if weights is None:
        made = source.make()
        own = made.intensity if isinstance(made, SegmentationModel) else source.intensity
        return Opened(made, source=source, identity=identity, intensity=own or "full")
    file = open_weights(weights)
    loaded = load(file, model=source)
    return Opened(
        loaded,
        weights=file.path,
        source=source,
        identity=identity,
        intensity=loaded.intensity,
        training=loaded.training_facts,
    )


def network_engine(
    name: str,
    opened: Opened,
    device: str,
    precision: Precision,
    settings: Mapping[str, bool],
    looks: Looks,
) -> Engine[Any]:
    """The engine for a network, or a function of an image; see `choose_engine`."""
    place = choose_device(device)
    # 8-bit layers come between layers of 32 bits
    settled = precision == "auto" and settings["int8"]
    dtype = choose_precision("float32" if settled else precision, place)
    model = opened.model
    if not isinstance(model, ImageFunction):
        return looks.closer(
            TorchEngine(
                model,
                place,
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
            f"`{asked}` is for networks, but {model.name} is a function; leave it out"
        )
    if name != "auto":
        raise ConfigError(
            f"`engine` is {name!r}, which is for networks, but {model.name} is a function; leave "
            "it out"
        )
    return looks.closer(FunctionEngine(model, place, dtype, settings, opened.identity or {}))
