"""The one training step: what a network gives for views, and the loss of the outputs there are."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

from torch import Tensor

from dsunet.config import LossConfig
from dsunet.network.classes import class_loss
from dsunet.network.decoder import SegmentationLogits
from dsunet.running.depthwise import DepthwiseGradients
from dsunet.running.inference import forward_views
from dsunet.running.place import Place

__all__ = ["Given", "in_float32", "loss_of", "training_loss", "wanted_outputs", "way_there"]


class Given(NamedTuple):
    """What a network gives in training."""

    logits: SegmentationLogits
    """Of every output, B×1×H×W or B×C×H×W, float32 whatever was computed in."""
    levels: Sequence[Tensor]
    """What entered the decoder, B×C×h×w each, from a network that gives that, too."""


def way_there(
    network: Callable[..., Any],
    sam: Tensor,
    dino: Tensor | None,
    loss: LossConfig,
    *,
    maps: Sequence[Tensor] | None = None,
    place: Place | None = None,
) -> Given:
    """The first half of a step.

    Args:
        network: A `SegmentationModel`, its `outputs_and_levels`, or either compiled.
        sam: B×3×H×W views.
        dino: B×3×h×w views for DINOv2; `None` for models without it.
        loss: Says which outputs have a part in it.
        maps: DINOv2's maps, instead of `dino`, see `DSUNet.forward`.
        place: Where and in what to compute; `None` where somebody has seen to that.
    """
    autocast = place.autocast() if place is not None else contextlib.nullcontext()
    with autocast, DepthwiseGradients():
        given = forward_views(network, sam, dino, maps, outputs=wanted_outputs(loss))
    outputs, levels = (given, []) if isinstance(given, SegmentationLogits) else given
    return Given(in_float32(outputs), levels)


def wanted_outputs(loss: LossConfig) -> Literal["all", "fine"]:
    """Which outputs of a network have a part in the loss."""
    coarse, middle, _ = loss.output_weights
    return "all" if coarse or middle else "fine"


def in_float32(logits: SegmentationLogits) -> SegmentationLogits:
    """Logits as the loss takes them."""
    return SegmentationLogits(
        None if logits.coarse is None else logits.coarse.float(),
        None if logits.middle is None else logits.middle.float(),
        logits.fine.float(),
    )


def loss_of(
    logits: SegmentationLogits,
    masks: Tensor,
    loss: LossConfig,
    counted: Tensor | None = None,
    exclusive: bool = False,
) -> Tensor:
    """The second half of a step: the loss over the outputs that there are.

    Args:
        logits: B×C×H×W each, C is 1 but for a network of several classes; models of somebody's own
            may have the fine output alone.
        masks: B×C×H×W in 0..1.
        loss: The loss, with the weight of every output.
        counted: B×1×H×W, 0 where a pixel is ignored, else 1; `None`: all count.
        exclusive: Whether a pixel has one of several classes at most.
    """
    coarse, middle, fine = loss.output_weights
    there = (coarse * (logits.coarse is not None), middle * (logits.middle is not None), fine)
    positive = loss.positive_weight
    assert positive != "auto"  # which a training makes a number of before it starts
    return class_loss(
        *(logits, masks, loss.bce, there, counted, loss.without_object, positive),
        exclusive=exclusive,
        ssim=loss.ssim,
    )


def training_loss(
    network: Callable[..., Any],
    sam: Tensor,
    dino: Tensor | None,
    masks: Tensor,
    loss: LossConfig,
    *,
    maps: Sequence[Tensor] | None = None,
    place: Place | None = None,
    counted: Tensor | None = None,
    exclusive: bool = False,
) -> Tensor:
    """Both halves of a step; arguments as of `way_there` and `loss_of`."""
    given = way_there(network, sam, dino, loss, maps=maps, place=place)
    return loss_of(given.logits, masks, loss, counted, exclusive)
