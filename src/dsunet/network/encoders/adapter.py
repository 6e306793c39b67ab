"""The trainable adapter in front of a frozen block."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["AdaptedBlock", "Adapter", "without_adapters"]


class Adapter(nn.Module):
    """GELU(W_up · GELU(W_down · x)) over the last axis: …×C → …×C.

    Source: paper section III, "Adapter", after SAM-Adapter and SAM2-UNet.
    """

    def __init__(self, channels: int, bottleneck: int = 32) -> None:
        super().__init__()
        self.down = nn.Linear(channels, bottleneck)
        self.up = nn.Linear(bottleneck, channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(self.up(F.gelu(self.down(x))))


class AdaptedBlock(nn.Module):
    """A block that sees `x + adapter(x)`: B×H×W×C → whatever the block gives.

    It takes the place of the block in a timm trunk, so `dim_out`, which timm reads, is passed on.
    """

    def __init__(self, block: nn.Module, channels: int, bottleneck: int = 32) -> None:
        super().__init__()
        self.block = block
        self.adapter = Adapter(channels, bottleneck)
        self.dim_out = getattr(block, "dim_out", channels)

    def forward(self, x: Tensor) -> Tensor:
        adapted: Tensor = self.block(x + self.adapter(x))
        return adapted


@contextlib.contextmanager
def without_adapters(module: nn.Module) -> Iterator[None]:
    """Switches off every adapter inside a module while the context lasts.

    Each block then sees plain x, as if the adapters had never been put in. Parameters and structure
    stay as they are, and afterwards, after an exception too, nothing is left of it.
    """
    adapters = [part for part in module.modules() if isinstance(part, Adapter)]
    hooks = [adapter.register_forward_hook(_give_zeros) for adapter in adapters]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _give_zeros(adapter: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    return torch.zeros_like(output)
