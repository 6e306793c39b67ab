"""The paper's protocol, and what of it a reproduction changes."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from dsunet.config.training import Precision
from dsunet.errors import ConfigError, perhaps

__all__ = ["SIZES", "Protocol"]

SIZES = ("large", "base", "small", "tiny", "nano")


@dataclass(frozen=True)
class Protocol:
    """What of the paper's protocol is changed, and on what it runs."""

    size: str = "large"
    """Size of the networks: `large` is the paper's, `nano` needs no pretrained encoders."""

    seeds: tuple[int, ...] = (0,)
    """Seeds to train every method with; with several, tables show mean and standard deviation."""

    epochs: int | None = None
    """Epochs of every method, instead of the paper's."""

    batch_size: int | None = None
    """Batch size of every method, instead of the paper's."""

    limit: int | None = None
    """Train on this many pairs, and test on this many of each set: a rehearsal."""

    weights: str = "default"
    """What encoders start from: `default`, their public weights (random ones for nano), or
    `none`."""

    encoders: str | None = None
    """Folder with the official files of SAM2 and DINOv2, to take instead of a download."""

    device: str = "auto"
    """`auto`, `cpu`, `cuda`, `cuda:1`, `mps`."""

    precision: Precision = "auto"
    """Number type of training and prediction: `auto`, `float32`, `bfloat16`, `float16`."""

    workers: int = 2
    """Processes that read images beside a training."""

    feature_cache: str = "off"
    """Where trainings keep DINOv2's maps, as in `TrainConfig`."""

    cache_budget: float = 50.0
    """The most that the maps of one method and task may take of the disk, in GB (10⁹ bytes)."""

    def __post_init__(self) -> None:
        if self.size not in SIZES:
            hint = perhaps(self.size, SIZES)
            raise ConfigError(f"size is {self.size!r}, but needs one of {', '.join(SIZES)}{hint}")
        if self.weights not in ("default", "none"):
            raise ConfigError(f"weights is {self.weights!r}, but needs default or none")
        object.__setattr__(self, "seeds", tuple(self.seeds))
        if not self.seeds or len(set(self.seeds)) != len(self.seeds) or min(self.seeds) < 0:
            raise ConfigError(f"seeds is {self.seeds}, but needs different numbers of at least 0")
        for name, least in (("limit", 2), ("epochs", 1), ("batch_size", 1), ("workers", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ConfigError(f"{name} is {value}, but needs at least {least}")

    @property
    def changes(self) -> dict[str, Any]:
        """What decides the results, but for the seeds."""
        whole = asdict(self) | {"feature_cache": self.feature_cache != "off"}
        names = ("size", "epochs", "batch_size", "limit", "weights", "feature_cache")
        return {name: whole[name] for name in names}
