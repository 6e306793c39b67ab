"""What figures share: colours, line styles, parts placed in inches, files for screen and paper."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from dsunet.errors import MissingPackageError
from dsunet.support.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "FORMATS",
    "INK",
    "Sheet",
    "Style",
    "method_style",
    "missing_glyphs_ignored",
    "new_figure",
    "plain",
    "require_matplotlib",
    "save_figure",
]

# Okabe and Ito's colours, which colour-blind readers can tell apart; their yellow, which white
# paper swallows, is a grey here
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9", "#000000", "#7F7F7F")
_DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (5, 1.5, 1, 1.5)), (0, (8, 3)))

INK, FRAME = "#1a1a1a", "#8a8a8a"

FORMATS = ("png", "pdf")
SCREEN_DPI = 200


class Style(NamedTuple):
    """How the lines of one method are drawn."""

    color: str
    linestyle: Any


def method_style(number: int) -> Style:
    """The style of a method by its place in the list; all of the first forty differ."""
    return Style(_COLOURS[number % len(_COLOURS)], _DASHES[number % len(_DASHES)])


def plain(text: str) -> str:
    """A name without meaning to matplotlib, which takes `$` for formulas and hides `_names`.

    Control characters, and bytes of file names that are no valid text, become question marks.
    """
    text = "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))
    return ("\u2009" if text.startswith("_") else "") + text.replace("$", r"\$")


def require_matplotlib() -> None:
    """Finds out early whether figures can be drawn.

    Raises:
        MissingPackageError: Matplotlib is not installed.
    """
    if find_spec("matplotlib") is None:
        raise MissingPackageError(
            "figures need the package matplotlib; pip install 'dsunet[evaluate]'"
        )


def new_figure(width: float, height: float, **settings: Any) -> Figure:
    """An empty figure of a size in inches.

    Raises:
        MissingPackageError: Matplotlib is not installed.
    """
    require_matplotlib()
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), **settings)


class Sheet:
    """A figure on which axes and texts are placed in inches from its upper left corner."""

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width, height
        self.figure = new_figure(width, height, facecolor="white")

    def axes(self, x: float, y: float, width: float, height: float) -> Axes:
        """Axes without ticks, in a thin frame."""
        bottom = 1 - (y + height) / self.height
        axes: Axes = self.figure.add_axes(
            (x / self.width, bottom, width / self.width, height / self.height)
        )
        axes.set(xticks=[], yticks=[])
        for side in axes.spines.values():
            side.set(linewidth=0.5, edgecolor=FRAME)
        return axes

    def text(self, x: float, y: float, text: str, **kwargs: Any) -> None:
        """A line of text, centred in height."""
        style = {"color": INK, "fontsize": 8, "va": "center", "parse_math": False, **kwargs}
        self.figure.text(x / self.width, 1 - y / self.height, text, **style)


@contextlib.contextmanager
def missing_glyphs_ignored() -> Iterator[None]:
    """Names of files may have letters that the font lacks; boxes are drawn for them."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def save_figure(figure: Figure, base: Path, formats: Sequence[str] = FORMATS) -> list[Path]:
    """Writes a figure, the same one as the same bytes.

    Args:
        figure: The figure.
        base: Where to, without the ending.
        formats: Of `FORMATS`; text in a PDF stays text.

    Returns:
        The files.
    """
    from matplotlib import rc_context

    paths = []
    for ending in formats:
        path = base.with_name(f"{base.name}.{ending}")
        metadata = {"CreationDate": None} if ending == "pdf" else {"Software": None}
        encoded = io.BytesIO()
        with rc_context({"pdf.fonttype": 42}), missing_glyphs_ignored():
            figure.savefig(encoded, format=ending, dpi=SCREEN_DPI, metadata=metadata)
        figure.set_layout_engine("none")  # all has its place now
        write_atomically(path, encoded.getvalue())
        paths.append(path)
    return paths
