"""Which measures there are, as data: a new one is a line of this table.

What computes them is imported when they are first used, since the command line's help lists them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from dsunet.errors import ConfigError, perhaps

if TYPE_CHECKING:
    import numpy as np

    from dsunet.metrics.inputs import Map

__all__ = [
    "ALL_MEASURES",
    "CURVES",
    "MEASURES",
    "OWN_MEASURES",
    "Measure",
    "check_measures",
    "measure_key",
    "usual_measures",
]

CURVES = ("precision", "recall", "F", "E")
"""Curves over 256 thresholds that every evaluation holds."""


@dataclass(frozen=True)
class Measure:
    """What one measure is called and how it comes about."""

    title: str
    """As plain text, for terminals and pictures."""
    latex: str
    """As LaTeX, for tables; it needs math mode's `$` around it nowhere but where it has them."""
    higher_is_better: bool
    definition: str
    """In one line."""
    curve: str = ""
    """The curve over thresholds that it is taken from; empty for one number per image."""
    of_curve: Literal["mean", "max"] = "mean"
    """What is taken from that curve."""
    of_map: Callable[[Map], float] | None = None
    """What gives it of one map, where no curve does."""

    def take(self, curve: np.ndarray) -> float:
        """The measure, from its curve."""
        return float(curve.max() if self.of_curve == "max" else curve.mean())


def _structure(map_: Map) -> float:
    from dsunet.metrics.structure import structure_measure

    mixed = 0 < map_.truth.count < map_.truth.size
    parts = map_.truth.quadrants if mixed else []
    return structure_measure(map_.values, map_.inside, map_.outside, parts)


def _adaptive_f(map_: Map) -> float:
    from dsunet.metrics.thresholds import f_measure

    return f_measure(map_.adaptive_counts)


def _weighted(map_: Map) -> float:
    from dsunet.metrics.weighted import weighted_f

    if map_.truth.count == 0:
        return 0.0
    return weighted_f(map_.values, map_.outside, map_.truth.weighting)


def _adaptive_alignment(map_: Map) -> float:
    from dsunet.metrics.thresholds import alignment

    return float(alignment(map_.adaptive_counts))


def _absolute_error(map_: Map) -> float:
    import numpy as np

    errors = map_.values - map_.truth.object
    np.abs(errors, out=errors)
    counted = map_.truth.counted
    return float(np.mean(errors if counted is None else errors[counted]))


def _boundary_iou(map_: Map) -> float:
    from dsunet.metrics.boundary import boundary_iou

    return boundary_iou(map_.boundary, map_.truth.boundary)


def _dice(map_: Map) -> float:
    return float(map_.overlaps["Dice"][map_.cut])


def _iou(map_: Map) -> float:
    return float(map_.overlaps["IoU"][map_.cut])


ALL_MEASURES = {
    "S": Measure(
        "S",
        r"$S_\alpha$",
        True,
        "structure measure with α = 0.5 (Fan et al., ICCV 2017)",
        of_map=_structure,
    ),
    "F": Measure(
        "F adp",
        r"$F_\beta^{\mathrm{adp}}$",
        True,
        "F-measure with β² = 0.3 at twice the map's mean (Achanta et al., CVPR 2009)",
        of_map=_adaptive_f,
    ),
    "Fmax": Measure(
        "F max",
        r"$F_\beta^{\max}$",
        True,
        "F-measure with β² = 0.3, maximum of the curve over 256 thresholds",
        "F",
        "max",
    ),
    "Fmean": Measure(
        "F mean",
        r"$F_\beta^{\mathrm{mean}}$",
        True,
        "F-measure with β² = 0.3, mean of the curve over 256 thresholds",
        "F",
    ),
    "Fw": Measure(
        "F weighted",
        r"$F_\beta^{\omega}$",
        True,
        "weighted F-measure with β² = 1 (Margolin et al., CVPR 2014)",
        of_map=_weighted,
    ),
    "E": Measure(
        "E mean",
        r"$E_\phi^{\mathrm{mean}}$",
        True,
        "enhanced-alignment measure (Fan et al., IJCAI 2018), mean over 256 thresholds",
        "E",
    ),
    "Emax": Measure(
        "E max",
        r"$E_\phi^{\max}$",
        True,
        "enhanced-alignment measure, maximum of the curve over 256 thresholds",
        "E",
        "max",
    ),
    "Eadp": Measure(
        "E adp",
        r"$E_\phi^{\mathrm{adp}}$",
        True,
        "enhanced-alignment measure at twice the map's mean",
        of_map=_adaptive_alignment,
    ),
    "MAE": Measure("MAE", r"$\mathcal{M}$", False, "mean absolute error", of_map=_absolute_error),
    "Dice": Measure(
        "Dice",
        "Dice",
        True,
        "Dice coefficient of the map as it is, cut at the threshold in use",
        of_map=_dice,
    ),
    "IoU": Measure(
        "IoU",
        "IoU",
        True,
        "intersection over union of the map as it is, cut at the threshold in use",
        of_map=_iou,
    ),
    "mDice": Measure(
        "mDice",
        "mDice",
        True,
        "Dice coefficient, mean over 256 thresholds, as polyp benchmarks print mDice",
        "Dice",
    ),
    "mIoU": Measure(
        "mIoU",
        "mIoU",
        True,
        "intersection over union, mean over 256 thresholds, as polyp benchmarks print mIoU",
        "IoU",
    ),
    "Dicemax": Measure(
        "Dice max",
        r"Dice$^{\max}$",
        True,
        "Dice coefficient, maximum of the curve over 256 thresholds",
        "Dice",
        "max",
    ),
    "IoUmax": Measure(
        "IoU max",
        r"IoU$^{\max}$",
        True,
        "intersection over union, maximum of the curve over 256 thresholds",
        "IoU",
        "max",
    ),
    "BIoU": Measure(
        "boundary IoU",
        "BIoU",
        True,
        "boundary IoU (Cheng et al., CVPR 2021) of the map at the threshold in use, or above half "
        "of its range if it is stretched, in a boundary as wide as 2 % of the diagonal",
        of_map=_boundary_iou,
    ),
}
"""Every measure by its key. The mean over images is PySODMetrics': of a measure taken from a curve
it is that of the images' mean curve, so `Fmax` is the maximum of the mean curve. A single image's
value is taken from its own curve."""

MEASURES = ("S", "F", "E", "MAE")
"""The paper's four (section IV-B)."""

OWN_MEASURES = (*MEASURES, "Dice", "IoU")
"""What is measured of own data, if nothing else is asked for."""


def usual_measures(protocol: str) -> tuple[str, ...]:
    """What is measured if nothing is asked for: the paper's four by its protocol."""
    return MEASURES if protocol == "benchmark" else OWN_MEASURES


def measure_key(name: str) -> str:
    """The key of a measure; the name itself if there is no such measure.

    Args:
        name: A key of `ALL_MEASURES`, or a title as tables print it; upper and lower case, and
            spaces, do not matter.
    """
    plain = "".join(name.casefold().split())
    for key, about in ALL_MEASURES.items():
        if plain in ("".join(each.casefold().split()) for each in (key, about.title)):
            return key
    return name


def check_measures(measures: Iterable[str]) -> tuple[str, ...]:
    """Their keys once each, in their order.

    Args:
        measures: As of `measure_key`.

    Raises:
        ConfigError: One is unknown, or there is none.
    """
    keys = tuple(dict.fromkeys(map(measure_key, measures)))
    unknown = [key for key in keys if key not in ALL_MEASURES]
    if unknown or not keys:
        what = f"there is no measure {', '.join(unknown)}" if unknown else "no measure is asked for"
        hint = perhaps(unknown[0] if unknown else "", ALL_MEASURES)
        raise ConfigError(f"{what}; choose among {', '.join(ALL_MEASURES)}{hint}")
    return keys
