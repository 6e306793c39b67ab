"""Numbers of parameters."""

from __future__ import annotations

from dsunet.network.base import SegmentationModel

__all__ = ["parameter_counts", "parameters_by_part"]


def parameter_counts(model: SegmentationModel) -> dict[str, int]:
    """Numbers of parameters: `total`, `trainable`, and the trainable ones of every part."""
    parts = parameters_by_part(model)
    trainable = {name: count for name, (_, count) in parts.items()}
    total = sum(count for count, _ in parts.values())
    return {"total": total, "trainable": sum(trainable.values()), **trainable}


def parameters_by_part(model: SegmentationModel) -> dict[str, tuple[int, int]]:
    """For every part of the network: numbers of all and of trainable parameters."""
    absent = model.absent_parameters
    return {
        name: (
            sum(p.numel() for p in parameters) + absent.get(name, 0),
            sum(p.numel() for p in parameters if p.requires_grad),
        )
        for name, parameters in model.parts().items()
    }
