"""From settings to the parts of a network, put together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import cast

from timm.models.hieradet_sam2 import HieraDet
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from dsunet.config import ModelConfig, Role, as_size
from dsunet.errors import InputSizeError
from dsunet.network.blocks import WholeDecoder, check_blocks, maker
from dsunet.network.decoder import Decoder, SpatialFeatureFusion, UpsamplingFusion
from dsunet.network.encoders import (
    BackboneEncoder,
    HieraEncoder,
    SemanticEncoder,
    build_backbone,
    build_hiera,
    build_vit,
)
from dsunet.network.fusion import FeatureInjection
from dsunet.network.layers import ReceptiveFieldBlock
from dsunet.network.model import DSUNet

__all__ = ["build_decoder", "build_model", "build_trunk"]


def build_trunk(config: ModelConfig, role: Role) -> nn.Module:
    """The trunk of one of the encoders that `config` names, with random weights.

    Raises:
        ValueError: timm does not know it, or it does not fit.
    """
    if role == "semantic":
        return build_vit(config.semantic, as_size(config.dino_size), config.semantic_depth)
    return build_hiera(config.pyramid) if config.has_hiera else build_backbone(config.pyramid)


def build_model(
    config: ModelConfig,
    trunks: Mapping[Role, nn.Module] | None = None,
    *,
    kind: type[DSUNet] = DSUNet,
) -> DSUNet:
    """Builds the parts that `config` names and puts them together.

    Args:
        config: What to build.
        trunks: By encoder (`pyramid`, `semantic`), a trunk with its weights, in place of one with
            random weights; as `build_trunk` makes it.
        kind: The class to make.

    Raises:
        ValueError: An encoder is unknown.
        InputSizeError: The view of DINOv2 does not fit its patches.
        CustomModelError: A block of the user's own cannot be made, gives something of another shape
            than is needed, or was not named by the user.
    """
    made = {
        role: trunk
        if trunks is not None and (trunk := trunks.get(role)) is not None
        else build_trunk(config, role)
        for role in config.encoders
    }
    levels = _levels(config, made["pyramid"])
    decoder = build_decoder(config, levels.channels)
    if not config.uses_semantic:
        check_blocks(config, decoder, levels.channels, levels.strides)
        return kind(levels, None, None, decoder, config)

    vit = cast(VisionTransformer, made["semantic"])
    depth, ranks = len(vit.blocks), len(levels.channels)
    four_depths = [depth * (i + 1) // ranks for i in range(ranks)]  # 6, 12, 18, 24 of 24
    semantic = SemanticEncoder(
        vit,
        depths=four_depths if config.injection == "hierarchical" else None,
        norm=config.semantic_norm,
        trainable=config.train_semantic,
    )
    _check_patches(config, semantic)
    fusion = FeatureInjection(
        levels.channels,
        semantic.channels[0],
        levels=[ranks - 1] if config.injection == "final" else range(ranks),
        order=config.channel_modulation,
        pixel_attention=config.pixel_attention,
        block=maker(config, "fusion"),
    )
    height, width = as_size(config.dino_size)
    one_map = (semantic.channels[0], height // semantic.multiple, width // semantic.multiple)
    check_blocks(config, decoder, levels.channels, levels.strides, list(fusion.blocks), one_map)
    return kind(levels, semantic, fusion, decoder, config)


def _levels(config: ModelConfig, trunk: nn.Module) -> HieraEncoder | BackboneEncoder:
    """The encoder with the four levels."""
    if not config.has_hiera:
        return BackboneEncoder(trunk, trainable=config.train_pyramid)
    return HieraEncoder(
        cast(HieraDet, trunk),
        trainable=config.train_pyramid,
        adapter_channels=config.adapter_channels,
    )


def build_decoder(config: ModelConfig, in_channels: Sequence[int]) -> Decoder | WholeDecoder:
    """The decoder that `config` describes, for levels of so many channels, fine to coarse.

    Raises:
        CustomModelError: A block of the user's own cannot be made, or was not named by the user.
    """
    if whole := maker(config, "decoder"):
        return WholeDecoder(whole(list(in_channels)), config.decoder)
    own = maker(config, "decoder_fusion")
    usual = (
        UpsamplingFusion
        if config.decoder == "unet"
        else partial(
            SpatialFeatureFusion,
            attention_channels=config.attention_channels,
            merge=config.decoder_merge,
        )
    )
    return Decoder(
        in_channels,
        own or usual,
        config.decoder_channels,
        pooling=config.attention_pooling and own is None,
        spare=1 if config.decoder == "unet" and own is None else 0,
        classes=max(1, len(config.classes)),
        receptive_field=maker(config, "receptive_field") or ReceptiveFieldBlock,
        head=maker(config, "head"),
    )


def _check_patches(config: ModelConfig, semantic: SemanticEncoder) -> None:
    for side in as_size(config.dino_size):
        nearest = max(1, round(side / semantic.multiple)) * semantic.multiple
        if side != nearest:
            raise InputSizeError(
                f"dino_size is {config.dino_size}, but sides need to be multiples of "
                f"{semantic.multiple}, the patch size of {config.semantic}; nearest: {nearest}"
            )
