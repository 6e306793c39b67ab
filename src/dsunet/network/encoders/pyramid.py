"""The encoder with four levels: SAM2's Hiera, or a light backbone of timm in its place."""

from __future__ import annotations

import functools
from typing import Any, cast

import timm
import torch
from timm.models.hieradet_sam2 import HieraDet
from torch import Tensor, nn

from dsunet.errors import ConfigError
from dsunet.network.encoders.adapter import AdaptedBlock
from dsunet.network.encoders.base import Encoder

__all__ = ["OWN_HIERA", "BackboneEncoder", "HieraEncoder", "build_backbone", "build_hiera"]

# Sizes of our own, without pretrained weights: arguments of timm's HieraDet.
OWN_HIERA: dict[str, dict[str, Any]] = {
    "hiera_nano": {
        "embed_dim": 32,
        "num_heads": 1,
        "stages": (1, 2, 3, 1),
        "global_att_blocks": (4,),
        "window_spec": (8, 4, 14, 7),
    },
}


class HieraEncoder(Encoder):
    """Four feature maps of one image: B×3×H×W → B×C_i×H/s_i×W/s_i for strides s = 4, 8, 16, 32.

    Args:
        trunk: A Hiera of timm.
        trainable: Train the whole trunk; otherwise it is frozen and only adapters are trained.
        adapter_channels: Bottleneck of the adapter put before every block; 0 for none.

    Attributes:
        checkpointing: Keep only what enters each block, adapter included, for the backward pass of
            training, which then computes the block again: less memory, the very same gradients.
    """

    checkpointing = False
    every_part_runs = True

    def __init__(
        self, trunk: HieraDet, *, trainable: bool = False, adapter_channels: int = 32
    ) -> None:
        super().__init__(trunk, trainable)
        self.channels = tuple(info["num_chs"] for info in trunk.feature_info)
        self.strides = tuple(info["reduction"] for info in trunk.feature_info)
        self.multiple = self.strides[0] * trunk.window_spec[0]
        self.has_adapters = adapter_channels > 0
        if adapter_channels:
            for i, block in enumerate(trunk.blocks):
                trunk.blocks[i] = AdaptedBlock(block, cast(int, block.dim), adapter_channels)

    def checkpoint_activations(self) -> None:
        self.checkpointing = True

    @property
    def needs_grad(self) -> bool:
        """Whether anything inside is trained, adapters included."""
        return any(p.requires_grad for p in self.trunk.parameters())

    def forward(self, image: Tensor) -> list[Tensor]:
        trunk = cast(HieraDet, self.trunk)
        trunk.set_grad_checkpointing(self.checkpointing and self.training)
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.needs_grad):
            levels = trunk.forward_intermediates(image, intermediates_only=True)
        return cast(list[Tensor], levels)


def build_hiera(name: str, **kwargs: Any) -> HieraDet:
    """A Hiera trunk without classification head; keyword arguments go to timm.

    Raises:
        ConfigError: timm does not know `name`, or it is no Hiera with SAM2's layout.
    """
    if name in OWN_HIERA:
        trunk = HieraDet(num_classes=0, **OWN_HIERA[name], **kwargs)
    elif not timm.is_model(name) or not name.startswith(("sam2_hiera", "hieradet")):
        known = sorted(timm.list_models("sam2_hiera*") + list(OWN_HIERA))
        raise ConfigError(f"pyramid is {name!r}, but needs one of {', '.join(known)}")
    else:
        trunk = cast(HieraDet, timm.create_model(name, num_classes=0, **kwargs))
    trunk.reset_classifier(0, reset_other=True)  # drops head.norm, which nothing uses
    return trunk


# What the decoder needs of a backbone: its pixels per position, fine to coarse.
STRIDES = (4, 8, 16, 32)


class BackboneEncoder(Encoder):
    """Four feature maps of one image: B×3×H×W → B×C_i×H/s_i×W/s_i for strides s = 4, 8, 16, 32.

    It takes Hiera's place in small models and has no adapters: the trunk itself is trained.

    Args:
        trunk: What `build_backbone` gives.
        trainable: Train the trunk; otherwise it is frozen, with its BatchNorm statistics.
    """

    def __init__(self, trunk: nn.Module, *, trainable: bool = True) -> None:
        super().__init__(trunk, trainable)
        info: Any = trunk.feature_info
        self.channels = tuple(info.channels())
        self.strides = tuple(info.reduction())
        self.multiple = self.strides[-1]

    def forward(self, image: Tensor) -> list[Tensor]:
        levels: list[Tensor] = self.trunk(image)
        return levels


def build_backbone(name: str) -> nn.Module:
    """The trunk of a timm backbone that gives its maps at strides 4, 8, 16 and 32.

    Raises:
        ConfigError: timm does not know `name`, or it gives no such maps for images of any size.
    """
    trunk: nn.Module = timm.create_model(
        name, features_only=True, out_indices=_indices_of_maps(name)
    )
    return trunk


@functools.cache
def _indices_of_maps(name: str) -> tuple[int, ...]:
    """Which of a backbone's maps are the last ones at the strides that are needed."""
    needs = (
        f"pyramid is {name!r}, but needs a Hiera (sam2_hiera_tiny, say, or hiera_nano) or a "
        "backbone of timm with feature maps at strides 4, 8, 16 and 32 for images of any size, "
        "such as tf_efficientnet_lite0, mobilenetv3_large_100 or resnet18"
    )
    if not timm.is_model(name):
        raise ConfigError(f"{needs}; timm has none of that name")
    try:
        with torch.device("meta"), torch.no_grad():
            probe: Any = timm.create_model(name, features_only=True).eval()
            levels = probe(torch.empty(1, 3, 96, 160))
        strides = probe.feature_info.reduction()
        shapes = zip(probe.feature_info.channels(), strides, levels, strict=True)
        fits = all(x.shape == (1, c, 96 // s, 160 // s) for c, s, x in shapes if s in STRIDES)
    except Exception as error:  # its models raise many kinds
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        raise ConfigError(f"{needs} ({reason[:200]})") from error
    if not fits or not set(STRIDES) <= set(strides):
        shown = ", ".join(str(stride) for stride in sorted(set(strides)))
        raise ConfigError(
            f"{needs}; its maps are at {shown}" + ("" if fits else ", laid out oddly")
        )
    last = {stride: i for i, stride in zip(probe.feature_info.out_indices, strides, strict=True)}
    return tuple(last[stride] for stride in STRIDES)
