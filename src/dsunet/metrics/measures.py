"""The measures of one prediction map after another."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from dsunet.metrics.definitions import ALL_MEASURES, CURVES, MEASURES, check_measures

__all__ = ["ImageMeasures", "Measures", "measure"]


class ImageMeasures(NamedTuple):
    """The measures of one map."""

    values: dict[str, float]
    """By the keys of `ALL_MEASURES`; those of a curve are of this map's own."""
    curves: dict[str, np.ndarray]
    """Those in `CURVES`, and what other curves the measures need; 256 thresholds each."""


def measure(
    prediction: np.ndarray, mask: np.ndarray, measures: Iterable[str] = MEASURES
) -> ImageMeasures:
    """The measures of one map; map and mask H×W uint8 in 0..255."""
    import py_sod_metrics as p
    from py_sod_metrics.utils import prepare_data

    from dsunet.metrics.boundary import boundary, boundary_iou

    keys = check_measures(measures)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        f = p.Fmeasure()
    s, e, mae = p.Smeasure(), p.Emeasure(), p.MAE()
    v2 = p.FmeasureV2({"Dice": p.DICEHandler(True, False), "IoU": p.IOUHandler(True, False)})
    fw = p.WeightedFmeasure()
    m, t = prepare_data(prediction, mask)
    for each in (s, e, f, mae, v2, fw):
        each.step(m, t, normalize=False)
    handlers = v2._metric_handlers
    curves = {
        "precision": f.precisions[0],
        "recall": f.recalls[0],
        "F": f.changeable_fms[0],
        "E": e.changeable_ems[0],
        "Dice": handlers["Dice"].dynamic_results[0],
        "IoU": handlers["IoU"].dynamic_results[0],
    }
    direct = {
        "S": s.sms[0],
        "F": f.adaptive_fms[0],
        "Eadp": e.adaptive_ems[0],
        "MAE": mae.maes[0],
        "Fw": fw.weighted_fms[0],
        "BIoU": boundary_iou(boundary(m > 0.5), boundary(t)),
    }
    values = {}
    for key in keys:
        about = ALL_MEASURES[key]
        if about.curve:
            values[key] = float(getattr(np, about.of_curve)(curves[about.curve]))
        else:
            values[key] = float(direct[key])
    return ImageMeasures(values, curves)


class Measures:
    """Measures over many maps.

    The mean is taken as PySODMetrics does: over the images' values, or over their curves before
    the mean or maximum of the curve.

    Args:
        measures: Keys of `ALL_MEASURES`.

    Raises:
        ValueError: A measure is unknown.
    """

    def __init__(self, measures: Sequence[str] = MEASURES) -> None:
        self.measures = check_measures(measures)
        self._values: dict[str, list[float]] = {key: [] for key in self.measures}
        self._sums: dict[str, np.ndarray] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, one: ImageMeasures) -> None:
        """Adds one map's measures."""
        self._count += 1
        for key, values in self._values.items():
            values.append(one.values[key])
        for name, curve in one.curves.items():
            self._sums[name] = self._sums[name] + curve if name in self._sums else curve

    def update(self, prediction: np.ndarray, mask: np.ndarray) -> None:
        """Adds one map; both H×W uint8 in 0..255."""
        self.add(measure(prediction, mask, self.measures))

    def curves(self) -> dict[str, np.ndarray]:
        """Those in `CURVES`, the mean over all maps so far."""
        return {name: self._sums[name] / self._count for name in CURVES}

    def compute(self) -> dict[str, float]:
        """The mean over all maps so far, by key."""
        return {key: self._compute(key) for key in self.measures}

    def _compute(self, key: str) -> float:
        about = ALL_MEASURES[key]
        if not about.curve:
            return float(np.mean(np.array(self._values[key], np.float64)))
        curve = self._sums[about.curve] / self._count
        return float(curve.max() if about.of_curve == "max" else curve.mean())
