"""Variants measured in turns, beside the rate of matrix products."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Self

from dsunet.benchmarking.children import Child, ChildError, Matrices
from dsunet.config import Variant
from dsunet.errors import ConfigError
from dsunet.running.place import Place, choose_device, choose_precision

__all__ = ["Failure", "MatrixRate", "Measured", "measure", "ratios"]


@dataclass(frozen=True)
class MatrixRate:
    """How quickly the device multiplied square matrices in the same run."""

    side: int
    dtype: str
    seconds: tuple[float, ...]
    """Of every product, one in each round."""

    @property
    def flops_per_second(self) -> float:
        """The median."""
        return 2 * self.side**3 / median(self.seconds)


@dataclass(frozen=True)
class Measured:
    """What a variant came to."""

    variant: Variant
    device: str
    precision: str
    """What `auto` was."""
    seconds: tuple[float, ...]
    """Of every step or prediction, one in each round."""
    flops: int
    """Of one step or prediction, see `count_flops`."""
    peak_bytes: int | None
    """The most memory, see `dsunet.benchmarking.memory`; `None` where the system does not tell."""
    rate: MatrixRate

    @property
    def median(self) -> float:
        """Seconds of a step, or of the prediction of a batch."""
        return median(self.seconds)

    @property
    def images_per_second(self) -> float:
        """From the median."""
        return self.variant.batch_size / self.median

    @property
    def share(self) -> float | None:
        """FLOPs per second over those of the matrix product; not of 8-bit ones."""
        if "int8" in self.variant.options:
            return None
        return self.flops / self.median / self.rate.flops_per_second

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "variant": self.variant.to_dict(),
            "device": self.device,
            "precision": self.precision,
            "seconds": [round(each, 6) for each in self.seconds],
            "median_seconds": round(self.median, 6),
            "min_seconds": round(min(self.seconds), 6),
            "max_seconds": round(max(self.seconds), 6),
            "images_per_second": round(self.images_per_second, 4),
            "peak_bytes": self.peak_bytes,
            "flops": None if self.share is None else self.flops,
            "matrix_product": {
                "side": self.rate.side,
                "dtype": self.rate.dtype,
                "flops_per_second": round(self.rate.flops_per_second),
                "seconds": [round(each, 6) for each in self.rate.seconds],
            },
            "share_of_matrix_product": None if self.share is None else round(self.share, 4),
        }


@dataclass(frozen=True)
class Failure:
    """A variant that could not be measured."""

    variant: Variant
    reason: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {"variant": self.variant.to_dict(), "failure": self.reason}


def measure(
    variants: Sequence[Variant],
    *,
    repeats: int = 5,
    warmup: int = 1,
    matrix_side: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    deadline: float | None = None,
) -> list[Measured | Failure]:
    """Measures variants in turns (A B … A B …), each in a process of its own.

    Args:
        variants: All of one device.
        repeats: Rounds that count.
        warmup: Rounds before them that do not.
        matrix_side: Side of the matrices whose product tells what the device can do; 2048 on a CPU
            and 8192 elsewhere if not given.
        progress: Called with the rounds that are done and their number.
        deadline: When to give up, on the clock of `time.monotonic`.

    Returns:
        A result for each variant, in their order; a failure of one leaves the others alone.

    Raises:
        ChildError: Matrices cannot be multiplied.
        DeviceError: The device or precision cannot be used.
        ConfigError: A number is too small.
    """
    for name, value in (("repeats", repeats), ("warmup", warmup)):
        if value < 1:
            raise ConfigError(f"{name} is {value}, but needs at least 1")
    device = choose_device(variants[0].device)
    places = [Place(device, choose_precision(v.precision, device)) for v in variants]
    kinds = [place.precision_name for place in places]
    side = matrix_side or (2048 if device.type == "cpu" else 8192)
    matrices = Matrices(side, tuple(sorted(set(kinds))), str(device))
    with _Crew(matrices, variants, deadline) as crew:
        crew.wait_until_ready()
        tell = progress or (lambda done, total: None)
        # on a GPU the first time all at once: compiling takes a core each, and minutes
        crew.warm_up(warmup, repeats, tell, at_once=device.type != "cpu")
        rounds = crew.rounds(warmup, repeats, tell, deadline)
        for child in crew.children.values():
            child.deadline = None  # one step more, or all of them would be for nothing
        peaks, flops = crew.ask("peak"), crew.ask("flops")
        tell(warmup + repeats, warmup + repeats)
    rates = {
        kind: MatrixRate(side, kind, tuple(products[kind] for _, products in rounds))
        for kind in matrices.dtypes
    }
    found: list[Measured | Failure] = []
    for i, (variant, kind) in enumerate(zip(variants, kinds, strict=True)):
        if i in crew.failures:
            found.append(Failure(variant, crew.failures[i]))
            continue
        seconds = tuple(steps[i] for steps, _ in rounds)
        found.append(Measured(variant, str(device), kind, seconds, flops[i], peaks[i], rates[kind]))
    return found


def ratios(baseline: Measured, ours: Measured) -> dict[str, float | None]:
    """How many times quicker ours is than the baseline, and its share of the baseline's memory.

    `speedup` is the ratio of the medians of seconds, above 1 where ours is the quicker one;
    `memory` that of the peaks, below 1 where ours takes less.
    """
    peaks = (ours.peak_bytes, baseline.peak_bytes)
    return {
        "speedup": round(baseline.median / ours.median, 4),
        "memory": round(peaks[0] / peaks[1], 4) if peaks[0] and peaks[1] else None,
    }


class _Crew:
    """A process for the matrices and one for each variant; those that fail leave."""

    def __init__(
        self, matrices: Matrices, variants: Sequence[Variant], deadline: float | None
    ) -> None:
        self.matrices = Child(matrices, deadline)
        self.dtypes = matrices.dtypes
        self.children = {i: Child(variant, deadline) for i, variant in enumerate(variants)}
        self.failures: dict[int, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for child in (self.matrices, *self.children.values()):
            child.close()

    def wait_until_ready(self) -> None:
        """Until everybody has said so."""
        self.matrices.answer()
        self._each(Child.answer)

    def warm_up(
        self, count: int, repeats: int, tell: Callable[[int, int], None], *, at_once: bool
    ) -> None:
        """Rounds that count for nothing; all variants `at_once` in the first, if so."""
        for number in range(count):
            tell(number, count + repeats)
            self.time(together=number == 0 and at_once)

    def rounds(
        self,
        warmup: int,
        repeats: int,
        tell: Callable[[int, int], None],
        deadline: float | None,
    ) -> list[tuple[dict[int, float], dict[str, float]]]:
        """Seconds of variants and products in every round that is over by the deadline."""
        done: list[tuple[dict[int, float], dict[str, float]]] = []
        longest = 0.0
        for number in range(repeats):
            started = time.monotonic()
            if done and deadline is not None and started + longest > deadline:
                break  # what is done counts
            tell(warmup + number, warmup + repeats)
            done.append(self.time())
            longest = max(longest, time.monotonic() - started)
        return done

    def ask(self, request: str) -> dict[int, Any]:
        """The answers of those that are left, one after another."""
        return self._each(lambda child: child.ask(request))

    def time(self, together: bool = False) -> tuple[dict[int, float], dict[str, float]]:
        """Seconds of each variant and of each product; `together` counts for nothing."""
        if together:
            for child in self.children.values():
                child.send("time")
            steps = self._each(Child.answer)
        else:
            steps = self.ask("time")
        return steps, {dtype: self.matrices.ask(dtype) for dtype in self.dtypes}

    def _each(self, do: Callable[[Child], Any]) -> dict[int, Any]:
        answers = {}
        for i, child in list(self.children.items()):
            try:
                answers[i] = do(child)
            except ChildError as failed:
                self.failures[i] = str(failed)
                child.close()
                del self.children[i]
        return answers
