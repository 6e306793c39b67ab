"""Networks by name."""

from __future__ import annotations

import dataclasses
from typing import Any

from dsunet.config.network import ModelConfig
from dsunet.config.renamed import todays
from dsunet.errors import ConfigError, did_you_mean

__all__ = ["MODEL_PRESETS", "model_config"]

_PAIRS = {
    "large": ("sam2_hiera_large", "vit_large_patch14_dinov2"),
    "base": ("sam2_hiera_base_plus", "vit_base_patch14_dinov2"),
    "small": ("sam2_hiera_small", "vit_small_patch14_dinov2"),
    "tiny": ("sam2_hiera_tiny", "vit_small_patch14_dinov2"),
}


MODEL_PRESETS: dict[str, ModelConfig] = {
    preset.name: preset
    for preset in (
        *(
            ModelConfig(name=f"dsunet-{size}", pyramid=pyramid, semantic=semantic)
            for size, (pyramid, semantic) in _PAIRS.items()
        ),
        ModelConfig(
            name="dsunet-nano",
            pyramid="hiera_nano",
            semantic="vit_nano_patch14",
            sam_size=224,
            dino_size=224,
            train_pyramid=True,
            train_semantic=True,
            adapter_channels=0,
            decoder_channels=32,
            attention_channels=16,
        ),
        # small models for quick prediction: a convolutional encoder, no DINOv2, pooled attention
        *(
            ModelConfig(
                name=name,
                pyramid=backbone,
                sam_size=side,
                injection="none",
                train_pyramid=True,
                adapter_channels=0,
                decoder_channels=channels,
                attention_channels=16,
                attention_pooling=True,
            )
            for name, backbone, side, channels in (
                ("dsunet-lite", "tf_efficientnet_lite0", 352, (16, 32, 48, 48)),
                ("dsunet-lite1", "tf_efficientnet_lite1", 288, (24, 40, 56, 56)),
                ("dsunet-lite2", "tf_efficientnet_lite2", 320, (32, 48, 64, 64)),
            )
        ),
        # SAM2-UNet, the baseline, as published: SAM 2.0, no DINOv2
        *(
            ModelConfig(
                name=f"sam2unet-{size}",
                pyramid=pyramid,
                sam_version="2.0",
                injection="none",
                decoder="unet",
            )
            for size, (pyramid, _) in _PAIRS.items()
        ),
        ModelConfig(
            name="sam2unet-nano",
            pyramid="hiera_nano",
            sam_version="2.0",
            sam_size=224,
            injection="none",
            train_pyramid=True,
            adapter_channels=0,
            decoder="unet",
            decoder_channels=32,
        ),
    )
}


def model_config(name: str = "dsunet-large", **overrides: Any) -> ModelConfig:
    """The preset `name` with some fields replaced; `None` leaves a field as the preset has it.

    Raises:
        ConfigError: The preset or a field is unknown, or a value does not fit.
    """
    if name not in MODEL_PRESETS:
        hint = did_you_mean(name, MODEL_PRESETS)
        raise ConfigError(
            f"model {name!r} is unknown; known: {', '.join(sorted(MODEL_PRESETS))}; one of your "
            f"own is named by its import path, PACKAGE.MODULE:NAME{hint and f'; {hint}'}"
        )
    overrides = todays(overrides)
    fields = {field.name for field in dataclasses.fields(ModelConfig)} - {"name"}
    unknown = sorted(set(overrides) - fields)
    if unknown:
        raise ConfigError(
            f"model setting {unknown[0]!r} is unknown; known: {', '.join(sorted(fields))}"
        )
    given = {key: value for key, value in overrides.items() if value is not None}
    return dataclasses.replace(MODEL_PRESETS[name], **given)
