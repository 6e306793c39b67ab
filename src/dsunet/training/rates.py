"""Which parameters learn at which rate."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from torch import nn

from dsunet.config import TrainConfig
from dsunet.errors import ConfigError, few
from dsunet.network.base import SegmentationModel
from dsunet.network.custom import CustomModel

__all__ = ["layers_of", "parameter_groups"]

Named = tuple[str, nn.Parameter]


def parameter_groups(
    model: SegmentationModel, recipe: TrainConfig, more: Sequence[nn.Parameter] = ()
) -> list[dict[str, Any]]:
    """The groups of the optimiser, each with its rate, as `lr` and `base_lr`.

    First what takes `lr`; then encoders that are trained as a whole, or the pretrained parts of a
    network of the user's own, at `encoder_lr`: all in one group, or with `layer_decay` in one for
    each layer, from the last to the first.

    Args:
        model: The network.
        recipe: Gives the rates.
        more: Further parameters that take `lr`.

    Raises:
        ConfigError: `encoder_parts` or `layer_decay` does not go with the network.
    """
    encoders = [
        [named for named in encoder if named[1].requires_grad]
        for encoder in _encoders(model, recipe)
    ]
    inside = {id(parameter) for encoder in encoders for _, parameter in encoder}
    if recipe.layer_decay < 1 and not inside:
        raise ConfigError(
            f"`layer_decay` is {recipe.layer_decay}, but no encoder is trained as a whole; leave "
            "it out, or set `train_pyramid` or, for a network of your own, `encoder_parts`"
        )
    trained = [p for p in model.parameters() if p.requires_grad]
    rate = recipe.encoder_lr or recipe.lr / 5
    groups = [([p for p in trained if id(p) not in inside] + list(more), recipe.lr)]
    if recipe.layer_decay == 1:
        groups.append(([p for p in trained if id(p) in inside], rate))
    else:
        for encoder in encoders:
            for back, layer in enumerate(reversed(layers_of(encoder))):
                groups.append(([p for _, p in layer], rate * recipe.layer_decay**back))
    return [{"params": p, "lr": rate, "base_lr": rate} for p, rate in groups if p]


def layers_of(named: Iterable[Named]) -> list[list[Named]]:
    """The parameters of an encoder, layer by layer, from the input on.

    A layer is what shares its name up to the first number in it, such as `blocks.3`. What stands
    before the first one (patches, positions, a stem) is a layer, and what follows one without a
    number of its own (a norm, say) belongs to it.
    """
    layers: list[list[Named]] = [[]]
    keys: list[str] = [""]
    for name, parameter in named:
        parts = name.split(".")
        number = next((i for i, part in enumerate(parts) if part.isdecimal()), None)
        key = keys[-1] if number is None else ".".join(parts[: number + 1])
        if key not in keys:
            keys.append(key)
            layers.append([])
        layers[keys.index(key)].append((name, parameter))
    return [layer for layer in layers if layer]


def _encoders(model: SegmentationModel, recipe: TrainConfig) -> list[list[Named]]:
    """What takes the encoders' rate, encoder by encoder."""
    if isinstance(model, CustomModel):
        return _parts_of_own(model, recipe)
    if recipe.encoder_parts is not None:
        raise ConfigError(
            f"`encoder_parts` is {recipe.encoder_parts!r}, but is for networks of your own; "
            "dsunet's say which their encoders are"
        )
    return [
        [named for named in encoder.named_parameters() if ".adapter." not in named[0]]
        for encoder in model.encoders.values()
        if encoder.trainable
    ]


def _parts_of_own(model: CustomModel, recipe: TrainConfig) -> list[list[Named]]:
    own = getattr(model.network, "encoder_parameters", None)
    if recipe.encoder_parts is not None:
        starts = [part.strip() for part in recipe.encoder_parts.split(",") if part.strip()]
        said = "`encoder_parts`"
    elif own is not None:
        starts, said = list(own()), f"{model.config.name}'s encoder_parameters"
    else:
        return []
    named = list(model.network.named_parameters())
    parts = [[each for each in named if _begins(each[0], start)] for start in starts]
    if lost := [start for start, part in zip(starts, parts, strict=True) if not part]:
        tops = dict.fromkeys(name.split(".")[0] for name, _ in named)
        raise ConfigError(
            f"{said} has {lost[0]!r}, with which no parameter of {model.config.name} begins; they "
            f"begin with {few(tops)}"
        )
    # one encoder, in the network's own order, each parameter once
    chosen = {id(parameter) for part in parts for _, parameter in part}
    return [[each for each in named if id(each[1]) in chosen]]


def _begins(name: str, start: str) -> bool:
    """Whether whole parts of a name begin it, so that `layer1` is not `layer10`."""
    return name == start or name.startswith(f"{start.rstrip('.')}.")
