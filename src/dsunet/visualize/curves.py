"""Training curves from a run's metrics.csv."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dsunet.visualize.classes import class_colours

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["curves_figure", "plot_curves"]

SHOWN = {
    "S": {"label": "S", "color": "tab:blue"},
    "F": {"label": "F", "color": "tab:orange"},
    "E": {"label": "E", "color": "tab:green"},
    "MAE": {"label": "MAE", "color": "tab:red"},
    "Dice": {"label": "Dice", "color": "tab:purple"},
    "IoU": {"label": "IoU", "color": "tab:brown"},
    "mIoU": {"label": "mean IoU", "color": "tab:brown"},
    "mDice": {"label": "mean Dice", "color": "tab:purple"},
    "false_alarm_rate": {"label": "false alarms", "color": "black", "linestyle": "--"},
    "MAE_without_object": {
        "label": "MAE without\nobject",
        "color": "tab:red",
        "linestyle": "--",
    },
}
"""Columns of validation, in the order of the legend, each with how it is drawn."""

OF_CLASS = "IoU/"
"""How the columns of single classes begin that are drawn, thinner, in the classes' colours."""


def plot_curves(metrics: Path, output: Path) -> None:
    """Draws the loss and the validation measures over epochs as a PNG.

    Args:
        metrics: A run's `metrics.csv`.
        output: The PNG file to write.
    """
    with open(metrics, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    curves_figure(rows).savefig(output, dpi=110, format="png")


def curves_figure(rows: Sequence[Mapping[str, str]], best_epoch: int = 0) -> Figure:
    """The loss and the validation measures over epochs.

    Args:
        rows: Those of a run's `metrics.csv`.
        best_epoch: Is pointed at, if there is one.
    """
    from matplotlib.figure import Figure

    def series(name: str) -> tuple[list[int], list[float]]:
        points = [(int(row["epoch"]), float(row[name])) for row in rows if row.get(name)]
        return [x for x, _ in points], [y for _, y in points]

    how = {name: about for name, about in SHOWN.items() if series(name)[0]}
    how |= _of_classes(dict.fromkeys(itertools.chain(*rows)))
    shown = list(how)
    measured = bool(shown)
    figure = Figure(figsize=(10 if measured else 5, 3.6), layout="constrained")
    axes = figure.subplots(1, 2 if measured else 1, squeeze=False)[0]
    axes[0].plot(*series("loss"), color="tab:blue", label="training")
    if series("val_loss")[0]:
        marker = "." if len(rows) < 40 else None
        axes[0].plot(*series("val_loss"), color="tab:orange", marker=marker, label="validation")
        axes[0].legend(frameon=False)
    axes[0].set(xlabel="epoch", ylabel="loss", title="Loss")
    axes[0].set_ylim(bottom=0)
    if measured:
        for name in shown:
            axes[1].plot(*series(name), marker="." if len(rows) < 40 else None, **how[name])
        axes[1].set(xlabel="epoch", title="Validation", ylim=(0, 1))
        if best_epoch:
            label = f"best epoch: {best_epoch}"
            axes[1].axvline(best_epoch, color="0.4", linewidth=1, linestyle=":", label=label)
        axes[1].legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    for axis in axes:
        axis.grid(alpha=0.3)
        axis.xaxis.get_major_locator().set_params(integer=True)
    return figure


def _of_classes(columns: Iterable[str]) -> dict[str, dict[str, Any]]:
    """How the columns of single classes are drawn."""
    names = [name for name in columns if name.startswith(OF_CLASS)]
    colours = (tuple(value / 255 for value in each) for each in class_colours(len(names)))
    return {
        name: {"label": f"IoU {name.removeprefix(OF_CLASS)}", "color": colour, "linewidth": 1}
        for name, colour in zip(names, colours, strict=True)
    }
