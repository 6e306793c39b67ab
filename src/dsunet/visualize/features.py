"""Figures of feature maps, after Figs. 1 and 2 of the paper.

Every cell shows one map at the grid's own resolution, each position as a block (nearest-neighbour
upsampling), so that nothing is smoothed that the network does not smooth.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dsunet.errors import MissingPackageError
from dsunet.visualize.cells import COLOURS, KINDS, Projected, check_kinds, draw_map, plane_colours
from dsunet.visualize.extraction import FeatureMap, FeatureMaps, FusedLevel
from dsunet.visualize.figures import Sheet
from dsunet.visualize.projections import PERPLEXITY, TSNE_POSITIONS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "FIGURES",
    "draw_features",
    "need_packages",
]

FIGURES = ("hiera", "dinov2", "fusion")

# inches
CELL, GAP, MARGIN, LABEL, GROUP_GAP = 1.2, 0.06, 0.12, 1.1, 0.22
TITLE, GROUP, COLUMN, LINE, KEYS = 0.46, 0.25, 0.2, 0.15, 1.2
CHARACTER = 0.05  # of the notes, on average
GREY = "#555555"


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
            "figures of features need the packages scikit-learn and matplotlib; "
            "pip install 'dsunet[features]'"
        ) from error


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
    known = _Known(features, positions)
    return {
        name: _draw(table, features, kinds, model, known)
        for name, table in _tables(features).items()
    }


def _tables(features: FeatureMaps) -> dict[str, _Table]:
    tables = {"hiera": _hiera_table(features)}
    if features.semantic:
        blocks = features.semantic
        tables["dinov2"] = _Table(
            "DINOv2’s patch tokens",
            ("",),
            [block.name.capitalize() for block in blocks],
            [(block,) for block in blocks],
            "Before the final LayerNorm.",
        )
    if features.fusion:
        encoder = "Hiera" if features.has_hiera else "encoder"
        tables["fusion"] = _fusion_table(features.fusion, encoder)
    return tables


def _hiera_table(features: FeatureMaps) -> _Table:
    title = "Hiera’s levels" if features.has_hiera else "The encoder’s levels"
    plain, own = features.pyramid_without_adapters, features.pyramid
    labels = [level.name.capitalize() for level in own]
    if not plain:
        note = "This model has no adapters, so there is nothing to switch off."
        return _Table(title, ("",), labels, [(level,) for level in own], note)
    groups = ("without adapters", "with adapters")
    return _Table(title, groups, labels, list(zip(plain, own, strict=True)))


def _fusion_table(levels: Sequence[FusedLevel], encoder: str) -> _Table:
    """A row for every level; for the three states of a single one."""
    note = "DINOv2: after channel modulation (WTD). Fused: by content-guided attention (CGA)."
    if len(levels) == 1:
        states = (levels[0].before, levels[0].semantics, levels[0].after)
        labels = (encoder, "DINOv2", "Fused")
        title = f"Fusion at {states[0].name}"
        return _Table(title, ("",), labels, [(state,) for state in states], note)
    groups = (encoder, "DINOv2", "fused")
    names = [level.before.name.capitalize() for level in levels]
    rows = [(level.before, level.semantics, level.after) for level in levels]
    return _Table("Fusion", groups, names, rows, note)


class _Known:
    """Projections by feature map: some maps are in two figures, and some go with others."""

    def __init__(self, features: FeatureMaps, positions: int) -> None:
        self.positions = positions
        self._made: dict[int, Projected] = {}
        pairs = list(zip(features.pyramid, features.pyramid_without_adapters, strict=False))
        for level in features.fusion:
            pairs += [(level.semantics, level.before), (level.after, level.before)]
        self._before: dict[int, FeatureMap] = {}
        for after, before in pairs:
            earlier: FeatureMap | None = before
            while earlier is not None and earlier is not after:
                earlier = self._before.get(id(earlier))
            if earlier is None:  # one map may stand in two places
                self._before[id(after)] = before

    def of(self, features: FeatureMap) -> Projected:
        if id(features) not in self._made:
            before = self._before.get(id(features))
            like = self.of(before) if before is not None else None
            self._made[id(features)] = Projected(features, self.positions, like)
        return self._made[id(features)]


def _draw(
    table: _Table, features: FeatureMaps, kinds: Sequence[str], model: str, known: _Known
) -> Figure:
    """Left the input and the keys, then a row of maps for every level or block."""
    cell = _cell(features.image.size)
    step_x, step_y = cell[0] + GAP, cell[1] + GAP
    left, top = MARGIN + step_x + LABEL, MARGIN + TITLE + COLUMN
    top += GROUP if len(table.groups) > 1 else 0
    span = len(kinds) * step_x - GAP  # of a group
    starts = [left + group * (span + GROUP_GAP) for group in range(len(table.groups))]
    end = starts[-1] + span
    alone = len(table.rows) == 1  # then there is no row for the keys below the input
    width = end + MARGIN + (step_x if alone else 0)
    bottom = top + max(len(table.rows) * step_y, KEYS if alone else 0)
    notes = textwrap.wrap(_notes(table, kinds, known), int((width - 2 * MARGIN) / CHARACTER))
    sheet = Sheet(width, bottom + MARGIN / 2 + LINE * len(notes) + MARGIN)

    sheet.text(MARGIN, MARGIN + 0.08, table.title, fontsize=11, fontweight="bold")
    sheet.text(MARGIN, MARGIN + 0.28, model, color=GREY)
    sheet.text(MARGIN + cell[0] / 2, top - COLUMN / 2, "input", ha="center")
    sheet.axes(MARGIN, top, *cell).imshow(features.image, aspect="auto")
    _draw_keys(sheet, *((end + GAP * 2, top) if alone else (MARGIN, top + step_y)), cell[0], kinds)
    for row, states in enumerate(table.rows):
        y = top + row * step_y
        _draw_label(sheet, left - GAP * 2, y + cell[1] / 2, table.labels[row], states[0])
        for start, state in zip(starts, states, strict=True):
            for column, kind in enumerate(kinds):
                axes = sheet.axes(start + column * step_x, y, *cell)
                draw_map(axes, kind, known.of(state))
    for start, group in zip(starts, table.groups, strict=True):
        for column, kind in enumerate(kinds):
            x = start + column * step_x + cell[0] / 2
            sheet.text(x, top - COLUMN / 2, KINDS[kind], ha="center")
        if len(table.groups) > 1:
            sheet.text(start + span / 2, top - COLUMN - GROUP / 2, group, ha="center", fontsize=9)
            sheet.axes(start, top - COLUMN - 0.015, span, 0.001)
    for line, note in enumerate(notes):
        y = bottom + MARGIN / 2 + LINE * (line + 0.5)
        sheet.text(MARGIN, y, note, color=GREY, fontsize=7)
    return sheet.figure


def _draw_label(sheet: Sheet, x: float, y: float, label: str, features: FeatureMap) -> None:
    """What a row shows, right-aligned before it."""
    channels, height, width = features.values.shape
    small: dict[str, Any] = {"ha": "right", "color": GREY, "fontsize": 7.5}
    sheet.text(x, y - 0.18, label, ha="right", fontsize=9)
    sheet.text(x, y, f"{channels} channels", **small)
    sheet.text(x, y + 0.15, f"{height}×{width}, stride {features.stride}", **small)


def _cell(size: tuple[int, int]) -> tuple[float, float]:
    """Width and height in inches, proportioned like the view; no side is too short for titles."""
    width, height = size
    unit = max(CELL / max(size), 1.0 / min(size))
    return width * unit, height * unit


def _draw_keys(sheet: Sheet, x: float, y: float, width: float, kinds: Sequence[str]) -> None:
    """What the colours mean, in about the room of one cell."""
    y += 0.12
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


def _notes(table: _Table, kinds: Sequence[str], known: _Known) -> str:
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
            if features.values[0].size > known.positions
        ]
        bound = f"; grids of more than {known.positions:,} positions are averaged" if small else ""
        notes.append(
            f"t-SNE: to a plane (perplexity at most {PERPLEXITY}{bound}), started from the first "
            "two components and turned to lie like them; the colour is the place in it."
        )
    return " ".join(note for note in notes if note)
