"""From the network's output to a map at the image's own size, the same way everywhere.

Validation, prediction and the Python interface all go through these functions, so that they agree
to the last digit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from dsunet.network.base import SegmentationModel
from dsunet.network.classes import class_probabilities
from dsunet.network.layers import resize_bilinear

__all__ = ["forward_views", "lay_out", "predict_probabilities", "probabilities_of"]


_Model = TypeVar("_Model", bound=SegmentationModel)


def lay_out(model: _Model, device: torch.device) -> _Model:
    """Gives a model the memory layout that is quickest on a device; returns it.

    On CPUs that is channels_last: depthwise convolutions train about three times faster. Layouts
    round differently, so training and prediction need the same one to agree to the last digit.
    """
    if device.type == "cpu" and model.channels_last:
        model = model.to(memory_format=torch.channels_last)
    return model


def forward_views(
    network: Callable[..., Any],
    sam: Tensor,
    dino: Tensor | None = None,
    maps: Sequence[Tensor] | None = None,
    **options: Any,
) -> Any:
    """What a network gives for its views, or for DINOv2's maps in place of the second one."""
    if maps is None:
        return network(sam, dino, **options)
    return network(sam, dino_features=maps, **options)


@torch.inference_mode()
def predict_probabilities(
    model: SegmentationModel,
    sam: Tensor,
    dino: Tensor | None,
    sizes: Sequence[tuple[int, int]],
    maps: Sequence[Tensor] | None = None,
    *,
    flips: bool = False,
) -> list[np.ndarray]:
    """The object's probability at every pixel of some images.

    The fine logits are resized bilinearly (align_corners false) to each image's own size before the
    sigmoid, as the published code does.

    Args:
        model: In evaluation mode.
        sam: B×3×H×W views for Hiera.
        dino: B×3×h×w views for DINOv2; `None` for models without it.
        sizes: Height and width in pixels of each of the B images.
        maps: DINOv2's maps, instead of `dino`, see `DSUNet.forward`.
        flips: Segment the mirrored views, too, and take the mean of both logits; not with `maps`.

    Returns:
        B arrays H'×W', float32 in 0..1; of a network of C classes C×H'×W'.
    """
    logits = forward_views(model, sam, dino, maps, outputs="fine").fine.float()
    if flips:
        mirrored = None if dino is None else dino.flip(-1)
        other = forward_views(model, sam.flip(-1), mirrored, outputs="fine").fine.float()
        logits = (logits + other.flip(-1)) / 2
    return probabilities_of(logits, sizes, model.classes, model.exclusive)


def probabilities_of(
    logits: Tensor,
    sizes: Sequence[tuple[int, int]],
    classes: Sequence[str] = (),
    exclusive: bool = False,
) -> list[np.ndarray]:
    """As `predict_probabilities`, from the network's fine logits, B×1×H×W or B×C×H×W float32.

    Args:
        logits: The logits.
        sizes: Height and width in pixels of each of the B images.
        classes: Names of the network's classes, if it has some.
        exclusive: Whether a pixel has one of them at most.
    """
    maps = (
        class_probabilities(resize_bilinear(one[None], size), exclusive)[0].cpu().numpy()
        for one, size in zip(logits, sizes, strict=True)
    )
    return [each if classes else each[0] for each in maps]
