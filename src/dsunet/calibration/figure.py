"""A calibration as a picture: overlap over the threshold, and scores of pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dsunet.calibration.thresholds import Calibration, Observed
from dsunet.metrics.cuts import alarm_rates
from dsunet.support.files import replace_durably, temporary_beside
from dsunet.visualize.figures import method_style, new_figure

__all__ = ["draw"]

TEXT = 9


def draw(seen: Sequence[Observed], found: Calibration, path: Path) -> None:
    """Draws the curves that thresholds were chosen by, with intervals.

    Args:
        seen: The pictures.
        found: What was chosen on them.
        path: The PNG to write.
    """
    objects = [one for one in seen if one.curves]
    empties = [one for one in seen if not one.curves]
    both = found.image_threshold is not None
    figure = new_figure(10 if both else 5.2, 3.8, layout="constrained")
    axes = figure.subplots(1, 2 if both else 1, squeeze=False)[0]
    thresholds = np.arange(1, 256) / 255
    for number, name in enumerate(("Dice", "IoU", "recall") if objects else ()):
        mean = np.mean([one.curves[name] for one in objects], axis=0)[1:]
        axes[0].plot(thresholds, mean, label=f"mean {name}", **method_style(number)._asdict())
    if empties:
        rate = alarm_rates([one.highest for one in empties])[1:]
        label = f"false alarms of {len(empties)}"
        axes[0].plot(thresholds, rate, label=label, **method_style(3)._asdict())
    axes[0].axvspan(*found.interval, color="0.85", zorder=0, label="95 % interval")
    axes[0].axvline(found.threshold, color="0.25", linewidth=1)
    axes[0].set_title(f"threshold {found.threshold:g}: {found.wanted.rule}", fontsize=TEXT + 1)
    axes[0].set(xlabel="threshold of a pixel", xlim=(0, 1), ylim=(0, 1.02))
    if both and found.image_interval is not None:
        bins = np.linspace(0, 1, 26)
        for place, (kind, label) in enumerate(
            ((objects, "with an object"), (empties, "without one"))
        ):
            scores = [one.score for one in kind]
            colour = method_style(place).color
            axes[1].hist(
                scores,
                bins,
                weights=np.full(len(scores), 1 / len(scores)),
                color=colour,
                alpha=0.55,
                label=f"{len(scores)} pictures {label}",
            )
        axes[1].axvspan(*found.image_interval, color="0.85", zorder=0, label="95 % interval")
        axes[1].axvline(found.image_threshold, color="0.25", linewidth=1)
        area = found.after.detection.auroc
        axes[1].set_title(
            f"image threshold {found.image_threshold:.3g}; AUROC {area:.3f}", fontsize=TEXT + 1
        )
        axes[1].set(xlabel="score of a picture", ylabel="share of its kind", xlim=(0, 1))
    for axis in axes:
        axis.grid(alpha=0.3)
        axis.tick_params(labelsize=TEXT)
        axis.legend(
            frameon=False, fontsize=TEXT, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2
        )
    with temporary_beside(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")
        replace_durably(temporary, path)
