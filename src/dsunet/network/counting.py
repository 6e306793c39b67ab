"""Numbers of parameters."""

from __future__ import annotations

from torch import nn

from dsunet.network.base import SegmentationModel
from dsunet.network.model import DSUNet

__all__ = ["parameter_counts", "parameters_by_part"]


def parameter_counts(model: SegmentationModel) -> dict[str, int]:
    """Numbers of parameters: `total`, `trainable`, and the trainable ones of every part."""
    parts = parameters_by_part(model)
    trainable = {name: count for name, (_, count) in parts.items()}
    total = sum(count for count, _ in parts.values())
    return {"total": total, "trainable": sum(trainable.values()), **trainable}


def parameters_by_part(model: SegmentationModel) -> dict[str, tuple[int, int]]:
    """For every part of the network: numbers of all and of trainable parameters."""
    parts = (
        _parts_of(model)
        if isinstance(model, DSUNet)
        else {name: list(part.parameters()) for name, part in model.named_children()}
    )
    counts = {
        name: (
            sum(p.numel() for p in parameters),
            sum(p.numel() for p in parameters if p.requires_grad),
        )
        for name, parameters in parts.items()
    }
    if isinstance(model, DSUNet) and model.semantic is not None:
        present, trained = counts["semantic"]
        counts["semantic"] = (present + model.semantic.left_out, trained)
    return counts


def _parts_of(model: DSUNet) -> dict[str, list[nn.Parameter]]:
    return {
        "adapters": [p for n, p in model.pyramid.named_parameters() if ".adapter." in n],
        "pyramid": [p for n, p in model.pyramid.named_parameters() if ".adapter." not in n],
        "semantic": list(model.semantic.parameters()) if model.semantic else [],
        "fusion": list(model.fusion.parameters()) if model.fusion else [],
        "decoder": list(model.decoder.parameters()),
    }
