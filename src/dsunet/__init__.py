"""DSU-Net: object segmentation with frozen SAM2 and DINOv2 encoders.

Names are imported when they are first used, so that `import dsunet` is quick.
"""

from typing import TYPE_CHECKING

from dsunet.support.lazy import lazy_names, redirect_modules

if TYPE_CHECKING:
    from dsunet.errors import DsunetError
    from dsunet.metrics import evaluate
    from dsunet.network.custom import CustomModel
    from dsunet.network.decoder import SegmentationLogits
    from dsunet.network.losses import deep_supervision_loss, structure_loss
    from dsunet.network.model import DSUNet
    from dsunet.predict import Segmentation, Segmenter
    from dsunet.training import train
    from dsunet.weights import LoadReport, convert, load_weights
    from dsunet.weights.checkpoint import save
    from dsunet.weights.models import create_model, list_models, load

__version__ = "0.1.0"

_HOMES = {
    "CustomModel": "network.custom",
    "DSUNet": "weights.models",
    "DsunetError": "errors",
    "LoadReport": "weights.load",
    "Segmentation": "predict",
    "SegmentationLogits": "network.decoder",
    "Segmenter": "predict",
    "convert": "weights.conversion",
    "create_model": "weights.models",
    "deep_supervision_loss": "network.losses",
    "evaluate": "metrics",
    "list_models": "weights.models",
    "load": "weights.models",
    "load_weights": "weights.load",
    "save": "weights.checkpoint",
    "structure_loss": "network.losses",
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

# Modules that users were told of by names that they had before.
redirect_modules(
    __name__,
    {
        "data.find_benchmarks": "data.catalogue.find",
        "features": "visualize.extraction",
        "metrics.report": "metrics.comparison_table",
        "pruning": "research.pruning",
        "published": "metrics.published",
    },
)

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
