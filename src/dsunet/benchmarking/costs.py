"""What a network takes: parameters, FLOPs, images per second."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch

from dsunet.benchmarking.circumstances import circumstances
from dsunet.benchmarking.flops import flops_of
from dsunet.benchmarking.measure import Failure, measure
from dsunet.config import MODEL_PRESETS, ModelConfig, Variant
from dsunet.errors import CheckpointError, ConfigError
from dsunet.metrics.comparison_table import ModelCosts
from dsunet.network.base import SegmentationModel
from dsunet.network.build import build_model
from dsunet.network.counting import parameter_counts
from dsunet.network.source import CustomSource
from dsunet.support.imports import is_import_path
from dsunet.weights.exported import is_exported
from dsunet.weights.formats import EncoderFile
from dsunet.weights.identify import config_of
from dsunet.weights.opened import open_weights

__all__ = ["costs_of"]


def costs_of(
    models: Mapping[str, str], *, device: str = "auto", speed: bool = False
) -> dict[str, ModelCosts]:
    """What the models of several methods take.

    Parameters are all of a network's, trained or not; FLOPs those of predicting one image. Both
    come from the network's settings, without its weights.

    Args:
        models: By method a run, a weights file in any known format, a preset's name, or the import
            path of a network of the user's own.
        device: Where speed is measured.
        speed: Whether to measure images per second, of dsunet's own models: one image at a time,
            each network in a process of its own, in turns.

    Raises:
        CheckpointError: A file is missing, broken, or holds no whole model.
        ConfigError: A model is an exported file, which does not tell.
        CustomModelError: A network of the user's own cannot be made.
        DeviceError: The device cannot be used.
    """
    found = {method: _network_of(method, model) for method, model in models.items()}
    costs = {
        method: ModelCosts(parameter_counts(network)["total"], flops_of(network))
        for method, (network, _) in found.items()
    }
    if not speed:
        return costs
    configs = {method: config for method, (_, config) in found.items() if config is not None}
    del found
    costs |= {
        method: replace(costs[method], images_per_second=rate, note=note)
        for method, (rate, note) in _speeds(configs, device).items()
    }
    own = [method for method in costs if method not in configs]
    return costs | {
        method: replace(costs[method], note=f"{method} is a network of your own, and not timed.")
        for method in own
    }


def _network_of(method: str, model: str) -> tuple[SegmentationModel, ModelConfig | None]:
    """The network, without memory if it is one of dsunet's, and then its settings."""
    if is_exported(model):
        raise ConfigError(
            f"the model of {method} is {model}, an exported file, which does not tell what it "
            "takes; give the weights that it was made of, or a preset"
        )
    if is_import_path(model) and not Path(model).exists():
        return CustomSource.of(model).network(), None
    if model in MODEL_PRESETS and not Path(model).exists():
        config = MODEL_PRESETS[model]
    else:
        opened = open_weights(model)
        if isinstance(opened.file, EncoderFile):
            raise CheckpointError(
                f"{opened.path} holds {opened.file.describe()}, an encoder; give the weights of a "
                "whole model, or a preset"
            )
        if (custom := opened.custom) is not None:
            return CustomSource.of(custom.name).network(), None
        config = config_of(opened.file)
    with torch.device("meta"):
        return build_model(config), config


def _speeds(configs: Mapping[str, ModelConfig], device: str) -> dict[str, tuple[float | None, str]]:
    """By method images per second, and a sentence on how, or why not."""
    if not configs:
        return {}
    variants = [Variant(name, "predict", config, 1, device) for name, config in configs.items()]
    found: dict[str, tuple[float | None, str]] = {}
    for each in measure(variants):
        name = each.variant.name
        if isinstance(each, Failure):
            found[name] = None, f"{name} could not be timed: {each.reason}."
            continue
        about = circumstances()
        count = about["threads"]
        threads = "1 thread" if count == 1 else f"{count} threads"
        where = about.get("gpu") if each.device != "cpu" else about["processor"]
        found[name] = (
            each.images_per_second,
            f"images/s: one image at a time, {each.precision} on {where or each.device}, "
            f"{threads}; median of {len(each.seconds)}, models in turns.",
        )
    return found
