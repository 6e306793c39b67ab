"""The paper's experiments: what is trained, tested and printed for each of its tables."""

from dsunet.config import Protocol
from dsunet.research.experiments.estimate import Estimate, estimate
from dsunet.research.experiments.figures import write_figures
from dsunet.research.experiments.methods import (
    METHODS,
    TABLES,
    TARGETS,
    Method,
    PaperTable,
    added_method,
)
from dsunet.research.experiments.paper_tables import write_tables
from dsunet.research.experiments.plan import Plan, check_protocol, make_plan
from dsunet.research.experiments.reproduce import Outcome, reproduce
from dsunet.research.experiments.scores import Results

__all__ = [
    "METHODS",
    "TABLES",
    "TARGETS",
    "Estimate",
    "Method",
    "Outcome",
    "PaperTable",
    "Plan",
    "Protocol",
    "Results",
    "added_method",
    "check_protocol",
    "estimate",
    "make_plan",
    "reproduce",
    "write_figures",
    "write_tables",
]
