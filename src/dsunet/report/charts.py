"""The charts of a report, as data URIs of SVG."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from dsunet.metrics.cuts import Alarm, alarm_rates
from dsunet.visualize.figures import method_style, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["svg_uri", "threshold_chart"]


def threshold_chart(
    dice: np.ndarray, alarms: Sequence[Alarm], marks: Sequence[tuple[float, str]]
) -> str:
    """How overlap and false alarms depend on the threshold.

    Args:
        dice: The mean coefficient at or above each of the 256 grey values; empty without objects.
        alarms: Of the pictures without an object.
        marks: Thresholds to point at, each with its name.
    """
    figure = new_figure(6, 3.4, layout="constrained")
    axes = figure.subplots()
    thresholds = np.arange(1, 256) / 255
    if len(dice):
        style = method_style(0)
        axes.plot(thresholds, dice[1:256], label="mean Dice", **style._asdict())
    if alarms:
        rate = alarm_rates([alarm.highest for alarm in alarms])[1:]
        axes.plot(thresholds, rate, label="false-alarm rate", **method_style(1)._asdict())
    for number, (threshold, name) in enumerate(marks):
        axes.axvline(threshold, color="0.4", linewidth=1, linestyle=("-", ":")[number % 2])
        axes.annotate(
            f"{name} {threshold:g}",
            (threshold, 0.02 + 0.07 * number),
            xytext=(4, 0),
            textcoords="offset points",
            fontsize=8,
        )
    axes.set(xlabel="threshold", xlim=(0, 1), ylim=(0, 1.02))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    return svg_uri(figure)


def svg_uri(figure: Figure) -> str:
    """A figure as SVG; the same one as the same bytes."""
    from matplotlib import rc_context

    content = io.BytesIO()
    with rc_context({"svg.hashsalt": "dsunet"}):
        figure.savefig(content, format="svg", metadata={"Date": None, "Creator": None})
    return f"data:image/svg+xml;base64,{base64.b64encode(content.getvalue()).decode()}"
