"""Several classes: from a network's C channels to probabilities, and the loss over all of them.

The network has a channel z₁ … z_C for each class and none for background. Where classes exclude
each other, background's logit is fixed at z₀ = 0 and the probabilities are the softmax over all
C + 1: pᵢ = exp(zᵢ) / (1 + Σₖ exp(zₖ)), and background has 1 / (1 + Σₖ exp(zₖ)). Nothing is lost by
that, as a softmax stays the same when one number is taken from all of its logits, here z₀. With
C = 1 it is exp(z) / (1 + exp(z)), the sigmoid of the one map. Where classes may lie over each
other, each has a sigmoid of its own.

`against_rest` brings both to one form, aᵢ with pᵢ = sigmoid(aᵢ): from pᵢ / (1 − pᵢ) = exp(zᵢ) /
(1 + Σ_{k≠i} exp(zₖ)) follows aᵢ = zᵢ − log(1 + Σ_{k≠i} exp(zₖ)), which for C = 1 is zᵢ itself. So
the paper's loss, which takes a sigmoid, is that of the very probabilities that prediction gives.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from dsunet.network.decoder import SegmentationLogits
from dsunet.network.losses import Bce, WithoutObject, deep_supervision_loss, similarity_loss

__all__ = ["against_rest", "class_entropy", "class_loss", "class_probabilities"]


def against_rest(logits: Tensor, exclusive: bool) -> Tensor:
    """Logits of each class against all else, whose sigmoid is its probability: B×C×H×W.

    Args:
        logits: The network's, B×C×H×W.
        exclusive: Whether a pixel has one class at most.
    """
    if not exclusive or logits.shape[1] == 1:
        return logits
    # a row for each class without its own logit: among the others is background's, 0
    others = torch.cat([torch.zeros_like(logits[:, :1]), logits], 1)
    count = logits.shape[1]
    rest = [[0, *(k for k in range(1, count + 1) if k != i)] for i in range(1, count + 1)]
    return logits - torch.stack([others[:, row].logsumexp(1) for row in rest], 1)


def class_probabilities(logits: Tensor, exclusive: bool) -> Tensor:
    """The probability of each class at every pixel: B×C×H×W in 0..1.

    Args:
        logits: The network's, B×C×H×W.
        exclusive: Whether a pixel has one class at most; probabilities are at most 1 in sum then,
            and the rest is background's.
    """
    if not exclusive or logits.shape[1] == 1:
        return torch.sigmoid(logits)
    with_background = torch.cat([torch.zeros_like(logits[:, :1]), logits], 1)
    return with_background.softmax(1)[:, 1:]


def class_entropy(logits: Tensor, target: Tensor, counted: Tensor | None = None) -> Tensor:
    """Cross-entropy over background and classes, a mean over the pixels that count: a scalar.

    Args:
        logits: The network's, B×C×H×W.
        target: B×C×H×W in 0..1; what of a pixel is no class's is background's. Soft values are
            fine.
        counted: B×1×H×W, 1 where a pixel counts and 0 where it is ignored; `None`: all count.
    """
    if counted is not None:  # what is computed at ignored pixels is finite and gets no gradient
        logits = logits.masked_fill(counted == 0, 0.0)
    logarithms = F.log_softmax(torch.cat([torch.zeros_like(logits[:, :1]), logits], 1), 1)
    background = (1 - target.sum(1, keepdim=True)).clamp_min(0)
    per_pixel = -(torch.cat([background, target], 1) * logarithms).sum(1, keepdim=True)
    if counted is None:
        return per_pixel.mean()
    return (per_pixel * counted).sum() / counted.sum().clamp_min(1)


def class_loss(
    outputs: SegmentationLogits,
    target: Tensor,
    bce: Bce = "mean",
    weights: tuple[float, float, float] = (0.25, 0.5, 1.0),
    counted: Tensor | None = None,
    without_object: WithoutObject = "iou",
    positive_weight: float = 1.0,
    *,
    exclusive: bool = True,
    ssim: float = 0.0,
) -> Tensor:
    """The paper's loss of each class, their mean; and cross-entropy where classes are exclusive.

    Each output's part is the mean over classes of `structure_loss` of the class's own probability,
    plus `class_entropy` where classes exclude each other and there are several. With one class it
    is `deep_supervision_loss`, bit for bit.

    Args:
        outputs: The network's, B×C×H×W each.
        target: B×C×H×W in 0..1.
        bce: As of `structure_loss`, and so are those that follow.
        weights: Those of the coarse, middle and fine output.
        counted: B×1×H×W, 1 where a pixel counts and 0 where it is ignored; `None`: all count.
        without_object: What stands in the IoU term's place for a class that a picture lacks.
        positive_weight: Factor of the class's part of its cross-entropy.
        exclusive: Whether a pixel has one class at most.
        ssim: Weight of `similarity_loss` of the fine output, a mean over classes.

    Raises:
        ConfigError: As of `deep_supervision_loss`.
    """
    every = None if counted is None else counted.expand_as(target)
    apart = SegmentationLogits(
        *(None if each is None else against_rest(each, exclusive) for each in outputs)  # type: ignore[arg-type]
    )
    total = deep_supervision_loss(
        apart, target, bce, weights, every, without_object, positive_weight
    )
    if exclusive and target.shape[1] > 1:
        for logits, weight in zip(outputs, weights, strict=True):
            if weight and logits is not None:
                total = total + weight * class_entropy(logits, target, counted)
    if ssim:
        total = total + ssim * similarity_loss(apart.fine, target, every)
    return total
