"""What a student learns from its teacher: the terms of the loss, and heads for feature maps."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dsunet.config import DistillConfig
from dsunet.data.dataset import Lesson
from dsunet.network.decoder import SegmentationLogits
from dsunet.network.losses import hint_loss, soft_target_loss

__all__ = ["Distillation"]


class Distillation(nn.Module):
    """The teacher's part of the loss.

    Args:
        config: Weights, temperature and levels.
        output_weights: Weights of the coarse, middle and fine output.
        channels: For every level to learn from, the channels of the student's and of the teacher's
            map. A 1×1 convolution leads from the one to the other; it is trained along, belongs to
            the resume state, and is in no weights file.
        identity: What tells this teacher from another one.
    """

    def __init__(
        self,
        config: DistillConfig,
        output_weights: tuple[float, float, float],
        channels: Sequence[tuple[int, int]] = (),
        identity: str = "",
    ) -> None:
        super().__init__()
        self.config = config
        self.output_weights = output_weights
        self.identity = identity
        self.heads = nn.ModuleList(nn.Conv2d(own, theirs, 1) for own, theirs in channels)

    def forward(
        self, outputs: SegmentationLogits, levels: Sequence[Tensor], lesson: Lesson
    ) -> tuple[Tensor, Tensor]:
        """The distance to the teacher's maps, and to its feature maps; without their weights.

        Args:
            outputs: The student's logits, B×1×H×W.
            levels: Its four levels, if there are heads.
            lesson: What the teacher says.
        """
        soft = lesson.logits.new_zeros(())
        for logits, weight in zip(outputs, self.output_weights, strict=True):
            if logits is not None and weight:  # models of somebody's own may have one output
                soft = soft + weight * soft_target_loss(
                    logits, lesson.logits, self.config.temperature
                )
        distances = [
            hint_loss(head(levels[level - 1]).float(), hint)
            for head, level, hint in zip(
                self.heads,
                self.config.feature_levels if len(self.heads) else (),
                lesson.hints,
                strict=True,
            )
        ]
        return soft, torch.stack(distances).mean() if distances else soft.new_zeros(())
