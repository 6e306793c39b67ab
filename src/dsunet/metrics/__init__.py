"""Benchmark metrics, equal to PySODMetrics' to the last digit.

Names are imported when they are first used: a list of the measures needs no NumPy.
"""

from typing import TYPE_CHECKING

from dsunet.support.lazy import lazy_names

if TYPE_CHECKING:
    from dsunet.metrics.comparison import compare_folders
    from dsunet.metrics.definitions import ALL_MEASURES, CURVES, MEASURES, Measure
    from dsunet.metrics.evaluation import evaluate, evaluate_folders
    from dsunet.metrics.inputs import Truth
    from dsunet.metrics.measures import ImageMeasures, Measures, measure
    from dsunet.metrics.results import Comparison, Evaluation, ObjectFacts

_HOMES = {
    "ALL_MEASURES": "definitions",
    "CURVES": "definitions",
    "MEASURES": "definitions",
    "Comparison": "results",
    "Evaluation": "results",
    "ImageMeasures": "measures",
    "Measure": "definitions",
    "Measures": "measures",
    "ObjectFacts": "results",
    "Truth": "inputs",
    "compare_folders": "comparison",
    "evaluate": "evaluation",
    "evaluate_folders": "evaluation",
    "measure": "measures",
}

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
    "Truth",
    "compare_folders",
    "evaluate",
    "evaluate_folders",
    "measure",
]

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
