"""The paper's four measures of one prediction map after another."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np

from dsunet.errors import MissingPackageError

__all__ = ["MEASURES", "ImageMeasures", "Measures"]

MEASURES = ("S", "F", "E", "MAE")


class ImageMeasures(NamedTuple):
    """The measures of one map; E at each of 256 thresholds."""

    s: float
    f: float
    e: np.ndarray
    mae: float

    def to_dict(self) -> dict[str, float]:
        """By the names in `MEASURES`; E as the mean of its curve."""
        values = (self.s, self.f, float(np.mean(self.e)), self.mae)
        return dict(zip(MEASURES, values, strict=True))


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
        self._library: Any = py_sod_metrics
        self._prepare = prepare_data
        self._all: list[ImageMeasures] = []

    def __len__(self) -> int:
        return len(self._all)

    def measure(self, prediction: np.ndarray, mask: np.ndarray) -> ImageMeasures:
        """The measures of one map, without adding it; both H×W uint8 in 0..255."""
        with warnings.catch_warnings():
            # PySODMetrics will replace Fmeasure by FmeasureV2 one day; both give these values.
            warnings.simplefilter("ignore")
            f = self._library.Fmeasure()
        s, e, mae = self._library.Smeasure(), self._library.Emeasure(), self._library.MAE()
        map_, truth = self._prepare(prediction, mask)
        for each in (s, f, e, mae):
            each.step(map_, truth, normalize=False)
        return ImageMeasures(
            float(s.sms[0]), float(f.adaptive_fms[0]), e.changeable_ems[0], float(mae.maes[0])
        )

    def add(self, one: ImageMeasures) -> None:
        """Adds one map's measures."""
        self._all.append(one)

    def update(self, prediction: np.ndarray, mask: np.ndarray) -> None:
        """Adds one map; both H×W uint8 in 0..255."""
        self.add(self.measure(prediction, mask))

    def compute(self) -> dict[str, float]:
        """The mean over all maps so far, by the names in `MEASURES`."""
        columns = (np.array(column, np.float64) for column in zip(*self._all, strict=True))
        return {
            name: float(np.mean(np.mean(column, axis=0)))
            for name, column in zip(MEASURES, columns, strict=True)
        }
