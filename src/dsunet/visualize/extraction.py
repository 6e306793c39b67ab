"""What the encoders and the fusion make of one image: feature maps to look at."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from dsunet.config import as_size
from dsunet.data.views import centre_crop, make_views
from dsunet.errors import ConfigError, DsunetError
from dsunet.network.encoders import without_adapters
from dsunet.network.model import DSUNet

__all__ = ["FeatureMap", "FeatureMaps", "FusedLevel", "choose_depths", "extract_features"]

# The blocks of Fig. 2, and of how many they are.
PAPER_DEPTHS, PAPER_BLOCKS = (2, 8, 18, 24), 24


@dataclass(frozen=True, eq=False)
class FeatureMap:
    """One feature map of one image."""

    name: str
    """`level 1` to `level 4` of Hiera, `block 2 of 24` of DINOv2."""
    stride: int
    """Pixels of the encoder's view per position."""
    values: np.ndarray
    """C×h×w float32, finite."""


@dataclass(frozen=True, eq=False)
class FusedLevel:
    """What goes into and comes out of the fusion at one of Hiera's levels; all of one shape."""

    before: FeatureMap
    """Hiera's level."""
    semantics: FeatureMap
    """DINOv2's map after channel modulation (WTD)."""
    after: FeatureMap
    """What the decoder is given."""


@dataclass(frozen=True, eq=False)
class FeatureMaps:
    """The feature maps of one image."""

    image: Image.Image
    """RGB: what Hiera sees, at the size at which it sees it."""
    pyramid: tuple[FeatureMap, ...]
    """Hiera's levels, or those of what is in its place, fine to coarse, as the network has them."""
    pyramid_without_adapters: tuple[FeatureMap, ...]
    """The same with the adapters switched off; empty for a model without adapters."""
    semantic: tuple[FeatureMap, ...]
    """DINOv2's patch tokens after some of its blocks, before the final LayerNorm; empty for a model
    without DINOv2."""
    fusion: tuple[FusedLevel, ...]
    """The levels that the fusion changes; empty for a model without DINOv2, or with a fusion of the
    user's own."""
    has_hiera: bool = True
    """False if the levels are those of another backbone in Hiera's place."""

    @property
    def hiera(self) -> tuple[FeatureMap, ...]:
        """`pyramid` by its old name, as the next two are."""
        return self.pyramid

    @property
    def hiera_without_adapters(self) -> tuple[FeatureMap, ...]:
        """`pyramid_without_adapters`."""
        return self.pyramid_without_adapters

    @property
    def dinov2(self) -> tuple[FeatureMap, ...]:
        """`semantic`."""
        return self.semantic


def choose_depths(blocks: int) -> tuple[int, ...]:
    """The blocks of Fig. 2 (2, 8, 18 and 24 of 24) in a ViT with another number of blocks.

    Scaled and rounded, at least 1; a ViT with four blocks or fewer shows all of them.
    """
    if blocks <= len(PAPER_DEPTHS):
        return tuple(range(1, blocks + 1))
    return tuple(max(1, round(depth * blocks / PAPER_BLOCKS)) for depth in PAPER_DEPTHS)


def extract_features(
    model: DSUNet,
    image: Image.Image,
    *,
    depths: Sequence[int] | None = None,
    crop: bool = True,
    sam_size: int | tuple[int, int] | None = None,
    dino_size: int | tuple[int, int] | None = None,
) -> FeatureMaps:
    """Feature maps of one image, as Figs. 1 and 2 of the paper show them.

    The model computes in evaluation mode on the device that it is on, and is left as it was.

    Args:
        model: Any `DSUNet`, with or without DINOv2.
        image: RGB.
        depths: After which of DINOv2's blocks to take the tokens, counted from 1, ascending; by
            default those of the paper, see `choose_depths`.
        crop: Resize the image on its short side and crop it from the middle, as the figures do;
            false resizes the whole image to the network's size, as prediction does.
        sam_size: Side, or height and width, of Hiera's view in pixels; the model's own by default.
        dino_size: The same of DINOv2's view.

    Raises:
        ConfigError: A depth is not one of the model's, or the model has no config to take sizes
            from.
        InputSizeError: A size does not fit the network.
        DsunetError: The features hold values that are no finite numbers.
    """
    sam_shape, dino_shape = _sizes(model, sam_size, dino_size)
    picture = centre_crop(image, sam_shape) if crop else image
    views = make_views(picture, sam_shape, dino_shape)
    device = next(model.parameters()).device
    sam = views.sam[None].to(device)
    dino = views.dino[None].to(device) if views.dino is not None else None
    model.pyramid.check_size(sam, "sam_image", smallest=128 if model.fusion else None)
    with _evaluating(model), torch.inference_mode():
        levels = model.pyramid(sam)
        pyramid = _name_levels(model, levels)
        fusion, blocks = _fuse(model, levels, pyramid, dino), _blocks(model, depths, dino)
        plain = _name_levels(model, _without_adapters(model, sam))
    seen = picture.resize(sam_shape[::-1], Image.Resampling.BILINEAR)
    has_hiera = model.config is None or model.config.has_hiera
    return FeatureMaps(seen, pyramid, plain, blocks, fusion, has_hiera)


def _sizes(
    model: DSUNet,
    sam_size: int | tuple[int, int] | None,
    dino_size: int | tuple[int, int] | None,
) -> tuple[tuple[int, int], tuple[int, int] | None]:
    """Heights and widths of both views; `None` for DINOv2's in a model without it."""
    if model.config is None:
        raise ConfigError("the model has no config to take its image sizes from")
    sam = as_size(sam_size or model.config.sam_size)
    return sam, as_size(dino_size or model.config.dino_size) if model.semantic else None


@contextlib.contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, then for every part the mode that it was in."""
    training = [part for part in model.modules() if part.training]
    model.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True


def _without_adapters(model: DSUNet, sam: Tensor) -> list[Tensor]:
    """Hiera's levels as if it had no adapters; nothing if it has none."""
    if not model.pyramid.has_adapters:
        return []
    with without_adapters(model.pyramid):
        levels: list[Tensor] = model.pyramid(sam)
    return levels


def _blocks(
    model: DSUNet, depths: Sequence[int] | None, dino: Tensor | None
) -> tuple[FeatureMap, ...]:
    if model.semantic is None or dino is None:
        if depths is not None:
            raise ConfigError("depths are given, but the model has no DINOv2: leave them out")
        return ()
    count = model.semantic.block_count
    chosen = choose_depths(count) if depths is None else tuple(depths)
    ascending = all(a < b for a, b in itertools.pairwise(chosen))
    if not chosen or not ascending or chosen[0] < 1 or chosen[-1] > count:
        given = ",".join(map(str, chosen))
        raise ConfigError(f"depths is {given!r}, but needs block numbers from 1 to {count}, rising")
    maps = model.semantic.after_blocks(dino, chosen, norm=False)
    return tuple(
        _named(f"block {depth} of {count}", model.semantic.multiple, map_)
        for depth, map_ in zip(chosen, maps, strict=True)
    )


def _fuse(
    model: DSUNet, levels: list[Tensor], pyramid: Sequence[FeatureMap], dino: Tensor | None
) -> tuple[FusedLevel, ...]:
    if model.fusion is None or model.fusion.blocks:  # blocks of the user's own modulate nothing
        return ()
    semantics: list[Tensor] = []
    hooks = [
        modulate.register_forward_hook(lambda part, inputs, output: semantics.append(output))
        for modulate in model.fusion.modulate
    ]
    try:
        fused = _name_levels(model, model.fusion(levels, model.extract_semantics(dino)))
    finally:
        for hook in hooks:
            hook.remove()
    return tuple(
        FusedLevel(pyramid[i], _named(pyramid[i].name, pyramid[i].stride, map_), fused[i])
        for i, map_ in zip(model.fusion.levels, semantics, strict=True)
    )


def _name_levels(model: DSUNet, levels: Sequence[Tensor]) -> tuple[FeatureMap, ...]:
    return tuple(
        _named(f"level {i + 1}", model.pyramid.strides[i], level) for i, level in enumerate(levels)
    )


def _named(name: str, stride: int, batch: Tensor) -> FeatureMap:
    values = batch[0].float().cpu().numpy()
    if not np.isfinite(values).all():
        raise DsunetError(
            f"the features of {name} hold values that are no finite numbers; look at the weights "
            "with dsunet weights verify"
        )
    return FeatureMap(name, stride, values)
