"""Pictures for people: overlays, cut-outs, panels, curves."""

from dsunet.visualize.overlay import cutout, overlay
from dsunet.visualize.panel import panel
from dsunet.visualize.sheet import data_sheet

__all__ = ["cutout", "data_sheet", "overlay", "panel"]
