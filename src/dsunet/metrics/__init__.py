"""Benchmark metrics, computed by PySODMetrics."""

from dsunet.metrics.evaluation import Evaluation, evaluate, evaluate_folders
from dsunet.metrics.measures import MEASURES, Measures

__all__ = ["MEASURES", "Evaluation", "Measures", "evaluate", "evaluate_folders"]
