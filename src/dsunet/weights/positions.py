"""Position embeddings at other image sizes than those that they were learned at."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from timm.layers.pos_embed import resample_abs_pos_embed
from torch import Tensor

__all__ = ["resample_positions"]


def resample_positions(
    positions: Tensor,
    grid: tuple[int, int],
    *,
    prefix: int = 1,
    method: Literal["official", "timm"] = "official",
    registers: bool = False,
    source: tuple[int, int] | None = None,
) -> Tensor:
    """A ViT's position embedding for another grid of patches: 1×(prefix + h·w)×C, float32.

    Both methods are bicubic with align_corners false. `official` does as DINOv2's own code does:
    models without registers take no antialias and 0.1 patches more than the grid has in the scale
    (which shifts the samples a little); models with registers take antialias and no such offset.
    `timm` takes antialias and no offset for all.

    Source: facebookresearch/dinov2, `interpolate_pos_encoding`; timm, `resample_abs_pos_embed`.

    Args:
        positions: 1×(prefix + h'·w')×C.
        grid: Rows h and columns w that are needed.
        prefix: Embeddings before those of the patches (of the class token), which stay as they are.
        method: Whose way to take.
        registers: Whether it is a DINOv2 model with registers.
        source: Rows h' and columns w'; a square by default.
    """
    count = positions.shape[1] - prefix
    rows, columns = source or (math.isqrt(count),) * 2
    if (rows, columns) == grid:
        return positions
    if method == "timm":
        resampled: Tensor = resample_abs_pos_embed(
            positions, new_size=list(grid), old_size=[rows, columns], num_prefix_tokens=prefix
        )
        return resampled
    first, patches = positions[:, :prefix].float(), positions[:, prefix:].float()
    maps = patches.reshape(1, rows, columns, -1).permute(0, 3, 1, 2)  # 1 hw C -> 1 C h w
    if registers:
        maps = F.interpolate(maps, size=grid, mode="bicubic", antialias=True)
    else:
        scale = ((grid[0] + 0.1) / rows, (grid[1] + 0.1) / columns)
        maps = F.interpolate(maps, scale_factor=scale, mode="bicubic")
    return torch.cat([first, maps.permute(0, 2, 3, 1).flatten(1, 2)], dim=1)
