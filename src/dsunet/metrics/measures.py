"""The paper's four measures of one prediction map after another."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from dsunet.errors import MissingPackageError

__all__ = ["MEASURES", "Measures"]

MEASURES = ("S", "F", "E", "MAE")


class Measures:
    """S-measure, adaptive F-measure, mean E-measure and mean absolute error over many maps.

    Computed by PySODMetrics: S with α = 0.5, F with β² = 0.3 at twice the map's mean, E as the mean
    of its curve over thresholds, MAE. PySODMetrics stretches every map to its full range first and
    takes mask values above 128 for object (paper section IV-B).

    Raises:
        MissingPackageError: PySODMetrics is not installed.
    """

    def __init__(self) -> None:
        try:
            import py_sod_metrics
            from py_sod_metrics.utils import prepare_data
        except ImportError as error:
            raise MissingPackageError(
                "metrics need the package pysodmetrics; pip install 'dsunet[evaluate]'"
            ) from error
        self._prepare = prepare_data
        with warnings.catch_warnings():
            # PySODMetrics will replace Fmeasure by FmeasureV2 one day; both give these values.
            warnings.simplefilter("ignore")
            self._f: Any = py_sod_metrics.Fmeasure()
        self._s: Any = py_sod_metrics.Smeasure()
        self._e: Any = py_sod_metrics.Emeasure()
        self._mae: Any = py_sod_metrics.MAE()

    def __len__(self) -> int:
        return len(self._mae.maes)

    def update(self, prediction: np.ndarray, mask: np.ndarray) -> dict[str, float]:
        """Adds one map; both H×W uint8 in 0..255. Returns this map's own values."""
        map_, truth = self._prepare(prediction, mask)
        for measure in (self._s, self._f, self._e, self._mae):
            measure.step(map_, truth, normalize=False)
        return {
            "S": float(self._s.sms[-1]),
            "F": float(self._f.adaptive_fms[-1]),
            "E": float(np.mean(self._e.changeable_ems[-1])),
            "MAE": float(self._mae.maes[-1]),
        }

    def compute(self) -> dict[str, float]:
        """The mean over all maps so far, by the names in `MEASURES`."""
        return {
            "S": float(self._s.get_results()["sm"]),
            "F": float(self._f.get_results()["fm"]["adp"]),
            "E": float(self._e.get_results()["em"]["curve"].mean()),
            "MAE": float(self._mae.get_results()["mae"]),
        }
