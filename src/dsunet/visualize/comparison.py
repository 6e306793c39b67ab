"""Figures that set several methods side by side: curves over thresholds, and histograms."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dsunet.visualize.figures import method_style, new_figure, plain, save_figure

__all__ = ["plot_histograms", "plot_precision_recall", "plot_thresholds"]

Curves = Mapping[str, np.ndarray]
"""A method's curves, as `Evaluation.curves` has them."""
Scores = Mapping[str, Mapping[str, float]]
"""A method's scores by image and measure, as `Evaluation.per_image` has them."""

BINS = 20
MOST_COLUMNS = 7
TEXT = 8


def plot_precision_recall(curves: Mapping[str, Curves], base: Path) -> list[Path]:
    """Precision over recall, a line for each method, as PNG and PDF.

    Args:
        curves: By method; "precision" and "recall" at 256 thresholds.
        base: Where to, without the ending.

    Returns:
        The files.
    """
    figure = new_figure(4.0 + _legend_width(curves), 3.5, layout="constrained")
    axes = figure.subplots()
    for number, (method, values) in enumerate(curves.items()):
        axes.plot(
            values["recall"],
            values["precision"],
            label=plain(method),
            linewidth=1.4,
            **method_style(number)._asdict(),
        )
    axes.set_xlabel("recall", fontsize=TEXT + 1)
    axes.set_ylabel("precision", fontsize=TEXT + 1)
    _finish(axes, [values["precision"] for values in curves.values()])
    axes.set_xlim(0, 1.005)
    _legend(figure, axes)
    return save_figure(figure, base)


def plot_thresholds(curves: Mapping[str, Curves], base: Path) -> list[Path]:
    """F-measure and E-measure over the threshold of the map, as PNG and PDF.

    Args:
        curves: By method; "F" and "E" at 256 thresholds, the highest, 255, first.
        base: Where to, without the ending.

    Returns:
        The files.
    """
    figure = new_figure(6.6 + _legend_width(curves), 3.0, layout="constrained")
    both = figure.subplots(1, 2)
    for axes, name in zip(both, ("F", "E"), strict=True):
        for number, (method, values) in enumerate(curves.items()):
            thresholds = np.arange(255, -1, -1)
            style = method_style(number)._asdict()
            axes.plot(thresholds, values[name], label=plain(method), linewidth=1.4, **style)
        axes.set_xlabel("threshold", fontsize=TEXT + 1)
        axes.set_ylabel(f"{name}-measure", fontsize=TEXT + 1)
        _finish(axes, [values[name] for values in curves.values()])
        axes.set_xlim(-1, 256)
        axes.set_xticks([0, 50, 100, 150, 200, 255])
    _legend(figure, both[0])
    return save_figure(figure, base)


def plot_histograms(
    scores: Mapping[str, Scores],
    measures: Mapping[str, str],
    base: Path,
) -> list[Path]:
    """How each method's scores are spread over the images, as PNG and PDF.

    A row for each method and a column for each measure; the columns go on in further rows where
    there are many. In a column the ranges and heights are the same for all methods. The dashed line
    and the number are the mean over the images.

    Args:
        scores: By method, image and measure.
        measures: The measures' titles, by key.
        base: Where to, without the ending.

    Returns:
        The files.
    """
    keys = list(measures)
    blocks = math.ceil(len(keys) / MOST_COLUMNS)
    columns = math.ceil(len(keys) / blocks)
    count = len(scores)
    label = 0.25 + min(2.0, 0.065 * max(map(len, scores)))
    figure = new_figure(
        label + 1.45 * columns, blocks * (0.62 * count + 0.75), layout="constrained"
    )
    figure.supxlabel("dashed line and number: mean over the images", fontsize=TEXT - 1)
    for block, part in enumerate(figure.subfigures(blocks, 1, squeeze=False)[:, 0]):
        shown = keys[block * columns : (block + 1) * columns]
        grid = part.subplots(count, columns, squeeze=False)
        for axes, method in zip(grid[:, 0], scores, strict=True):
            axes.set_ylabel(
                plain(_cut(method, 30)), rotation=0, ha="right", va="center", fontsize=TEXT
            )
        for column, key in enumerate(shown):
            _histogram_column(grid[:, column], scores, key, measures[key])
        for axes in grid[:, len(shown) :].flat:
            axes.set_axis_off()
    return save_figure(figure, base)


def _histogram_column(all_axes: Any, scores: Mapping[str, Scores], key: str, title: str) -> None:
    """One measure's histograms, a method below the other."""
    values = {
        # an image without an object may have no such score
        method: np.array([image[key] for image in images.values() if key in image])
        for method, images in scores.items()
    }
    everything = np.concatenate(list(values.values()))
    low, high = _range(everything)
    highest = 0.0
    for number, (axes, each) in enumerate(zip(all_axes, values.values(), strict=True)):
        counts, edges = np.histogram(each.clip(low, high), BINS, (low, high))
        shares = counts / each.size
        axes.stairs(shares, edges, fill=True, color=method_style(number).color, alpha=0.8)
        highest = max(highest, float(shares.max()))
        mean = float(each.mean())
        axes.axvline(mean, color="white", linewidth=1.6)
        axes.axvline(mean, color="black", linewidth=0.8, linestyle=(0, (3, 2)))
        right = mean > (low + high) / 2  # the number goes where there is room
        axes.text(
            0.03 if right else 0.97,
            0.92,
            f"{mean:.3f}",
            transform=axes.transAxes,
            ha="left" if right else "right",
            va="top",
            fontsize=TEXT - 1,
        )
    for axes in all_axes:
        axes.set_xlim(low, high)
        axes.set_ylim(0, 1.12 * highest)
        axes.set_yticks([])
        axes.set_xticks([low, (low + high) / 2, high])
        axes.tick_params(labelbottom=False, labelsize=TEXT - 1, length=2)
        axes.spines[["top", "right", "left"]].set_visible(False)
    last = all_axes[-1]
    last.tick_params(labelbottom=True)
    last.set_xticks(
        [low, (low + high) / 2, high], [f"{x:g}" for x in (low, (low + high) / 2, high)]
    )
    for text, side in zip(last.get_xticklabels(), ("left", "center", "right"), strict=True):
        text.set_horizontalalignment(side)
    all_axes[0].set_title(plain(title), fontsize=TEXT + 1)


def _range(values: np.ndarray) -> tuple[float, float]:
    """The tenths within which all scores lie; PySODMetrics' E may be a little above 1."""
    low = math.floor(round(10 * float(values.min()), 6)) / 10
    high = min(1.0, math.ceil(round(10 * float(values.max()), 6)) / 10)
    return (low, high) if high > low else (max(0.0, high - 0.1), max(0.1, high))


def _finish(axes: Any, values: Sequence[np.ndarray]) -> None:
    """Limits, grid and sizes of a plot of curves; the axis begins at the lowest tenth."""
    low = math.floor(round(10 * min(float(v.min()) for v in values), 6)) / 10
    axes.set_ylim(min(low, 0.9), 1.005)
    axes.yaxis.get_major_locator().set_params(nbins=6, steps=[1, 2, 5, 10])
    axes.grid(alpha=0.3, linewidth=0.6)
    axes.tick_params(labelsize=TEXT)
    axes.spines[["top", "right"]].set_visible(False)


def _legend(figure: Any, axes: Any) -> None:
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(
        handles,
        [_cut(label, 30) for label in labels],
        loc="outside right upper",
        fontsize=TEXT,
        frameon=False,
        handlelength=3.2,
    )


def _legend_width(methods: Mapping[str, Any]) -> float:
    """In inches."""
    return 0.7 + 0.065 * min(30, max(map(len, methods)))


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
