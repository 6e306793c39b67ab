"""What is measured for speed and memory, and the naive way that it is compared with."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from dsunet.config.network import ModelConfig
from dsunet.config.training import Precision
from dsunet.errors import ConfigError

__all__ = ["Variant"]


@dataclass(frozen=True)
class Variant:
    """One way to train or to predict.

    Raises:
        ConfigError: The settings exclude each other.
    """

    name: str
    """Under which it stands in tables."""
    task: Literal["train", "predict"]
    model: ModelConfig
    batch_size: int
    device: str = "auto"
    precision: Precision = "auto"
    naive: bool = False
    """Attention of DINOv2 and of the decoder with its whole matrix, and all outputs."""
    feature_cache: bool = False
    """DINOv2's maps are read from a file, and DINOv2 is not there."""
    checkpointing: bool = False
    """Hiera's activations are computed again on the way back instead of being kept."""
    keep_memory: bool = False
    """Freed memory stays with the process, see `TrainConfig`; for training on CPUs alone."""
    compile: bool = False
    """The network goes through `torch.compile`."""
    channels_last: bool | None = None
    """Memory layout; `None` for what training and prediction choose."""
    options: tuple[str, ...] = ()
    """Arguments of `Segmenter` that are set to true; for prediction alone."""

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ConfigError(f"batch_size is {self.batch_size}, but needs at least 1")
        if self.feature_cache and not self.model.uses_semantic:
            raise ConfigError(
                f"feature_cache is on, but {self.model.name} has no DINOv2 whose features could be "
                "kept: turn it off"
            )
        if self.feature_cache and self.model.train_semantic:
            raise ConfigError(
                f"feature_cache is on, but {self.model.name} trains DINOv2, so its features change "
                "with every step: turn it off, or freeze DINOv2 (`train_semantic` false)"
            )

    def baseline(self) -> Variant:
        """The naive way to the same: float32, whole attention matrices, all outputs, no cache."""
        return replace(
            self,
            name="naive",
            precision="float32",
            naive=True,
            feature_cache=False,
            checkpointing=False,
            keep_memory=False,
            compile=False,
            channels_last=False,
            options=(),
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {**asdict(self), "model": self.model.to_dict(), "options": list(self.options)}
