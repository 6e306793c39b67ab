"""Figures of matplotlib whose parts are placed in inches, and their files."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dsunet.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["INK", "Sheet", "save_figure"]

INK, FRAME = "#1a1a1a", "#8a8a8a"


class Sheet:
    """A figure on which axes and texts are placed in inches from its upper left corner."""

    def __init__(self, width: float, height: float) -> None:
        from matplotlib.figure import Figure

        self.width, self.height = width, height
        self.figure = Figure(figsize=(width, height), facecolor="white")

    def axes(self, x: float, y: float, width: float, height: float) -> Axes:
        bottom = 1 - (y + height) / self.height
        axes: Axes = self.figure.add_axes(
            (x / self.width, bottom, width / self.width, height / self.height)
        )
        axes.set(xticks=[], yticks=[])
        for side in axes.spines.values():
            side.set(linewidth=0.5, edgecolor=FRAME)
        return axes

    def text(self, x: float, y: float, text: str, **kwargs: Any) -> None:
        style = {"color": INK, "fontsize": 8, "va": "center", "parse_math": False, **kwargs}
        self.figure.text(x / self.width, 1 - y / self.height, text, **style)


def save_figure(figure: Figure, path: Path) -> None:
    """Writes a figure whole or not at all, in the format that the name ends with (png, pdf)."""
    import matplotlib

    encoded = io.BytesIO()
    pdf = path.suffix == ".pdf"
    with matplotlib.rc_context({"pdf.fonttype": 42}):  # fonts as text, which journals ask for
        figure.savefig(
            encoded,
            format=path.suffix[1:],
            dpi=200,
            metadata={"CreationDate": None} if pdf else {},  # the same figure is the same file
        )
    write_atomically(path, encoded.getvalue())
