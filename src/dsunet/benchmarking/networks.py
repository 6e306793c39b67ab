"""Networks to measure: random weights, made quickly and without more memory than they take."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from dsunet.config import ModelConfig, Role, Variant, as_size
from dsunet.network.decoder import CrossScaleAttention
from dsunet.network.encoders import build_hiera, build_vit
from dsunet.network.model import DSUNet
from dsunet.weights.formats import EncoderFile
from dsunet.weights.models import build_filled

__all__ = ["full_attention", "network_of", "use_full_attention"]


def network_of(variant: Variant) -> DSUNet:
    """The network of a variant on the CPU, with random weights.

    With the feature cache DINOv2 never has any memory. Otherwise encoders are built without theirs,
    and then given noise; drawing 500 million values one by one would take longer than a step.

    Raises:
        ConfigError: The model is unknown, or cannot do what is asked for.
    """
    config = variant.model
    empty: Sequence[Role] = ("semantic",) if variant.feature_cache else ()
    files = {
        role: _noise_file(role, config, role in empty)
        for role in config.encoders
        if role == "semantic" or config.has_hiera  # others are small, and have variances
    }
    model = build_filled(config, files, carried=list(files))
    if variant.feature_cache:
        assert model.semantic is not None
        model.semantic.take_out()
    if variant.naive:
        use_full_attention(model)
    if variant.channels_last is False:
        model.channels_last = False
    if variant.checkpointing:
        model.checkpoint_activations()
    return model


def _noise_file(role: Role, config: ModelConfig, empty: bool) -> EncoderFile:
    """As if a file had been read that holds noise; `empty`: shapes alone, without memory."""
    with torch.device("meta"):
        trunk: nn.Module = (
            build_hiera(config.pyramid)
            if role == "pyramid"
            else build_vit(config.semantic, as_size(config.dino_size), config.semantic_depth)
        )
    fill = _Noise()
    tensors = {
        name: torch.zeros(()).expand(tensor.shape) if empty else fill(name, tensor.shape)
        for name, tensor in trunk.state_dict().items()
    }
    grid = trunk.patch_embed.grid_size if isinstance(trunk, VisionTransformer) else None
    return EncoderFile(Path("noise"), "noise", role, tensors, grid=grid)


class _Noise:
    """Values of a usual size: a million normal ones, over and over again."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.block = torch.randn(1 << 20, generator=generator) * 0.02

    def __call__(self, name: str, shape: Sequence[int]) -> Tensor:
        values = torch.empty(math.prod(shape))
        for start in range(0, len(values), len(self.block)):
            part = values[start : start + len(self.block)]
            part.copy_(self.block[: len(part)])
        if len(shape) == 1 and name.endswith("weight"):  # of norms
            values += 1
        return values.view(*shape)


def use_full_attention(model: DSUNet) -> None:
    """Makes DINOv2 and the decoder compute and keep whole attention matrices.

    As the authors' code does; Hiera goes through `scaled_dot_product_attention` there as well.
    """
    module: Any
    for module in model.decoder.modules():
        if isinstance(module, CrossScaleAttention):
            module.forward = partial(full_attention, module)  # type: ignore[method-assign]
    for module in model.semantic.modules() if model.semantic is not None else ():
        if hasattr(module, "fused_attn"):
            module.fused_attn = False


def full_attention(module: CrossScaleAttention, guide: Tensor, content: Tensor) -> Tensor:
    """`CrossScaleAttention.forward` with the matrix of HW×HW weights, B×C×H×W → B×C×H×W."""
    query, key = module.query(guide).flatten(2), module.key(guide).flatten(2)  # B A HW
    value = module.value(content).flatten(2)
    weights = torch.softmax(query.transpose(1, 2) @ key * query.shape[1] ** -0.5, dim=-1)
    mixed = (weights @ value.transpose(1, 2)).transpose(1, 2)  # B HW A -> B A HW
    out: Tensor = module.out(mixed.reshape(len(mixed), -1, *content.shape[-2:]))
    return out
