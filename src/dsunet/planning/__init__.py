"""What to train, and how, for some data on this machine: choices with their reasons."""

from typing import TYPE_CHECKING

from dsunet.support.lazy import lazy_names

if TYPE_CHECKING:
    from dsunet.planning.plan import make_plan as make_plan
    from dsunet.planning.wishes import Plan as Plan
    from dsunet.planning.wishes import Wishes as Wishes
    from dsunet.planning.writing import as_yaml as as_yaml
    from dsunet.planning.writing import read_plan as read_plan
    from dsunet.planning.writing import told as told

__all__, __getattr__, __dir__ = lazy_names(
    __name__,
    {
        "plan": ["make_plan"],
        "wishes": ["Plan", "Wishes"],
        "writing": ["as_yaml", "read_plan", "told"],
    },
)
