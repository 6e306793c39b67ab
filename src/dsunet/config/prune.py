"""What pruning takes away."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from dsunet.config.checking import require, require_choices
from dsunet.config.renamed import has_old_names

__all__ = ["FINE_TUNING", "PruneConfig"]


@has_old_names
@dataclass(frozen=True)
class PruneConfig:
    """What `dsunet prune` takes away, and how it chooses."""

    ratio: float = 0.5
    """Share of the channels that is taken out of every level of the decoder (RFB and SFF), of its
    attention and of the adapters; 0 for none. Parameters fall with the square of it."""

    decoder_ratio: float | None = None
    """The same for the levels of the decoder alone, instead of `ratio`."""

    attention_ratio: float | None = None
    """The same for query, key and value in the decoder's attention."""

    adapter_ratio: float | None = None
    """The same for the adapters' bottlenecks."""

    multiple: int = 4
    """Round the numbers of channels that stay to multiples of this: processors compute in such
    groups, and other numbers can take longer than the next larger multiple."""

    importance: Literal["auto", "taylor", "magnitude"] = "auto"
    """Which channels stay: `taylor`, those without which the loss would change most, judged by its
    gradient on training images; `magnitude`, those with the largest weights, which needs no images
    and chooses worse. `auto` is taylor where there are training images."""

    calibration: int = 128
    """Training images for that gradient, and for the mean and variance of the BatchNorms behind
    pruned channels, which are counted anew; 0 for none of both."""

    drop_semantic_blocks: int | Literal["auto"] = 0
    """How many of DINOv2's last blocks to leave out. `auto` measures every number of them on the
    validation images and takes the largest that costs no more than `tolerance`."""

    tolerance: float = 0.005
    """By how much `drop_semantic_blocks` auto may lower the S-measure, before any fine-tuning."""

    def __post_init__(self) -> None:
        require_choices(self)
        for field in ("ratio", "decoder_ratio", "attention_ratio", "adapter_ratio"):
            value = getattr(self, field)
            require(value is None or 0 <= value < 1, field, value, "needs [0, 1)")
        require(self.multiple >= 1, "multiple", self.multiple, "needs at least 1")
        require(self.calibration >= 0, "calibration", self.calibration, "needs at least 0")
        require(
            self.importance != "taylor" or self.calibration > 0,
            "calibration",
            self.calibration,
            "importance taylor needs some images",
        )
        dropped = self.drop_semantic_blocks
        require(
            dropped == "auto" or (isinstance(dropped, int) and dropped >= 0),
            "drop_semantic_blocks",
            dropped,
            "needs auto, or a number of at least 0",
        )
        require(0 <= self.tolerance < 1, "tolerance", self.tolerance, "needs [0, 1)")

    def ratio_of(self, part: Literal["decoder", "attention", "adapter"]) -> float:
        """The share that is taken out of one kind of layers."""
        own: float | None = getattr(self, f"{part}_ratio")
        return self.ratio if own is None else own


# What fine-tuning a pruned network starts from: `TrainConfig`'s fields that are not its defaults.
# Measures are by the paper's protocol, like those of the experiments.
FINE_TUNING: dict[str, Any] = {"epochs": 10, "lr": 3e-4, "protocol": "benchmark"}
