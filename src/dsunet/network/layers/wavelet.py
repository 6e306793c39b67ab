"""Depthwise convolution in the wavelet domain."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["HAAR_TAPS", "WaveletConv2d"]

# Two-dimensional Haar filters (low-low, vertical, horizontal and diagonal detail), orthonormal, so
# that the same taps analyse and synthesise.
HAAR_TAPS = (
    ((0.5, 0.5), (0.5, 0.5)),
    ((0.5, 0.5), (-0.5, -0.5)),
    ((0.5, -0.5), (0.5, -0.5)),
    ((0.5, -0.5), (-0.5, 0.5)),
)


class ChannelScale(nn.Module):
    """One learned factor per channel: B×C×H×W → B×C×H×W."""

    def __init__(self, channels: int, init: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((1, channels, 1, 1), init))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight


class WaveletConv2d(nn.Module):
    """Depthwise convolution plus depthwise convolutions of Haar sub-bands: B×C×H×W → B×C×H×W.

    The base path is a k×k depthwise convolution with bias times a learned scale (initially 1). The
    wavelet path splits the map into four sub-bands per channel, filters each with a k×k depthwise
    convolution times a learned scale (initially 0.1) and puts them together again; further levels
    work on the low-low band, so that each doubles the receptive field. Odd sizes are padded by one
    zero at the end and cropped afterwards.

    Source: "Wavelet Convolutions for Large Receptive Fields" (Finder et al., ECCV 2024,
    arXiv 2407.05848); paper section III, "Channel Modulation".

    Args:
        channels: C.
        kernel_size: k, odd.
        levels: How often the low-low band is split.
    """

    taps: Tensor

    def __init__(self, channels: int, kernel_size: int = 3, levels: int = 1) -> None:
        super().__init__()
        self.channels = channels
        taps = torch.tensor(HAAR_TAPS).unsqueeze(1)  # 4 1 2 2
        self.register_buffer("taps", taps, persistent=False)
        padding = kernel_size // 2
        self.base_conv = nn.Conv2d(
            channels, channels, kernel_size, padding=padding, groups=channels
        )
        self.base_scale = ChannelScale(channels, 1.0)
        bands = 4 * channels
        self.band_convs = nn.ModuleList(
            nn.Conv2d(bands, bands, kernel_size, padding=padding, groups=bands, bias=False)
            for _ in range(levels)
        )
        self.band_scales = nn.ModuleList(ChannelScale(bands, 0.1) for _ in range(levels))

    def analyse(self, x: Tensor) -> Tensor:
        """B×C×H×W with even H and W → B×4C×H/2×W/2, the four bands of a channel side by side."""
        b, c, h, w = x.shape
        bands = F.conv2d(x.reshape(b * c, 1, h, w), self.taps, stride=2)
        return bands.reshape(b, 4 * c, h // 2, w // 2)

    def synthesise(self, bands: Tensor) -> Tensor:
        """The inverse of `analyse`: B×4C×h×w → B×C×2h×2w."""
        b, c4, h, w = bands.shape
        x = F.conv_transpose2d(bands.reshape(b * c4 // 4, 4, h, w), self.taps, stride=2)
        return x.reshape(b, c4 // 4, 2 * h, 2 * w)

    def _wavelet_path(self, x: Tensor, level: int) -> Tensor:
        height, width = x.shape[-2:]
        bands = self.analyse(F.pad(x, (0, width % 2, 0, height % 2)))
        filtered = self.band_scales[level](self.band_convs[level](bands))
        if level + 1 < len(self.band_convs):
            low = self._wavelet_path(bands[:, ::4], level + 1)
            # the four bands of a channel are neighbours: the low-low one is every fourth
            split = filtered.reshape(x.shape[0], self.channels, 4, *filtered.shape[-2:])
            filtered = torch.cat([split[:, :, :1] + low.unsqueeze(2), split[:, :, 1:]], 2)
            filtered = filtered.flatten(1, 2)
        return self.synthesise(filtered)[..., :height, :width]

    def forward(self, x: Tensor) -> Tensor:
        base: Tensor = self.base_scale(self.base_conv(x))
        return base + self._wavelet_path(x, 0)
