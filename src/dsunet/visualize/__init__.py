"""Pictures for people: overlays, cut-outs, panels, curves, comparisons.

Names are imported when they are first used, for pictures of files need no torch; but for `overlay`
and `panel`, which as modules of these names would hide the functions.
"""

from typing import TYPE_CHECKING

from dsunet.support.lazy import lazy_names
from dsunet.visualize.overlay import cutout, overlay
from dsunet.visualize.panel import panel

if TYPE_CHECKING:
    from dsunet.visualize.comparison import plot_histograms, plot_precision_recall, plot_thresholds
    from dsunet.visualize.differences import GridRow, difference_grid, most_different
    from dsunet.visualize.sheet import data_sheet

_HOMES = {
    "GridRow": "differences",
    "data_sheet": "sheet",
    "difference_grid": "differences",
    "most_different": "differences",
    "plot_histograms": "comparison",
    "plot_precision_recall": "comparison",
    "plot_thresholds": "comparison",
}

__all__ = [
    "GridRow",
    "cutout",
    "data_sheet",
    "difference_grid",
    "most_different",
    "overlay",
    "panel",
    "plot_histograms",
    "plot_precision_recall",
    "plot_thresholds",
]

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
