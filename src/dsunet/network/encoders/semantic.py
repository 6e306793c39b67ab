"""DINOv2's plain vision transformer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import timm
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from dsunet.errors import ConfigError
from dsunet.network.encoders.base import Encoder

__all__ = ["OWN_VIT", "SemanticEncoder", "build_vit"]

# Sizes of our own, without pretrained weights: arguments of timm's VisionTransformer.
OWN_VIT: dict[str, dict[str, Any]] = {
    "vit_nano_patch14": {
        "patch_size": 14,
        "embed_dim": 128,
        "depth": 4,
        "num_heads": 4,
        "init_values": 0.1,
    },
}


class SemanticEncoder(Encoder):
    """Patch tokens of one image as maps: B×3×H×W → one B×C×H/p×W/p per depth, for patch size p.

    Args:
        trunk: A ViT of timm.
        depths: After how many blocks to take the tokens, ascending; the last block by default.
        norm: Pass the tokens of every depth through the final LayerNorm, as the published code
            does for the last one and DINOv2's `get_intermediate_layers(norm=True)` for all.
        trainable: Train the trunk; otherwise it is frozen and builds no graph.

    Attributes:
        absent_parameters: Number of the trunk's parameters if it was taken out.
    """

    absent_parameters = 0

    def __init__(
        self,
        trunk: VisionTransformer,
        *,
        depths: Sequence[int] | None = None,
        norm: bool = True,
        trainable: bool = False,
    ) -> None:
        super().__init__(trunk, trainable)
        self.depths = tuple(depths or (len(trunk.blocks),))
        self.norm = norm
        self.multiple = trunk.patch_embed.patch_size[0]
        self.channels = (trunk.embed_dim,) * len(self.depths)
        self.strides = (self.multiple,) * len(self.depths)
        if trainable:  # parameters that no output depends on would stall distributed training
            trunk.blocks = trunk.blocks[: self.depths[-1]]
            for parameter in trunk.norm.parameters():
                parameter.requires_grad_(norm)

    def take_out(self) -> nn.Module:
        """Takes the trunk out, because the maps come from elsewhere; returns it.

        Weights that are mapped from a file take no memory as long as nobody uses them. A model
        without its trunk can be saved if `source` says where the trunk is from.
        """
        trunk = self.trunk
        self.absent_parameters = sum(parameter.numel() for parameter in trunk.parameters())
        self.trunk = nn.Identity()
        return trunk

    def put_back(self, trunk: nn.Module) -> None:
        """The opposite of `take_out`."""
        self.trunk, self.absent_parameters = trunk, 0

    def keep_blocks(self, count: int) -> None:
        """Drops all blocks but the first `count`, the last of which gives the map.

        Raises:
            ConfigError: The encoder gives maps of several depths, or has fewer blocks.
        """
        if len(self.depths) > 1:
            raise ConfigError("the network takes maps of several blocks, none of which can go")
        if not 1 <= count <= self.block_count:
            raise ConfigError(f"1 to {self.block_count} blocks can be kept, not {count}")
        trunk = cast(VisionTransformer, self.trunk)
        trunk.blocks = trunk.blocks[:count]
        self.depths = (count,)

    @property
    def block_count(self) -> int:
        """How many blocks the trunk has."""
        return len(cast(VisionTransformer, self.trunk).blocks)

    def forward(self, image: Tensor) -> list[Tensor]:
        return self.after_blocks(image, self.depths, norm=self.norm)

    def after_blocks(self, image: Tensor, depths: Sequence[int], *, norm: bool) -> list[Tensor]:
        """Patch tokens after other blocks than `forward` takes, with or without the final norm."""
        if self.absent_parameters:
            raise RuntimeError("DINOv2 was taken out of this model; load it again")
        trunk = cast(VisionTransformer, self.trunk)
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.trainable):
            maps = trunk.forward_intermediates(
                image,
                indices=[depth - 1 for depth in depths],
                norm=norm,
                stop_early=True,  # blocks after the last of these depths would be for nothing
                intermediates_only=True,
            )
        return cast(list[Tensor], maps)


def build_vit(
    name: str, size: tuple[int, int], depth: int | None = None, **kwargs: Any
) -> VisionTransformer:
    """A ViT trunk without classification head for images of `size` (height, width) in pixels.

    Other sizes than `size` work too; timm then resamples the position embedding at each call.

    Args:
        name: Of timm, or of our own size.
        size: Height and width.
        depth: Keep only so many blocks, the first ones; all by default.
        **kwargs: Go to timm.

    Raises:
        ConfigError: timm does not know `name`, it is no plain ViT, or it has fewer blocks.
    """
    trunk = _build_whole(name, size, **kwargs)
    if depth is not None:
        if depth > len(trunk.blocks):
            raise ConfigError(
                f"semantic_depth is {depth}, but {name} has {len(trunk.blocks)} blocks"
            )
        trunk.blocks = trunk.blocks[:depth]
    return trunk


def _build_whole(name: str, size: tuple[int, int], **kwargs: Any) -> VisionTransformer:
    kwargs = {"img_size": size, "num_classes": 0, "dynamic_img_size": True, **kwargs}
    if name in OWN_VIT:
        return VisionTransformer(global_pool="", **OWN_VIT[name], **kwargs)
    known = sorted(timm.list_models("vit_*dinov2*") + list(OWN_VIT))
    wrong = f"semantic is {name!r}, but needs a plain ViT of timm, such as {', '.join(known)}"
    if not timm.is_model(name) or not name.startswith("vit_"):
        raise ConfigError(wrong)
    try:
        trunk = timm.create_model(name, **kwargs)
    except TypeError as error:  # ViTs of another kind, which cannot change their size
        raise ConfigError(wrong) from error
    if not isinstance(trunk, VisionTransformer):
        raise ConfigError(wrong)
    return trunk
