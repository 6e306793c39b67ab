"""Speed and memory, measured: training steps, predictions and the data loader."""

from dsunet.benchmarking.circumstances import circumstances
from dsunet.benchmarking.measure import Failure, MatrixRate, Measured, measure, ratios
from dsunet.benchmarking.variants import Variant

__all__ = [
    "Failure",
    "MatrixRate",
    "Measured",
    "Variant",
    "circumstances",
    "measure",
    "ratios",
]
