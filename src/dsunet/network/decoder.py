"""The decoder: channel reduction, spatial feature fusion and three heads."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dsunet.network.layers import ConvBNReLU, ReceptiveFieldBlock, resize_bilinear

__all__ = ["Decoder", "SegmentationLogits", "SpatialFeatureFusion", "UpsamplingFusion"]


class SegmentationLogits(NamedTuple):
    """The network's three outputs D1, D2, D3, each B×1×H×W logits at the input's size.

    Of a network of C classes, each B×C×H×W.

    `coarse` and `middle` are `None` when only the fine output was asked for.
    """

    coarse: Tensor | None
    middle: Tensor | None
    fine: Tensor


class CrossScaleAttention(nn.Module):
    """Attention over all positions: query and key from one map, value from another.

    Args:
        channels: C of both B×C×H×W inputs and of the output.
        attention_channels: Channels of query, key and value.
        pooling: Average key and value over squares of so many positions a side, after their
            convolutions. Queries stay at every position. A deviation from the paper of ours.
    """

    def __init__(self, channels: int, attention_channels: int, pooling: int = 1) -> None:
        super().__init__()
        c, a = channels, attention_channels
        self.pooling = pooling
        self.query = nn.Sequential(ConvBNReLU(c, a, 1), ConvBNReLU(a, a, 1))
        self.key = nn.Sequential(ConvBNReLU(c, a, 1), ConvBNReLU(a, a, 1))
        self.value = ConvBNReLU(c, a, 1)
        self.out = ConvBNReLU(a, c, 1)

    def forward(self, guide: Tensor, content: Tensor) -> Tensor:
        height, width = content.shape[-2:]
        query, key, value = self.query(guide), self.key(guide), self.value(content)
        if self.pooling > 1:
            key, value = (F.avg_pool2d(x, self.pooling) for x in (key, value))
        query, key, value = (
            # B A H W -> B 1 HW A; contiguous, or the CPU falls back to the full attention matrix
            x.flatten(2).transpose(1, 2).contiguous().unsqueeze(1)
            for x in (query, key, value)
        )
        mixed = F.scaled_dot_product_attention(query, key, value)
        # shape[0], not len: the exporter would take the batch's size for a constant
        mixed = mixed.squeeze(1).transpose(1, 2).contiguous()
        mixed = mixed.view(mixed.shape[0], -1, height, width)
        out: Tensor = self.out(mixed)
        return out


class SpatialFeatureFusion(nn.Module):
    """Merges a coarser map into a finer one: B×C'×h×w and B×C×H×W → B×C×H×W.

    Query and key come from the sum of both maps (the coarser one resized bilinearly, each through a
    1×1 convolution), the value from the finer map.

    Source: the SFF decoder that the paper takes from its reference [16]; section III, "Decoder".

    Args:
        channels: C.
        attention_channels: Width of the attention.
        merge: `concat` with the finer map and one 3×3 convolution, as published, or `add` and two,
            as drawn in Fig. 4.
        coarse_channels: C'; C by default.
        pooling: Keys and values are averaged over squares of so many positions a side.
    """

    def __init__(
        self,
        channels: int,
        attention_channels: int = 32,
        merge: Literal["concat", "add"] = "concat",
        *,
        coarse_channels: int | None = None,
        pooling: int = 1,
    ) -> None:
        super().__init__()
        self.merge = merge
        self.coarse = ConvBNReLU(coarse_channels or channels, channels, 1)
        self.fine = ConvBNReLU(channels, channels, 1)
        self.attention = CrossScaleAttention(channels, attention_channels, pooling)
        if merge == "concat":
            self.conv: nn.Module = ConvBNReLU(2 * channels, channels, 3, padding=1)
        else:
            self.conv = nn.Sequential(
                ConvBNReLU(channels, channels, 3, padding=1),
                ConvBNReLU(channels, channels, 3, padding=1),
            )

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        coarse = resize_bilinear(coarse, (fine.shape[-2], fine.shape[-1]))
        context = self.attention(self.coarse(coarse) + self.fine(fine), fine)
        joined = torch.cat([context, fine], 1) if self.merge == "concat" else context + fine
        out: Tensor = self.conv(joined)
        return out


class UpsamplingFusion(nn.Sequential):
    """Merges a coarser map into a finer one: B×C'×h×w and B×C×H×W → B×C×H×W.

    The coarser map is doubled in size bilinearly (corners aligned), padded with zeros to the finer
    one's size and put behind it; two 3×3 convolutions follow.

    Source: SAM2-UNet (Xiong et al., arXiv 2408.08870), whose decoder block is U-Net's.

    Args:
        channels: C.
        coarse_channels: C'; C by default.
    """

    def __init__(self, channels: int, *, coarse_channels: int | None = None) -> None:
        super().__init__(
            ConvBNReLU(channels + (coarse_channels or channels), channels, 3, padding=1),
            ConvBNReLU(channels, channels, 3, padding=1),
        )

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:  # type: ignore[override]
        coarse = F.interpolate(coarse, scale_factor=2, mode="bilinear", align_corners=True)
        rows, columns = fine.shape[-2] - coarse.shape[-2], fine.shape[-1] - coarse.shape[-1]
        before = (columns // 2, rows // 2)
        coarse = F.pad(coarse, (before[0], columns - before[0], before[1], rows - before[1]))
        x = torch.cat([fine, coarse], 1)
        for convolution in self:
            x = convolution(x)
        return x


class Decoder(nn.Module):
    """A pyramid of encoder levels → logits at the input's size.

    Every level passes a receptive field block; the levels are merged from coarse to fine; each
    merged map has a head. Source: paper section III, "Channel Modulation" and "Decoder".

    Args:
        in_channels: Channels of the levels, fine to coarse.
        fusion: Makes the module that merges a coarser map into a finer one; called with the finer
            map's channels and `coarse_channels`.
        channels: Channels after the receptive field blocks, of all levels or of each.
        pooling: Let each fusion but the first average keys and values to the first one's grid; it
            is then called with the factor as `pooling`, too.
        spare: Further fusion modules that are never run. The published SAM2-UNet has one: its
            weights files hold it and its parameter counts include it.
        classes: Output channels of every head.
        receptive_field: Makes what a level passes first; called with its channels and those after.
        head: Makes what turns a merged map into logits, called with its channels; a 1×1 convolution
            by default.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        fusion: Callable[..., nn.Module] = SpatialFeatureFusion,
        channels: int | Sequence[int] = 64,
        *,
        pooling: bool = False,
        spare: int = 0,
        classes: int = 1,
        receptive_field: Callable[..., nn.Module] = ReceptiveFieldBlock,
        head: Callable[..., nn.Module] | None = None,
    ) -> None:
        super().__init__()
        widths = [channels] * len(in_channels) if isinstance(channels, int) else list(channels)
        self.reduce = nn.ModuleList(
            receptive_field(c, width) for c, width in zip(in_channels, widths, strict=True)
        )
        merges = list(itertools.pairwise(reversed(widths)))  # from coarse to fine
        self.fuse = nn.ModuleList(
            fusion(fine, coarse_channels=coarse, **({"pooling": 2**i} if pooling else {}))
            for i, (coarse, fine) in enumerate(merges + merges[-1:] * spare)
        )
        self.heads = nn.ModuleList(
            nn.Conv2d(fine, classes, 1) if head is None else head(fine) for _, fine in merges
        )

    def forward(
        self,
        pyramid: Sequence[Tensor],
        size: tuple[int, int],
        outputs: Literal["all", "fine"] = "all",
    ) -> SegmentationLogits:
        levels = [reduce(level) for reduce, level in zip(self.reduce, pyramid, strict=True)]
        x = levels[-1]
        logits: list[Tensor | None] = []
        finer = reversed(levels[:-1])
        for fuse, head, level in zip(self.fuse[: len(self.heads)], self.heads, finer, strict=True):
            x = fuse(x, level)
            wanted = outputs == "all" or level is levels[0]
            logits.append(resize_bilinear(head(x), size) if wanted else None)
        coarse, middle, fine = logits
        assert fine is not None
        return SegmentationLogits(coarse, middle, fine)
