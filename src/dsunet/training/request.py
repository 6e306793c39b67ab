"""What a training is asked to do, in settings that are known to go together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from dsunet.config import DataConfig, DistillConfig, LossConfig, ModelConfig, TrainConfig
from dsunet.config.augment import MOVING
from dsunet.errors import ConfigError, DeviceError
from dsunet.network.source import CustomSource
from dsunet.running.place import Place
from dsunet.support.ranks import ALONE, Ranks
from dsunet.training.classes import check_classes, named_model
from dsunet.training.folder import flat_settings, recorded_batch, recorded_loss, recorded_protocol
from dsunet.training.teacher import check_teacher
from dsunet.weights.identify import custom_config_of
from dsunet.weights.opened import open_weights

__all__ = ["Request", "Sources", "settled"]


@dataclass(frozen=True)
class Sources:
    """What a network's weights start from, as in `create_model`."""

    weights: str | Path | None = "default"
    pyramid_weights: str | Path | None = None
    semantic_weights: str | Path | None = None

    def as_settings(self) -> dict[str, str | None]:
        """As `config.yaml` has them."""
        return {
            "weights": "none" if self.weights is None else str(self.weights),
            "pyramid_weights": str(self.pyramid_weights) if self.pyramid_weights else None,
            "semantic_weights": str(self.semantic_weights) if self.semantic_weights else None,
        }


@dataclass(frozen=True)
class Request:
    """The arguments of `train`, and what follows from them."""

    folder: Path
    model: ModelConfig | CustomSource
    data: DataConfig
    recipe: TrainConfig
    loss: LossConfig
    sources: Sources
    distill: DistillConfig | None
    resume: bool
    say: Callable[[str], None]
    progress_bar: bool
    plan: str | None = None
    """What is kept as `plan.yaml`."""
    going_on: bool = False
    """Whether there is a run to go on with."""
    ranks: Ranks = ALONE
    """Which process this is, of those that train together."""

    @property
    def is_first(self) -> bool:
        """Whether this process writes and speaks for all."""
        return self.ranks.is_first

    @cached_property
    def place(self) -> Place:
        """Where to train.

        Raises:
            DeviceError: The device or the number type cannot be used.
        """
        return Place.chosen(self.recipe.device, self.recipe.precision)

    @property
    def settings(self) -> dict[str, Any]:
        """All settings under the names of the command line's flags, ready for YAML."""
        sources = self.sources.as_settings()
        return flat_settings(self.model, self.data, self.recipe, self.loss, sources, self.distill)


def settled(request: Request, going_on: bool) -> Request:
    """The request as it is carried out, with settings that go together.

    Args:
        request: As it was made.
        going_on: Whether there is a run to go on with.

    Raises:
        DsunetError: Settings, teacher or device cannot be used; each error says why.
    """
    say = request.say if request.is_first else _unheard
    model = _with_intensity(request.model, request.sources.weights)
    if isinstance(model, ModelConfig):
        model = named_model(model, request.data)
    request = replace(request, going_on=going_on, say=say, model=model)
    if request.recipe.batch_size == "auto" and going_on:
        request = replace(request, recipe=recorded_batch(request.folder, request.recipe))
    if request.loss.positive_weight == "auto" and going_on:
        request = replace(request, loss=recorded_loss(request.folder, request.loss))
    if going_on:
        request = replace(request, recipe=recorded_protocol(request.folder, request.recipe))
    check_classes(request.model, request.data, request.recipe, request.loss, request.distill)
    if request.distill is not None:
        if request.data.transform is not None:
            raise ConfigError(
                f"`transform` is {request.data.transform}, but what a teacher says of an image "
                "cannot follow it; leave it out of distillation"
            )
        if request.data.tile is not None:
            raise ConfigError(
                f"`tile` is {request.data.tile}, but a teacher's maps are of whole pictures; leave "
                "it out of distillation"
            )
        if request.recipe.multi_scale:
            raise ConfigError(
                f"`multi_scale` is {request.recipe.multi_scale}, but a teacher's maps are of one "
                "view; leave it out of distillation"
            )
        if moving := [each.name for each in request.data.changes if each.name in MOVING]:
            raise ConfigError(
                f"`augment` has {' and '.join(moving)}, which a teacher's maps do not follow; "
                "leave it out of distillation (`crop` and flips they follow)"
            )
        check_teacher(request.distill, request.folder)
    _check_devices(request.place.device, request.recipe.devices)
    if request.ranks.world > 1 and request.place.device.type == "cuda":
        torch.cuda.set_device(request.ranks.local)  # what `cuda` means from now on
    return request


def _with_intensity(
    model: ModelConfig | CustomSource, weights: str | Path | None
) -> ModelConfig | CustomSource:
    """A network of the user's own sees pictures as the weights to start from did, unless told."""
    is_own = isinstance(model, CustomSource) and model.intensity is None
    if not is_own or weights in ("default", "encoders", "full", None):
        return model
    found = custom_config_of(open_weights(weights).state)
    return model if found is None else replace(model, intensity=found.intensity)


def _check_devices(device: torch.device, count: int) -> None:
    if count > 1 and device.index is not None:
        raise DeviceError(
            f"device {str(device)!r} names one, but devices is {count}; name no number to train on "
            "several"
        )
    if count > 1 and device.type == "mps":
        raise DeviceError(f"devices is {count}, but there is one of mps; leave `devices` out")
    if device.type == "cuda" and count > torch.cuda.device_count():
        raise DeviceError(
            f"devices is {count}, but torch finds {torch.cuda.device_count()} GPUs; ask for fewer "
            "(and if a job gives each process one of its own, let it give all to all of a machine)"
        )


def _unheard(line: str) -> None:
    """For all processes but the first, which speaks for all."""
