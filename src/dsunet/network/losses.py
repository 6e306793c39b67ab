"""The paper's loss (section III, equations 1 and 2), and those of distillation."""

from __future__ import annotations

from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from dsunet.errors import ConfigError
from dsunet.network.decoder import SegmentationLogits

Bce = Literal["mean", "boundary_weighted"]
WithoutObject = Literal["iou", "area", "none"]

__all__ = [
    "boundary_weight",
    "deep_supervision_loss",
    "hint_loss",
    "similarity_loss",
    "soft_target_loss",
    "structure_loss",
]


def boundary_weight(target: Tensor, counted: Tensor | None = None) -> Tensor:
    """1 + 5·|avgpool31(m) − m|: up to 6 near the object's boundary and 1 far from it.

    Args:
        target: B×1×H×W mask in 0..1. Pixels outside the image count as zero.
        counted: B×1×H×W, 1 where a pixel counts and 0 where it is ignored; `None`: all count. The
            local average is that of the pixels that count, so that ignored ones make no boundary;
            the weight of an ignored pixel is 0.
    """
    if counted is None:
        return 1 + 5 * (_local_mean(target) - target).abs()
    target = target * counted
    # what is outside the image stays in the average, as a zero that counts
    mean = _local_mean(target) / (1 - _local_mean(1 - counted)).clamp_min(1 / 31**2)
    return (1 + 5 * (mean - target).abs()) * counted


def _local_mean(values: Tensor) -> Tensor:
    # A box filter is separable: two passes of 31 instead of one of 961 per pixel.
    rows = F.avg_pool2d(values, (31, 1), stride=1, padding=(15, 0))
    return F.avg_pool2d(rows, (1, 31), stride=1, padding=(0, 15))


def structure_loss(
    logits: Tensor,
    target: Tensor,
    bce: Bce = "mean",
    counted: Tensor | None = None,
    without_object: WithoutObject = "iou",
    positive_weight: float = 1.0,
) -> Tensor:
    """Boundary-weighted IoU loss plus binary cross-entropy of one output, a scalar.

    Source: paper equation 1; F³Net (Wei et al., AAAI 2020), where the loss comes from. The
    published code means to weight the cross-entropy by the boundary weight as well, but passes
    `reduce="none"`, which torch takes for true, so that a plain mean over the whole batch is what
    was trained with. That is the default; `boundary_weighted` is what was meant.

    Args:
        logits: B×1×H×W.
        target: B×1×H×W in 0..1; soft values are fine.
        bce: Which cross-entropy to add.
        counted: B×1×H×W, 1 where a pixel counts and 0 where it is ignored; `None`: all count.
            Ignored pixels have no part in any term, and no gradient; means are over the pixels that
            count. An image without any adds 0.
        without_object: What stands in the IoU term's place for an image whose target is 0
            everywhere. There it is A / (A + 1), where A is the sum of the map: about 1 whatever
            the map looks like, with a gradient of 1 / (A + 1)² a pixel, which is nothing beside
            that of cross-entropy while there is a false alarm of some hundred pixels, and more than
            all others together once hardly anything is left. `iou` leaves it so, as published;
            `area` takes the mean of the map, A / n, which is the same term for the background (1
            less its IoU), with the same gradient however much is left; `none` takes 0.
        positive_weight: Factor of the object's part of the cross-entropy, −w·m·log p − (1 − m)·
            log(1 − p). Means are over pixels, not weights, so that background weighs what it did.

    Raises:
        ConfigError: The shapes differ.
    """
    _check_shapes(logits, target)
    _check_counted(target, counted)
    weight = boundary_weight(target, counted)
    return _structure_loss(logits, target, weight, bce, counted, without_object, positive_weight)


def _structure_loss(
    logits: Tensor,
    target: Tensor,
    weight: Tensor,
    bce: Bce,
    counted: Tensor | None,
    without_object: WithoutObject,
    positive_weight: float,
) -> Tensor:
    """`weight` is 0 where a pixel is ignored."""
    # none for 1, so that sums are those of the loss without it to the last digit
    positive = None if positive_weight == 1 else logits.new_tensor(positive_weight)
    entropy = partial(F.binary_cross_entropy_with_logits, pos_weight=positive)
    if counted is not None:
        # whatever is computed at ignored pixels is finite and gets no gradient
        logits, target = logits.masked_fill(counted == 0, 0.0), target * counted
    if bce == "mean" and counted is not None:
        per_pixel = entropy(logits, target, reduction="none")
        cross_entropy = (counted * per_pixel).sum() / counted.sum().clamp_min(1)
    elif bce == "mean":
        cross_entropy = entropy(logits, target)
    else:
        per_pixel = entropy(logits, target, reduction="none")
        total_weight = weight.sum((2, 3))
        if counted is not None:
            total_weight = total_weight.clamp_min(1)  # that of a pixel is at least 1
        cross_entropy = ((weight * per_pixel).sum((2, 3)) / total_weight).mean()
    probability = torch.sigmoid(logits)
    intersection = (probability * target * weight).sum((2, 3))
    total = ((probability + target) * weight).sum((2, 3))
    weighted_iou = 1 - (intersection + 1) / (total - intersection + 1)
    if without_object != "iou":
        empty = target.amax((2, 3)) == 0
        area = total / weight.sum((2, 3)).clamp_min(1)
        instead = area if without_object == "area" else torch.zeros_like(area)
        weighted_iou = torch.where(empty, instead, weighted_iou)
    return weighted_iou.mean() + cross_entropy


def deep_supervision_loss(
    outputs: SegmentationLogits,
    target: Tensor,
    bce: Bce = "mean",
    weights: tuple[float, float, float] = (0.25, 0.5, 1.0),
    counted: Tensor | None = None,
    without_object: WithoutObject = "iou",
    positive_weight: float = 1.0,
) -> Tensor:
    """Weighted sum of `structure_loss` over the coarse, middle and fine output (equation 2).

    Arguments are as there; `weights` are those of the outputs.

    Raises:
        ConfigError: An output that has a weight is missing, or the shapes differ.
    """
    _check_counted(target, counted)
    boundary = boundary_weight(target, counted)  # the same for every output
    total = target.new_zeros(())
    for logits, weight in zip(outputs, weights, strict=True):
        if weight:
            if logits is None:
                raise ConfigError('an output with a weight is missing; run the model with "all"')
            _check_shapes(logits, target)
            one = _structure_loss(
                logits, target, boundary, bce, counted, without_object, positive_weight
            )
            total = total + weight * one
    return total


def similarity_loss(logits: Tensor, target: Tensor, counted: Tensor | None = None) -> Tensor:
    """1 − SSIM of the map and the mask, a scalar in 0..2; 0 where they are equal.

    Structural similarity in windows of 11×11 px (plain means; at the image's borders of what lies
    inside), which a blurred outline or a hole lowers over the whole window. Source: BASNet (Qin et
    al., CVPR 2019), where it is one of three terms; constants 0.01² and 0.03².

    Args:
        logits: B×1×H×W.
        target: B×1×H×W in 0..1.
        counted: B×1×H×W, 1 where a pixel counts and 0 where it is ignored; `None`: all count.

    Raises:
        ConfigError: The shapes differ.
    """
    _check_shapes(logits, target)
    _check_counted(target, counted)
    map_ = torch.sigmoid(logits)
    if counted is not None:  # both are the same there, and nothing has a gradient
        map_, target = map_.masked_fill(counted == 0, 0.0), target * counted
    mean, mean_target = _window_mean(map_), _window_mean(target)
    variance = _window_mean(map_ * map_) - mean * mean
    variance_target = _window_mean(target * target) - mean_target * mean_target
    covariance = _window_mean(map_ * target) - mean * mean_target
    means = (2 * mean * mean_target + 1e-4) / (mean.square() + mean_target.square() + 1e-4)
    similarity = means * (2 * covariance + 9e-4) / (variance + variance_target + 9e-4)
    if counted is None:
        return 1 - similarity.mean()
    return ((1 - similarity) * counted).sum() / counted.sum().clamp_min(1)


def _window_mean(values: Tensor) -> Tensor:
    rows = F.avg_pool2d(values, (11, 1), 1, (5, 0), count_include_pad=False)
    return F.avg_pool2d(rows, (1, 11), 1, (0, 5), count_include_pad=False)


def soft_target_loss(logits: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """How far a student's map is from its teacher's, a scalar of at least 0.

    T²·KL(teacher ‖ student) of the classes object and background at every pixel, with both logits
    divided by the temperature T, as a mean over pixels and images. Its gradient is that of
    cross-entropy with the teacher's soft map as target; the factor T² keeps its size the same
    whatever T is. Source: Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network"
    (2015), section 2; a sigmoid is their softmax of two classes.

    The IoU term of `structure_loss` is not for soft targets: where the target is 0.5 it is lowest
    at a probability of 1.

    Args:
        logits: The student's, B×1×H×W.
        teacher: The teacher's, of the same shape.
        temperature: T, above 0.

    Raises:
        ConfigError: The shapes differ.
    """
    _check_shapes(logits, teacher)
    student, target = logits / temperature, teacher / temperature
    probability = torch.sigmoid(target)
    object_ = F.logsigmoid(target) - F.logsigmoid(student)
    background = F.logsigmoid(-target) - F.logsigmoid(-student)
    divergence = probability * object_ + (1 - probability) * background
    return temperature**2 * divergence.mean()


def hint_loss(features: Tensor, teacher: Tensor) -> Tensor:
    """How far a student's feature map is from its teacher's, a scalar of at least 0.

    The squared distance of the two maps of an image, as a share of the squared length of the
    teacher's: 0 is the same map, and 1 is what zeros come to, whatever the teacher's scale. Source:
    FitNets (Romero et al., ICLR 2015), equation 3, there without that denominator.

    Args:
        features: The student's, behind the layer that gives it the teacher's channels; B×C×H×W.
        teacher: The teacher's, of the same shape.

    Raises:
        ConfigError: The shapes differ.
    """
    _check_shapes(features, teacher)
    distance = (features - teacher).square().sum((1, 2, 3))
    return (distance / teacher.square().sum((1, 2, 3)).clamp_min(1e-6)).mean()


def _check_counted(target: Tensor, counted: Tensor | None) -> None:
    if counted is not None and counted.shape != target.shape:
        raise ConfigError(
            f"`counted` has shape {tuple(counted.shape)} and the target {tuple(target.shape)}; the "
            "loss needs the same B×1×H×W for both"
        )


def _check_shapes(logits: Tensor, target: Tensor) -> None:
    if logits.shape != target.shape:
        raise ConfigError(
            f"logits have shape {tuple(logits.shape)} and the target {tuple(target.shape)}; "
            "the loss needs the same B×C×H×W for both"
        )
