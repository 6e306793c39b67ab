"""DSU-Net: object segmentation with frozen SAM2 and DINOv2 encoders.

Names are imported when they are first used, so that `import dsunet` is quick.
"""

from typing import TYPE_CHECKING

from dsunet.support.lazy import lazy_names, redirect_modules

if TYPE_CHECKING:
    from dsunet.errors import DsunetError as DsunetError
    from dsunet.metrics import evaluate as evaluate
    from dsunet.network.custom import CustomModel as CustomModel
    from dsunet.network.decoder import SegmentationLogits as SegmentationLogits
    from dsunet.network.losses import deep_supervision_loss as deep_supervision_loss
    from dsunet.network.losses import structure_loss as structure_loss
    from dsunet.predict import Segmentation as Segmentation
    from dsunet.predict import Segmenter as Segmenter
    from dsunet.training import train as train
    from dsunet.weights.checkpoint import save as save
    from dsunet.weights.conversion import convert as convert
    from dsunet.weights.load import LoadReport as LoadReport
    from dsunet.weights.load import load_weights as load_weights
    from dsunet.weights.models import DSUNet as DSUNet
    from dsunet.weights.models import create_model as create_model
    from dsunet.weights.models import list_models as list_models
    from dsunet.weights.models import load as load

__version__ = "0.1.0"

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

__all__, __getattr__, __dir__ = lazy_names(
    __name__,
    {
        "errors": ["DsunetError"],
        "metrics": ["evaluate"],
        "network.custom": ["CustomModel"],
        "network.decoder": ["SegmentationLogits"],
        "network.losses": ["deep_supervision_loss", "structure_loss"],
        "predict": ["Segmentation", "Segmenter"],
        "training": ["train"],
        "weights.checkpoint": ["save"],
        "weights.conversion": ["convert"],
        "weights.load": ["LoadReport", "load_weights"],
        "weights.models": ["DSUNet", "create_model", "list_models", "load"],
    },
)
