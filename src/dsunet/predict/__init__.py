"""Image → mask at its own size, from Python and for whole folders."""

from dsunet.config import Options
from dsunet.predict.files import Report, predict_files
from dsunet.predict.outputs import KINDS
from dsunet.predict.pictures import Segmentation
from dsunet.predict.plan import Job, plan_outputs
from dsunet.predict.segmenter import Recipe, Segmenter

__all__ = [
    "KINDS",
    "Job",
    "Options",
    "Recipe",
    "Report",
    "Segmentation",
    "Segmenter",
    "plan_outputs",
    "predict_files",
]
