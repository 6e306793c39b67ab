"""The network of a run, with what it learns from and what need not be computed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from timm.layers.norm_act import convert_sync_batchnorm

from dsunet.config import ModelConfig
from dsunet.errors import ConfigError
from dsunet.maps.opening import Budget, gigabytes
from dsunet.maps.semantic import FeatureCache, disk_needed, obstacle, open_cache
from dsunet.network.base import SegmentationModel
from dsunet.network.source import CustomSource
from dsunet.running.inference import lay_out
from dsunet.training.batch_size import choose_batch_size
from dsunet.training.material import Material
from dsunet.training.rates import parameter_groups
from dsunet.training.request import Request
from dsunet.training.scales import require_several
from dsunet.training.teacher import Teaching, open_teacher
from dsunet.weights.custom import create_custom
from dsunet.weights.models import create_from_config

if TYPE_CHECKING:
    from dsunet.training.together import Together

__all__ = ["Built", "build", "create_network", "synchronised", "with_batch_size"]


@dataclass(frozen=True)
class Built:
    """What is trained, and from what."""

    network: SegmentationModel
    """In training mode and the layout of its device, on the CPU."""
    teaching: Teaching | None
    cache: FeatureCache | None


def create_network(
    model: ModelConfig | CustomSource,
    weights: str | Path | None,
    pyramid_weights: str | Path | None = None,
    semantic_weights: str | Path | None = None,
) -> SegmentationModel:
    """A network to train: one of ours, or one of the user's own; arguments as in `train`."""
    if isinstance(model, ModelConfig):
        return create_from_config(
            model, weights, pyramid_weights=pyramid_weights, semantic_weights=semantic_weights
        )
    if pyramid_weights is not None or semantic_weights is not None:
        raise ConfigError(
            "`pyramid_weights` and `semantic_weights` are for dsunet's models, not for "
            f"{model.name}"
        )
    return create_custom(model, weights)


def build(request: Request, material: Material) -> Built:
    """Makes the network, and has ready what its teacher says and what is kept of its maps.

    Raises:
        DsunetError: Weights, teacher, cache or settings cannot be used; each error says why.
    """
    sources, recipe, budget = request.sources, request.recipe, Budget(request.recipe.cache_budget)
    network = create_network(
        request.model, sources.weights, sources.pyramid_weights, sources.semantic_weights
    )
    require_several(network.view_sizes[0], recipe.multi_scale)
    parameter_groups(network, recipe)  # which says now what does not go with the network
    teaching = None
    if request.distill is not None:
        teaching = open_teacher(
            request.distill,
            network,
            material.split.training,
            material.unlabelled,
            recipe,
            request.loss.output_weights,
            request.place,
            request.say,
            budget=budget,
            workers=request.data.workers,
            computes=request.is_first,
        )
    cache = _feature_cache(request, material, network, budget)
    if request.ranks.world > 1 and request.place.device.type == "cuda":
        network = synchronised(network)
    network = lay_out(network, request.place.device).train()
    if recipe.activation_checkpointing:
        network.checkpoint_activations()
    return Built(network, teaching, cache)


def synchronised(network: SegmentationModel) -> SegmentationModel:
    """The network with BatchNorm that takes its statistics over all processes, on GPUs alone.

    By timm's function: torch's own would lose the activations that timm has in its BatchNorm.
    """
    convert = cast(Callable[[SegmentationModel], SegmentationModel], convert_sync_batchnorm)
    return convert(network)


def with_batch_size(
    request: Request, material: Material, network: SegmentationModel, together: Together
) -> Request:
    """The request with a number for `batch_size="auto"`, which the first process finds.

    Raises:
        TrainingError: Nothing fits into the memory, or it cannot be found out.
    """
    if request.recipe.batch_size != "auto":
        return request
    found = request.recipe
    if request.is_first:
        found = choose_batch_size(
            network, found, request.loss, request.place, material.images, request.say
        )
    told = {"batch_size": found.batch_size, "accumulate": found.accumulate}
    told = together.tell("batch", told)
    return replace(request, recipe=replace(found, **cast(dict[str, Any], told)))


def _feature_cache(
    request: Request, material: Material, network: SegmentationModel, budget: Budget
) -> FeatureCache | None:
    """The cache that the recipe asks for, if the network and the data allow one.

    If every map is there, DINOv2 is taken out of the network.
    """
    data, split, recipe, say = request.data, material.split, request.recipe, request.say
    reason = obstacle(network, data)
    if recipe.feature_cache == "off":
        if reason is None:
            size = gigabytes(disk_needed(network, data, split, recipe.cache_type))
            say(
                "DINOv2 is computed anew in every step; with `feature_cache` auto it would be once "
                f"for each image and flip, and {size} on disk"
            )
        return None
    if reason is not None:
        say(f"no feature cache: {reason}")
        return None
    cache = open_cache(
        recipe.feature_cache,
        network,
        data,
        split,
        request.place.precision,
        dtype=recipe.cache_type,
        budget=budget,
        say=say,
    )
    cache.say = say
    if cache.take_out(network):
        say("every map of DINOv2 is in the feature cache: DINOv2 itself is not loaded")
    return cache
