"""Pictures for people: overlays, cut-outs, panels, curves."""

from dsunet.visualize.overlay import cutout, overlay
from dsunet.visualize.panel import panel

__all__ = ["cutout", "overlay", "panel"]
