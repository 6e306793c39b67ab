"""Where DINOv2's features enter Hiera's: channel modulation (WTD) and content-guided attention."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dsunet.network.layers import WaveletConv2d, resize_bilinear

__all__ = ["ChannelModulation", "ContentGuidedAttention", "FeatureInjection"]


class ChannelModulation(nn.Module):
    """Brings a DINOv2 map to the grid and channels of a Hiera level: B×C×h×w → B×C'×H×W.

    Bilinear resize, depthwise wavelet convolution, 1×1 convolution, BatchNorm, ReLU: the module
    called WTD in Fig. 3 of the paper. The text of section III can be read as resizing last; `order`
    selects that reading.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        order: Literal["resize_first", "resize_last"] = "resize_first",
    ) -> None:
        super().__init__()
        self.order = order
        self.depthwise = WaveletConv2d(in_channels)
        self.pointwise = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.bn = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        if self.order == "resize_first":
            x = self.pointwise(self.depthwise(resize_bilinear(x, size)))
        else:
            x = resize_bilinear(self.pointwise(self.depthwise(x)), size)
        return F.relu(self.bn(x))


class ContentGuidedAttention(nn.Module):
    """Mixes two maps of one shape by a weight per channel and position: 2 × B×C×H×W → B×C×H×W.

    With s = x + y: channel attention (global average, 1×1 to C/8, ReLU, 1×1) plus spatial attention
    (mean and maximum over channels, 7×7) give a first guess; pixel attention interleaves it with s
    channel by channel and refines it by a 7×7 convolution per channel to weights w. The result is
    conv1×1(s + w·x + (1 − w)·y).

    Source: CGA of DEA-Net (Chen et al., TIP 2024, arXiv 2301.04805); paper section III, "Feature
    Fusion".

    Args:
        channels: C.
        reduction: Factor between C and the width inside channel attention.
        pixel_attention: The published code applies the sigmoid twice, which keeps w between 0.5 and
            0.731; `single_sigmoid` applies it once.
    """

    def __init__(
        self,
        channels: int,
        reduction: int = 8,
        pixel_attention: Literal["published", "single_sigmoid"] = "published",
    ) -> None:
        super().__init__()
        self.pixel_attention = pixel_attention
        hidden = max(1, channels // reduction)
        self.channel = nn.Sequential(
            nn.Conv2d(channels, hidden, 1), nn.ReLU(inplace=True), nn.Conv2d(hidden, channels, 1)
        )
        self.spatial = nn.Conv2d(2, 1, 7, padding=3, padding_mode="reflect")
        self.pixel = nn.Conv2d(
            2 * channels, channels, 7, padding=3, padding_mode="reflect", groups=channels
        )
        self.project = nn.Conv2d(channels, channels, 1)

    def weights(self, total: Tensor) -> Tensor:
        """The weight of x for the sum x + y: B×C×H×W → B×C×H×W in (0, 1)."""
        per_channel = self.channel(total.mean((2, 3), keepdim=True))
        statistics = torch.cat([total.mean(1, keepdim=True), total.amax(1, keepdim=True)], 1)
        guess = per_channel + self.spatial(statistics)
        pairs = torch.stack([total, guess], dim=2).flatten(1, 2)  # B C 2 H W -> B 2C H W
        weights = torch.sigmoid(self.pixel(pairs))
        return torch.sigmoid(weights) if self.pixel_attention == "published" else weights

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        total = x + y
        w = self.weights(total)
        out: Tensor = self.project(total + w * x + (1 - w) * y)
        return out


class FeatureInjection(nn.Module):
    """Feeds DINOv2 maps into some of Hiera's levels.

    The paper's model feeds the last layer into the last level; ablation B feeds four depths into
    the levels of the same rank, C the last layer into all four. The last of `maps` enters the last
    level, and so on upwards; a single map enters every level that takes one.

    Args:
        pyramid_channels: Channels of Hiera's levels, fine to coarse.
        semantic_channels: Channels of the DINOv2 maps.
        levels: Indices of the levels that take a map.
        block: Makes what takes a level and a map, instead of channel modulation and attention;
            called with the channels of both.
    """

    def __init__(
        self,
        pyramid_channels: Sequence[int],
        semantic_channels: int,
        levels: Sequence[int],
        *,
        order: Literal["resize_first", "resize_last"] = "resize_first",
        pixel_attention: Literal["published", "single_sigmoid"] = "published",
        block: Callable[..., nn.Module] | None = None,
    ) -> None:
        super().__init__()
        self.levels = tuple(levels)
        widths = [pyramid_channels[i] for i in self.levels]
        self.blocks = nn.ModuleList(block(c, semantic_channels) for c in widths if block)
        usual = [] if block else widths
        self.modulate = nn.ModuleList(ChannelModulation(semantic_channels, c, order) for c in usual)
        self.attend = nn.ModuleList(
            ContentGuidedAttention(c, pixel_attention=pixel_attention) for c in usual
        )

    def grids(
        self, count: int, native: tuple[int, int], sizes: Sequence[tuple[int, int]]
    ) -> list[tuple[int, int]]:
        """Height and width of the smallest form of every map that `forward` can go on from.

        A map that enters one level is resized to that level's grid before anything else is done
        with it, so where that grid is the smaller one, it says all that the level takes.

        Args:
            count: How many maps there are.
            native: Their height and width.
            sizes: Heights and widths of Hiera's levels, fine to coarse.
        """
        whole = len(self.blocks) > 0 or self.modulate[0].order == "resize_last"
        if whole or (count == 1 and len(self.levels) > 1):
            return [native] * count
        targets = [sizes[level] for level in self.levels]
        return [min(native, target, key=lambda size: size[0] * size[1]) for target in targets]

    def forward(self, pyramid: Sequence[Tensor], maps: Sequence[Tensor]) -> list[Tensor]:
        fused = list(pyramid)
        sources = list(maps) * len(self.levels) if len(maps) == 1 else list(maps)
        if self.blocks:
            for level, source, block in zip(self.levels, sources, self.blocks, strict=True):
                fused[level] = block(pyramid[level], source)
            return fused
        for level, source, modulate, attend in zip(
            self.levels, sources, self.modulate, self.attend, strict=True
        ):
            semantics = modulate(source, pyramid[level].shape[-2:])
            fused[level] = attend(pyramid[level], semantics)
        return fused
