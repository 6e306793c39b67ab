"""DSU-Net: object segmentation with frozen SAM2 and DINOv2 encoders.

Names are imported when they are first used, so that `import dsunet` is quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dsunet.checkpoint import save
    from dsunet.decoder import SegmentationLogits
    from dsunet.errors import DsunetError
    from dsunet.losses import deep_supervision_loss, structure_loss
    from dsunet.metrics import evaluate
    from dsunet.model import DSUNet, create_model, list_models, load
    from dsunet.predict import Segmentation, Segmenter
    from dsunet.training import train
    from dsunet.weights import LoadReport, load_weights

__version__ = "0.1.0"

_HOMES = {
    "DSUNet": "model",
    "DsunetError": "errors",
    "LoadReport": "weights",
    "Segmentation": "predict",
    "SegmentationLogits": "decoder",
    "Segmenter": "predict",
    "create_model": "model",
    "deep_supervision_loss": "losses",
    "evaluate": "metrics",
    "list_models": "model",
    "load": "model",
    "load_weights": "weights",
    "save": "checkpoint",
    "structure_loss": "losses",
    "train": "training",
}

__all__ = [
    "DSUNet",
    "DsunetError",
    "LoadReport",
    "Segmentation",
    "SegmentationLogits",
    "Segmenter",
    "create_model",
    "deep_supervision_loss",
    "evaluate",
    "list_models",
    "load",
    "load_weights",
    "save",
    "structure_loss",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'dsunet' has no attribute {name!r}")
    value = getattr(import_module(f"dsunet.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
