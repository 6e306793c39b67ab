"""The field's measures: of maps as they are, or PySODMetrics' to the last digit.

Names are imported when they are first used: a list of the measures needs no NumPy.
"""

from typing import TYPE_CHECKING

from dsunet.support.lazy import lazy_names

if TYPE_CHECKING:
    from dsunet.metrics.class_evaluation import ClassEvaluation as ClassEvaluation
    from dsunet.metrics.class_evaluation import evaluate_classes as evaluate_classes
    from dsunet.metrics.comparison import compare_folders as compare_folders
    from dsunet.metrics.cuts import BestThreshold as BestThreshold
    from dsunet.metrics.cuts import FalseAlarms as FalseAlarms
    from dsunet.metrics.definitions import ALL_MEASURES as ALL_MEASURES
    from dsunet.metrics.definitions import CURVES as CURVES
    from dsunet.metrics.definitions import MEASURES as MEASURES
    from dsunet.metrics.definitions import OWN_MEASURES as OWN_MEASURES
    from dsunet.metrics.definitions import Measure as Measure
    from dsunet.metrics.evaluation import evaluate as evaluate
    from dsunet.metrics.evaluation import evaluate_folders as evaluate_folders
    from dsunet.metrics.inputs import Truth as Truth
    from dsunet.metrics.measures import ImageMeasures as ImageMeasures
    from dsunet.metrics.measures import Measures as Measures
    from dsunet.metrics.measures import measure as measure
    from dsunet.metrics.results import Comparison as Comparison
    from dsunet.metrics.results import Evaluation as Evaluation
    from dsunet.metrics.results import ObjectFacts as ObjectFacts

__all__, __getattr__, __dir__ = lazy_names(
    __name__,
    {
        "class_evaluation": ["ClassEvaluation", "evaluate_classes"],
        "comparison": ["compare_folders"],
        "cuts": ["BestThreshold", "FalseAlarms"],
        "definitions": ["ALL_MEASURES", "CURVES", "MEASURES", "OWN_MEASURES", "Measure"],
        "evaluation": ["evaluate", "evaluate_folders"],
        "inputs": ["Truth"],
        "measures": ["ImageMeasures", "Measures", "measure"],
        "results": ["Comparison", "Evaluation", "ObjectFacts"],
    },
)
