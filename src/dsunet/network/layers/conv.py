"""Convolution with batch normalisation."""

from __future__ import annotations

from typing import Any

from torch import nn

__all__ = ["ConvBN", "ConvBNReLU"]


class ConvBN(nn.Sequential):
    """Convolution without bias, then BatchNorm: B×C×H×W → B×C'×H'×W'.

    Keyword arguments are those of `torch.nn.Conv2d`.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int | tuple[int, int], **kwargs: Any
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, bias=False, **kwargs)
        self.bn = nn.BatchNorm2d(out_channels)


class ConvBNReLU(ConvBN):
    """Convolution without bias, BatchNorm, ReLU."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int | tuple[int, int], **kwargs: Any
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, **kwargs)
        self.relu = nn.ReLU(inplace=True)
