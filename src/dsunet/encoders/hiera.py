"""SAM2's hierarchical encoder."""

from __future__ import annotations

from typing import Any, cast

import timm
import torch
from timm.models.hieradet_sam2 import HieraDet
from torch import Tensor

from dsunet.encoders.adapter import AdaptedBlock
from dsunet.encoders.base import Encoder

__all__ = ["OWN_HIERA", "HieraEncoder", "build_hiera"]

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
        ValueError: timm does not know `name`, or it is no Hiera with SAM2's layout.
    """
    if name in OWN_HIERA:
        trunk = HieraDet(num_classes=0, **OWN_HIERA[name], **kwargs)
    elif not timm.is_model(name) or not name.startswith(("sam2_hiera", "hieradet")):
        known = sorted(timm.list_models("sam2_hiera*") + list(OWN_HIERA))
        raise ValueError(f"hiera is {name!r}, but needs one of {', '.join(known)}")
    else:
        trunk = cast(HieraDet, timm.create_model(name, num_classes=0, **kwargs))
    trunk.reset_classifier(0, reset_other=True)  # drops head.norm, which nothing uses
    return trunk
