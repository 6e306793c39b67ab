"""What a network without some of its channels needs to see of the data."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from dsunet.config import LossConfig
from dsunet.data.dataset import Batch
from dsunet.network.model import DSUNet
from dsunet.running.step import training_loss

__all__ = ["calibrate_batchnorm", "loss_gradients"]


def loss_gradients(
    model: DSUNet, batches: Iterable[Batch], loss: LossConfig | None = None
) -> dict[str, Tensor]:
    """Gradients of the loss by the parameters of decoder and adapters, as sizes.

    The sum over batches of absolute values, in evaluation mode: in a trained network the gradients
    themselves cancel out.

    Returns:
        By the parameters' names, a tensor of the shape of each.
    """
    loss = loss or LossConfig()
    device = next(model.parameters()).device
    rated = {
        name: parameter
        for name, parameter in model.named_parameters()
        if name.startswith("decoder.") or ".adapter." in name
    }
    sums = {name: torch.zeros_like(parameter) for name, parameter in rated.items()}
    model.eval()
    for batch in batches:
        sam, dino = _views(batch, device)
        counted = None if batch.counted is None else batch.counted.to(device)
        total = training_loss(model, sam, dino, batch.mask.to(device), loss, counted=counted)
        # the published SAM2-UNet has layers that never run
        gradients = torch.autograd.grad(total, list(rated.values()), allow_unused=True)
        for name, gradient in zip(rated, gradients, strict=True):
            if gradient is not None:
                sums[name] += gradient.abs()
    return sums


@torch.no_grad()
def calibrate_batchnorm(model: DSUNet, batches: Iterable[Batch], *, fusion: bool = False) -> DSUNet:
    """Counts the decoder's BatchNorm statistics anew, in place; returns the model.

    Sums over fewer channels have other means and variances. Statistics are means over all batches
    with equal weights (as in EagleEye, Li et al., ECCV 2020). No weight is changed.

    Args:
        model: It is left in evaluation mode.
        batches: Of training images; nothing is done if there are none.
        fusion: Those of the fusion with DINOv2, too.
    """
    device = next(model.parameters()).device
    parts = [model.decoder, *([model.fusion] if fusion and model.fusion is not None else [])]
    norms = [m for part in parts for m in part.modules() if isinstance(m, nn.BatchNorm2d)]
    usual = [norm.momentum for norm in norms]
    for number, batch in enumerate(batches):
        if number == 0:
            model.eval()
            for norm in norms:
                norm.reset_running_stats()
                norm.momentum = None  # the mean of all
                norm.train()
        model(*_views(batch, device))
    for norm, momentum in zip(norms, usual, strict=True):
        norm.momentum = momentum
    return model.eval()


def _views(batch: Batch, device: torch.device) -> tuple[Tensor, Tensor | None]:
    return batch.sam.to(device), None if batch.dino is None else batch.dino.to(device)
