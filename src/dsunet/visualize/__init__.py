"""Pictures for people: overlays, cut-outs, panels, curves, comparisons.

Names are imported when they are first used, for pictures of files need no torch; but for `overlay`
and `panel`, which as modules of these names would hide the functions.
"""

from typing import TYPE_CHECKING

from dsunet.support.lazy import lazy_names
from dsunet.visualize.overlay import cutout as cutout
from dsunet.visualize.overlay import overlay as overlay
from dsunet.visualize.panel import panel as panel

if TYPE_CHECKING:
    from dsunet.visualize.comparison import plot_histograms as plot_histograms
    from dsunet.visualize.comparison import plot_precision_recall as plot_precision_recall
    from dsunet.visualize.comparison import plot_thresholds as plot_thresholds
    from dsunet.visualize.differences import GridRow as GridRow
    from dsunet.visualize.differences import difference_grid as difference_grid
    from dsunet.visualize.differences import most_different as most_different
    from dsunet.visualize.sheet import data_sheet as data_sheet

_names, __getattr__, __dir__ = lazy_names(
    __name__,
    {
        "comparison": ["plot_histograms", "plot_precision_recall", "plot_thresholds"],
        "differences": ["GridRow", "difference_grid", "most_different"],
        "sheet": ["data_sheet"],
    },
)

__all__ = [*_names, "cutout", "overlay", "panel"]
