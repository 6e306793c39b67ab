"""How maps are measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dsunet.config.checking import require, require_choices

__all__ = ["BestBy", "Measuring", "MeasuringProtocol"]

MeasuringProtocol = Literal["raw", "benchmark"]
BestBy = Literal["S", "F", "E", "MAE", "Dice", "IoU", "Dice_all"]


@dataclass(frozen=True)
class Measuring:
    """How maps are measured."""

    protocol: MeasuringProtocol = "raw"
    """`raw` measures maps as they are, and pictures without an object apart, by their false alarms;
    `benchmark`, the paper's, stretches each map from its least to its largest value first, and
    averages over all pictures."""

    threshold: float = 0.5
    """Probability from which a pixel is object, for Dice, IoU and false alarms; above 0 and at
    most 1."""

    def __post_init__(self) -> None:
        require_choices(self)
        require(0 < self.threshold <= 1, "threshold", self.threshold, "needs (0, 1]")
