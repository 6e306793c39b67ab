"""Figures of feature maps, after Figs. 1 and 2 of the paper.

Every cell shows one map at the grid's own resolution, each position as a block (nearest-neighbour
upsampling), so that nothing is smoothed that the network does not smooth.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dsunet.errors import MissingPackageError
from dsunet.features import FeatureMap, FeatureMaps, FusedLevel
from dsunet.files import write_atomically
from dsunet.visualize.projections import (
    PERPLEXITY,
    SEED,
    TSNE_POSITIONS,
    mean_map,
    principal_components,
    tsne_plane,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "FIGURES",
    "KINDS",
    "check_kinds",
    "draw_features",
    "need_packages",
    "plane_colours",
    "save_figure",
]

FIGURES = ("hiera", "dinov2", "fusion")

KINDS = {
    "mean": "mean",
    "pca": "PC 1",
    "rgb": "PC 1–3",
    "tsne": "t-SNE",
    "scatter": "t-SNE plane",
}
"""The kinds of maps, and what their columns are called."""

# inches
CELL, GAP, MARGIN, LABEL, GROUP_GAP = 1.2, 0.06, 0.12, 1.02, 0.22
TITLE, GROUP, COLUMN, LINE, KEYS = 0.34, 0.25, 0.2, 0.15, 1.2
CHARACTER = 0.05  # of the notes, on average
INK, GREY, PAPER = "#1a1a1a", "#555555", "#8a8a8a"
COLOURS = {"mean": "viridis", "pca": "cividis"}

# Lightness runs along the first axis, blue to yellow along the second: both are seen by
# everybody, while red against green is not.
CORNERS = np.array([[[24, 36, 96], [186, 216, 255]], [[104, 52, 0], [255, 226, 120]]]) / 255


@dataclass(frozen=True)
class _Table:
    """What a figure shows: rows of maps, in groups of columns."""

    title: str
    groups: tuple[str, ...]
    """What stands above each group; empty for a single one."""
    labels: Sequence[str]
    """What stands before each row."""
    rows: Sequence[Sequence[FeatureMap]]
    """A map for each group, all of one shape."""
    note: str = ""


def need_packages() -> None:
    """Finds out early whether the packages that figures need are there.

    Raises:
        MissingPackageError: One is not installed.
    """
    try:
        import matplotlib  # noqa: F401
        import sklearn  # noqa: F401
    except ImportError as error:
        raise MissingPackageError(
            f"figures of features need the package {error.name}; pip install 'dsunet[features]'"
        ) from error


def check_kinds(kinds: Sequence[str]) -> None:
    """Raises `ValueError` unless these are some of `KINDS`, each once."""
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown or not kinds or len(set(kinds)) != len(kinds):
        given = ",".join(kinds)
        raise ValueError(f"maps is {given!r}, but needs some of {', '.join(KINDS)}, each once")


def draw_features(
    features: FeatureMaps,
    kinds: Sequence[str] = ("mean", "pca", "tsne"),
    model: str = "",
    *,
    positions: int = TSNE_POSITIONS,
) -> dict[str, Figure]:
    """Figures of one image's feature maps.

    Args:
        features: What `extract_features` gives.
        kinds: Some of `KINDS`: the mean over channels, the first principal component, the first
            three as red, green and blue, t-SNE as colours on the grid, and its plane.
        model: Name of the model, for the titles.
        positions: Larger grids are averaged down for t-SNE.

    Returns:
        By name, those of `FIGURES` that the model has something for: Hiera's levels, DINOv2's
        blocks, and the levels before and after fusion.

    Raises:
        ValueError: A kind is unknown.
        MissingPackageError: scikit-learn or matplotlib is not installed.
    """
    check_kinds(kinds)
    need_packages()
    known: dict[int, _Projected] = {}  # some maps are in two figures
    return {
        name: _draw(table, features, kinds, model, positions, known)
        for name, table in _tables(features).items()
    }


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


def plane_colours(plane: np.ndarray) -> np.ndarray:
    """Colours of positions in a plane: h×w×2 → h×w×3 in 0..1.

    Both axes are stretched from the 2nd to the 98th percentile. The first runs from dark to light,
    the second from blue to yellow.
    """
    x, y = (_stretch(plane[..., axis])[..., None] for axis in range(2))
    low = CORNERS[0, 0] * (1 - x) + CORNERS[0, 1] * x
    high = CORNERS[1, 0] * (1 - x) + CORNERS[1, 1] * x
    return np.asarray(low * (1 - y) + high * y)


def _stretch(values: np.ndarray) -> np.ndarray:
    """Values from their 2nd to their 98th percentile → 0..1; a flat map is 0.5."""
    low, high = np.percentile(values, (2, 98))
    if high <= low:
        low, high = values.min(), values.max()
    if high <= low:
        return np.full(values.shape, 0.5)
    return np.asarray(np.clip((values - low) / (high - low), 0, 1))


def _tables(features: FeatureMaps) -> dict[str, _Table]:
    tables = {"hiera": _hiera_table(features)}
    if features.dinov2:
        blocks = features.dinov2
        tables["dinov2"] = _Table(
            "DINOv2’s patch tokens",
            ("",),
            [block.name.capitalize() for block in blocks],
            [(block,) for block in blocks],
            "Before the final LayerNorm.",
        )
    if features.fusion:
        tables["fusion"] = _fusion_table(features.fusion)
    return tables


def _hiera_table(features: FeatureMaps) -> _Table:
    title, plain, own = "Hiera’s levels", features.hiera_without_adapters, features.hiera
    labels = [level.name.capitalize() for level in own]
    if not plain:
        note = "This model’s Hiera has no adapters, so there is nothing to switch off."
        return _Table(title, ("",), labels, [(level,) for level in own], note)
    groups = ("adapters switched off", "with adapters")
    return _Table(title, groups, labels, list(zip(plain, own, strict=True)))


def _fusion_table(levels: Sequence[FusedLevel]) -> _Table:
    """A row for every level; for the three states of a single one."""
    if len(levels) == 1:
        states = (levels[0].before, levels[0].semantics, levels[0].after)
        labels = ("Hiera", "DINOv2", "Fused")
        note = "DINOv2: after channel modulation (WTD). Fused: by content-guided attention (CGA)."
        title = f"Fusion at {states[0].name}"
        return _Table(title, ("",), labels, [(state,) for state in states], note)
    groups = ("Hiera, before", "DINOv2, modulated (WTD)", "fused, after (CGA)")
    names = [level.before.name.capitalize() for level in levels]
    rows = [(level.before, level.semantics, level.after) for level in levels]
    return _Table("Fusion", groups, names, rows)


class _Projected:
    """The maps of one feature map, each made when it is asked for first."""

    def __init__(self, features: FeatureMap, positions: int) -> None:
        self.features = features
        self.positions = positions
        self._made: dict[str, Any] = {}

    def __getitem__(self, kind: str) -> Any:
        kind = {"rgb": "pca", "scatter": "tsne"}.get(kind, kind)
        if kind not in self._made:
            values = self.features.values
            self._made[kind] = (
                mean_map(values)
                if kind == "mean"
                else principal_components(values)
                if kind == "pca"
                else tsne_plane(values, positions=self.positions)
            )
        return self._made[kind]


class _Sheet:
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
            side.set(linewidth=0.5, edgecolor=PAPER)
        return axes

    def text(self, x: float, y: float, text: str, **kwargs: Any) -> None:
        style = {"color": INK, "fontsize": 8, "va": "center", "parse_math": False, **kwargs}
        self.figure.text(x / self.width, 1 - y / self.height, text, **style)


def _draw(
    table: _Table,
    features: FeatureMaps,
    kinds: Sequence[str],
    model: str,
    positions: int,
    known: dict[int, _Projected],
) -> Figure:
    """Left the input and the keys, then a row of maps for every level or block."""
    cell_width, cell_height = _cell(features.image.size)
    rows, columns = len(table.rows), len(kinds) * len(table.groups)
    alone = rows == 1  # then the keys have no row of their own below the input
    left = MARGIN + cell_width + GAP + LABEL
    maps = columns * (cell_width + GAP) - GAP + (len(table.groups) - 1) * GROUP_GAP
    keys = MARGIN + cell_width if alone else 0
    width = left + maps + keys + MARGIN
    header = MARGIN + TITLE + (GROUP if any(table.groups) else 0) + COLUMN
    notes = textwrap.wrap(_notes(table, kinds, positions), int((width - 2 * MARGIN) / CHARACTER))
    body = max(rows * (cell_height + GAP), KEYS if alone else 0)
    sheet = _Sheet(width, header + body + MARGIN / 2 + LINE * len(notes) + MARGIN)

    title = f"{table.title} · {model}" if model else table.title
    sheet.text(MARGIN, MARGIN + TITLE / 2 - 0.04, title, fontsize=11, fontweight="bold")
    sheet.text(MARGIN + cell_width / 2, header - COLUMN / 2, "input", ha="center")
    sheet.axes(MARGIN, header, cell_width, cell_height).imshow(features.image, aspect="auto")
    if alone:
        _draw_keys(sheet, left + maps + MARGIN, header, (cell_width, cell_height), kinds)
    else:
        _draw_keys(sheet, MARGIN, header + cell_height + GAP, (cell_width, cell_height), kinds)

    for group, group_title in enumerate(table.groups):
        start = left + group * (len(kinds) * (cell_width + GAP) + GROUP_GAP)
        if group_title:
            span = len(kinds) * (cell_width + GAP) - GAP
            y = header - COLUMN - GROUP / 2
            sheet.text(start + span / 2, y - 0.02, group_title, ha="center", fontsize=9)
            sheet.axes(start, header - COLUMN - 0.015, span, 0.001)
        for column, kind in enumerate(kinds):
            x = start + column * (cell_width + GAP)
            sheet.text(x + cell_width / 2, header - COLUMN / 2, KINDS[kind], ha="center")
            for row, states in enumerate(table.rows):
                state = states[group]
                projected = known.setdefault(id(state), _Projected(state, positions))
                y = header + row * (cell_height + GAP)
                _draw_map(sheet.axes(x, y, cell_width, cell_height), kind, projected)

    for row, states in enumerate(table.rows):
        y = header + row * (cell_height + GAP) + cell_height / 2
        channels, grid_height, grid_width = states[0].values.shape
        x = left - GAP - 0.06
        sheet.text(x, y - 0.18, table.labels[row], ha="right", fontsize=9)
        sheet.text(x, y, f"{channels} channels", ha="right", color=GREY, fontsize=7.5)
        grid = f"{grid_height}×{grid_width}, stride {states[0].stride}"
        sheet.text(x, y + 0.15, grid, ha="right", color=GREY, fontsize=7.5)
    for line, note in enumerate(notes):
        y = header + body + MARGIN / 2 + LINE * (line + 0.5)
        sheet.text(MARGIN, y, note, color=GREY, fontsize=7)
    return sheet.figure


def _cell(size: tuple[int, int]) -> tuple[float, float]:
    """Width and height in inches, proportioned like the view; no side is too short for titles."""
    width, height = size
    unit = max(CELL / max(size), 0.8 / min(size))
    return width * unit, height * unit


def _draw_map(axes: Axes, kind: str, projected: _Projected) -> None:
    made = projected[kind]
    if kind == "scatter":
        colours = plane_colours(made).reshape(-1, 3)
        x, y = made.reshape(-1, 2).T
        axes.scatter(x, y, c=colours, s=5, linewidths=0.15, edgecolors=INK, rasterized=True)
        axes.margins(0.06)
        return
    if kind == "tsne":
        picture = plane_colours(made)
    elif kind == "rgb":
        picture = np.stack([_stretch(map_) for map_ in made.maps], axis=-1)
    else:
        picture = _stretch(made if kind == "mean" else made.maps[0])
    axes.imshow(picture, COLOURS.get(kind), vmin=0, vmax=1, interpolation="nearest", aspect="auto")
    if kind in ("pca", "rgb"):
        share = sum(made.explained[: 1 if kind == "pca" else 3])
        axes.text(
            0.965,
            0.04,
            f"{100 * share:.0f} %",
            transform=axes.transAxes,
            ha="right",
            va="bottom",
            fontsize=6.5,
            color=INK,
            bbox={"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 1.2},
        )


def _draw_keys(
    sheet: _Sheet, x: float, y: float, cell: tuple[float, float], kinds: Sequence[str]
) -> None:
    """What the colours mean, in the room of one cell."""
    width, y = cell[0], y + 0.12
    ramp = np.linspace(0, 1, 128)
    if set(kinds) & set(COLOURS):
        sheet.text(x + 0.36, y, "low", fontsize=6.5, color=GREY)
        sheet.text(x + width, y, "high", fontsize=6.5, color=GREY, ha="right")
        y += 0.15
    for kind in [kind for kind in kinds if kind in COLOURS]:
        sheet.text(x, y, KINDS[kind], fontsize=7, color=GREY)
        bar = sheet.axes(x + 0.36, y - 0.05, width - 0.36, 0.1)
        bar.imshow(ramp[None], COLOURS[kind], aspect="auto")
        y += 0.2
    if "tsne" in kinds or "scatter" in kinds:
        y -= 0.02
        side = 0.5
        key = sheet.axes(x + 0.36, y, side, side)
        plane = np.stack(np.meshgrid(ramp, ramp), axis=-1)
        key.imshow(plane_colours(plane), origin="lower", aspect="auto")
        sheet.text(x, y + side / 2, "t-SNE", fontsize=7, color=GREY)


def _notes(table: _Table, kinds: Sequence[str], positions: int) -> str:
    """How to read the figure, in sentences."""
    notes = [table.note]
    if set(kinds) & {"mean", "pca", "rgb"}:
        notes.append(
            "Every map has its own colour range, from its 2nd to its 98th percentile, and every "
            "position is one block (nearest neighbour)."
        )
    if "mean" in kinds:
        notes.append("Mean: over channels.")
    components = [
        words
        for kind, words in (("pca", "PC 1"), ("rgb", "PC 1–3 as red, green and blue"))
        if kind in kinds
    ]
    if components:
        notes.append(
            f"Principal components ({'; '.join(components)}) are fitted to each map by itself, "
            "with the sign that makes the middle high; per cent: share of the variance."
        )
    if set(kinds) & {"tsne", "scatter"}:
        small = [
            features
            for states in table.rows
            for features in states
            if features.values[0].size > positions
        ]
        averaged = f"; grids of more than {positions:,} positions are averaged" if small else ""
        notes.append(
            f"t-SNE: to a plane (seed {SEED}, perplexity at most {PERPLEXITY}{averaged}), turned to "
            "lie like the first two components; the colour is the place in it."
        )
    return " ".join(note for note in notes if note)
