"""How quickly pairs are read, resized and put together to batches."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from dsunet.data import EpochSampler, Pair, PairDataset
from dsunet.errors import ConfigError
from dsunet.running.loaders import pair_loader

__all__ = ["LoaderSpeed", "measure_loader"]


@dataclass(frozen=True)
class LoaderSpeed:
    """What the data loader came to with a number of processes."""

    workers: int
    images: int
    """In each pass."""
    seconds: tuple[float, ...]
    """Of every pass."""

    @property
    def images_per_second(self) -> float:
        """From the median."""
        return self.images / median(self.seconds)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "workers": self.workers,
            "images": self.images,
            "seconds": [round(each, 6) for each in self.seconds],
            "images_per_second": round(self.images_per_second, 4),
        }


def measure_loader(
    pairs: Sequence[Pair],
    sizes: tuple[tuple[int, int], tuple[int, int] | None],
    *,
    batch_size: int,
    workers: Sequence[int] = (0, 1, 2),
    repeats: int = 5,
    warmup: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> list[LoaderSpeed]:
    """Times the loader that training uses, over all pairs, in turns for each number of processes.

    Every pair is read once before: files are in memory then, as after the first epoch.

    Args:
        pairs: What to read.
        sizes: Of the views, as `SegmentationModel.view_sizes` has them.
        batch_size: Images of a batch.
        workers: Numbers of processes beside the training's own; 0 for none.
        repeats: Passes that count.
        warmup: Passes before them that do not; the first starts the processes.
        progress: Called with the passes that are done and their number.

    Raises:
        ImageError: A pair cannot be read.
        ConfigError: A number is too small.
    """
    for name, value in (("batch_size", batch_size), ("repeats", repeats), ("warmup", warmup)):
        if value < 1:
            raise ConfigError(f"{name} is {value}, but needs at least 1")
    if not workers or min(workers) < 0:
        raise ConfigError(f"workers is {list(workers)}, but needs numbers of at least 0")
    dataset = PairDataset(pairs, *sizes, flips=(0.5, 0.5))
    for index in range(len(dataset)):
        dataset[0, index]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "This DataLoader will create")
        loaders = [  # as in training
            pair_loader(
                dataset, batch_size, EpochSampler(len(dataset)), workers=count, keep_workers=True
            )
            for count in workers
        ]
    seconds: list[list[float]] = [[] for _ in workers]
    for number in range(warmup + repeats):
        if progress:
            progress(number, warmup + repeats)
        for loader, times in zip(loaders, seconds, strict=True):
            started = time.perf_counter()
            for _ in loader:
                pass
            times.append(time.perf_counter() - started)
    if progress:
        progress(warmup + repeats, warmup + repeats)
    return [
        LoaderSpeed(count, len(dataset), tuple(times[warmup:]))
        for count, times in zip(workers, seconds, strict=True)
    ]
