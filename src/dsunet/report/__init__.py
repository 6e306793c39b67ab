"""What came of a run, as one page to show."""

from typing import TYPE_CHECKING

from dsunet.support.lazy import lazy_names

if TYPE_CHECKING:
    from dsunet.report.page import make_report as make_report

__all__, __getattr__, __dir__ = lazy_names(__name__, {"page": ["make_report"]})
