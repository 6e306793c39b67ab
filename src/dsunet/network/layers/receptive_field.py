"""Receptive field block."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dsunet.network.layers.conv import ConvBN

__all__ = ["ReceptiveFieldBlock"]


class ReceptiveFieldBlock(nn.Module):
    """Sees every position at four scales and reduces the channels: B×C×H×W → B×C'×H×W.

    Four branches (1×1; then 1×k, k×1 and a 3×3 dilated by k, for k = 3, 5, 7), a 3×3 over their
    concatenation, plus a 1×1 shortcut, then ReLU. Every convolution is followed by BatchNorm with
    no activation in between.

    Source: "Receptive Field Block Net" (Liu et al., ECCV 2018) in the variant of PraNet and
    SAM2-UNet; paper section III, "Channel Modulation".
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        c = out_channels
        self.branches = nn.ModuleList([nn.Sequential(ConvBN(in_channels, c, 1))])
        for k in (3, 5, 7):
            self.branches.append(
                nn.Sequential(
                    ConvBN(in_channels, c, 1),
                    ConvBN(c, c, (1, k), padding=(0, k // 2)),
                    ConvBN(c, c, (k, 1), padding=(k // 2, 0)),
                    ConvBN(c, c, 3, padding=k, dilation=k),
                )
            )
        self.merge = ConvBN(4 * c, c, 3, padding=1)
        self.shortcut = ConvBN(in_channels, c, 1)

    def forward(self, x: Tensor) -> Tensor:
        scales = torch.cat([branch(x) for branch in self.branches], dim=1)
        return F.relu(self.merge(scales) + self.shortcut(x))
