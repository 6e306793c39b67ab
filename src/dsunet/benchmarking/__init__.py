"""Speed and memory, measured: training steps, predictions and the data loader."""

from dsunet.benchmarking.circumstances import circumstances
from dsunet.benchmarking.loader import LoaderSpeed, measure_loader
from dsunet.benchmarking.measure import Failure, MatrixRate, Measured, measure, ratios
from dsunet.benchmarking.speed_tables import comparisons, loader_table, record, table_of
from dsunet.config import Variant

__all__ = [
    "Failure",
    "LoaderSpeed",
    "MatrixRate",
    "Measured",
    "Variant",
    "circumstances",
    "comparisons",
    "loader_table",
    "measure",
    "measure_loader",
    "ratios",
    "record",
    "table_of",
]
