"""Benchmark metrics, equal to PySODMetrics to the last digit."""

from dsunet.metrics.comparison import compare_folders
from dsunet.metrics.definitions import ALL_MEASURES, CURVES, MEASURES, Measure
from dsunet.metrics.evaluation import evaluate, evaluate_folders
from dsunet.metrics.measures import ImageMeasures, Measures, measure
from dsunet.metrics.results import Comparison, Evaluation, ObjectFacts

__all__ = [
    "ALL_MEASURES",
    "CURVES",
    "MEASURES",
    "Comparison",
    "Evaluation",
    "ImageMeasures",
    "Measure",
    "Measures",
    "ObjectFacts",
    "compare_folders",
    "evaluate",
    "evaluate_folders",
    "measure",
]
