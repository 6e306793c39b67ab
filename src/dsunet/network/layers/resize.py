"""Bilinear resizing as the published code does it."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

__all__ = ["resize_bilinear"]


def resize_bilinear(x: Tensor, size: tuple[int, int]) -> Tensor:
    """B×C×h×w → B×C×H×W for `size` (H, W); align_corners false, no antialias."""
    if x.shape[-2:] == size:
        return x
    return F.interpolate(x, size, mode="bilinear", align_corners=False)
