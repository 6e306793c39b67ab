"""Any backbone of timm with feature maps at strides 4, 8, 16 and 32."""

from __future__ import annotations

import functools
from typing import Any

import timm
import torch
from torch import Tensor, nn

from dsunet.encoders.base import Encoder

__all__ = ["PyramidEncoder", "build_pyramid"]

STRIDES = (4, 8, 16, 32)


class PyramidEncoder(Encoder):
    """Four feature maps of one image: B×3×H×W → B×C_i×H/s_i×W/s_i for strides s = 4, 8, 16, 32.

    It takes Hiera's place in small models and has no adapters: the trunk itself is trained.

    Args:
        trunk: What `build_pyramid` gives.
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


def build_pyramid(name: str) -> nn.Module:
    """The trunk of a timm backbone that gives its maps at strides 4, 8, 16 and 32.

    Raises:
        ValueError: timm does not know `name`, or it gives no such maps for images of any size.
    """
    trunk: nn.Module = timm.create_model(
        name, features_only=True, out_indices=_indices_of_maps(name)
    )
    return trunk


@functools.cache
def _indices_of_maps(name: str) -> tuple[int, ...]:
    """Which of a backbone's maps are the last ones at the strides that are needed."""
    needs = (
        f"hiera is {name!r}, but needs a Hiera (sam2_hiera_tiny, say, or hiera_nano) or a backbone "
        "of timm with feature maps at strides 4, 8, 16 and 32 for images of any size, such as "
        "tf_efficientnet_lite0, mobilenetv3_large_100 or resnet18"
    )
    if not timm.is_model(name):
        raise ValueError(f"{needs}; timm has none of that name")
    try:
        with torch.device("meta"), torch.no_grad():
            probe: Any = timm.create_model(name, features_only=True).eval()
            levels = probe(torch.empty(1, 3, 96, 160))
        strides = probe.feature_info.reduction()
        shapes = zip(probe.feature_info.channels(), strides, levels, strict=True)
        fits = all(x.shape == (1, c, 96 // s, 160 // s) for c, s, x in shapes if s in STRIDES)
    except Exception as error:  # its models raise many kinds
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        raise ValueError(f"{needs} ({reason[:200]})") from error
    if not fits or not set(STRIDES) <= set(strides):
        shown = ", ".join(str(stride) for stride in sorted(set(strides)))
        raise ValueError(f"{needs}; its maps are at {shown}" + ("" if fits else ", laid out oddly"))
    last = {stride: i for i, stride in zip(probe.feature_info.out_indices, strides, strict=True)}
    return tuple(last[stride] for stride in STRIDES)
