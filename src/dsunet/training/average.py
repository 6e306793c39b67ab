"""A moving average of the weights during training."""

from __future__ import annotations

import copy

import torch
from torch import nn

from dsunet.errors import TrainingError
from dsunet.network.base import SegmentationModel

__all__ = ["WeightAverage", "decay_at"]


def decay_at(step: int, decay: float) -> float:
    """How much of the average a step leaves.

    With one decay from the start on, a short training would keep much of the weights that it began
    with (0.99¹⁵⁰ = 22 %). So it ramps up: 1 − (1 + `step`)^(−2/3), at most `decay`; the first step
    leaves nothing. That is timm's `ModelEmaV3` with its usual warm-up.

    Args:
        step: How many steps came before.
        decay: What it rises to, in [0, 1).
    """
    ramp: float = 1 - (1 + step) ** (-2 / 3)
    return min(decay, ramp)


class WeightAverage(nn.Module):
    """A second model whose weights follow those of one in training, as an exponential average.

    After each step of the optimiser, every trained parameter and every buffer (BatchNorm's
    statistics) goes a share 1 − `decay_at` of the way to its new value; counters, and buffers with
    infinite values, are copied. That is what timm's `ModelEmaV3` computes with its warm-up; here
    frozen parameters are shared, not copied, so that frozen encoders take no memory twice.

    Args:
        model: The model in training, with its values at the start.
        decay: In [0, 1), reached after some steps; from then on the average reaches back about
            1 / (1 − decay) steps.

    Attributes:
        module: The averaged model.
        steps: How many steps it has taken in.

    Raises:
        TrainingError: The model cannot be copied.
    """

    def __init__(self, model: SegmentationModel, decay: float) -> None:
        super().__init__()
        self.decay = decay
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.steps: torch.Tensor
        frozen = {id(p): p for p in model.parameters() if not p.requires_grad}
        try:
            self.module = copy.deepcopy(model, frozen).eval().requires_grad_(False)
        except Exception as error:  # a user's own network can fail in any way
            raise TrainingError(
                f"a moving average needs a copy of the network, which cannot be made ({error}); "
                "leave `average` out"
            ) from error
        self._copied = {
            name
            for name, tensor in model.named_buffers()
            if not tensor.is_floating_point() or not bool(tensor.isfinite().all())
        }

    @torch.no_grad()
    def update(self, model: SegmentationModel) -> None:
        """Takes in the model's weights after a step."""
        changing = {name for name, p in model.named_parameters() if p.requires_grad}
        changing |= {name for name, _ in model.named_buffers()}
        own, new = self.module.state_dict(), model.state_dict()
        names = [name for name in own if name in changing - self._copied]
        share = 1 - decay_at(int(self.steps), self.decay)
        torch._foreach_lerp_([own[n] for n in names], [new[n] for n in names], share)
        self.steps += 1
        for name in self._copied & set(own):
            own[name].copy_(new[name])
