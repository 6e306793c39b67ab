"""DSU-Net: object segmentation with frozen SAM2 and DINOv2 encoders.

Names are imported when they are first used, so that `import dsunet` is quick.
"""

from typing import TYPE_CHECKING

from dsunet.lazy import lazy_names

if TYPE_CHECKING:
    from dsunet.checkpoint import save
    from dsunet.custom import CustomModel
    from dsunet.decoder import SegmentationLogits
    from dsunet.errors import DsunetError
    from dsunet.losses import deep_supervision_loss, structure_loss
    from dsunet.metrics import evaluate
    from dsunet.model import DSUNet, create_model, list_models, load
    from dsunet.predict import Segmentation, Segmenter
    from dsunet.training import train
    from dsunet.weights import LoadReport, convert, load_weights

__version__ = "0.1.0"

_HOMES = {
    "CustomModel": "custom",
    "DSUNet": "model",
    "DsunetError": "errors",
    "LoadReport": "weights",
    "Segmentation": "predict",
    "SegmentationLogits": "decoder",
    "Segmenter": "predict",
    "convert": "weights",
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
    "CustomModel",
    "DSUNet",
    "DsunetError",
    "LoadReport",
    "Segmentation",
    "SegmentationLogits",
    "Segmenter",
    "convert",
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

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
