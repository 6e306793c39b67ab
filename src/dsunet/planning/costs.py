"""What a training takes, by what a short one took: plain arithmetic."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["Costs", "Length", "length_within", "validations"]

_FEWEST = 5  # so many validations at least, or two of fewer epochs than these
_FEW_EPOCHS = 20
_SHARE = 0.1  # of an epoch's time that validation may take in the mean, beyond that


@dataclass(frozen=True)
class Costs:
    """What parts of a training take, in seconds, and the memory of all."""

    start: float
    """From the start of the process until the first epoch, the check of the data apart."""
    check: float
    """Checking one pair."""
    first: float
    """What the first epoch and the first validation take more than others, such as starting the
    processes that read."""
    image: float
    """Training on one image."""
    keeping: float
    """Writing what is kept after every epoch."""
    validation: float
    """Validating on one image."""
    best: float
    """What comes on top of a validation: weights and pictures of a best epoch."""
    report: float
    """Making the report, but for its images."""
    memory: float
    """The most that the process had, in bytes; on a GPU of tensors there; 0 where the system does
    not tell."""

    def seconds(self, epochs: int, val_every: int, training: int, validation: int) -> float:
        """What a training takes, from the start of its process to its end.

        Args:
            epochs: How many.
            val_every: Validation comes after every so many, and after the last.
            training: Images in an epoch.
            validation: Images in a validation; 0 for none.
        """
        fixed = self.start + self.check * (training + validation) + self.first + self.report
        each = self.image * training + self.keeping
        if not validation:
            return fixed + epochs * each
        count = validations(epochs, val_every)
        once = self.validation * validation
        return fixed + epochs * each + count * (once + self.best) + once  # the report's, too


def validations(epochs: int, val_every: int) -> int:
    """How many there are: after every so many epochs, and after the last."""
    return -(-epochs // val_every)


@dataclass(frozen=True)
class Length:
    """How long to train."""

    epochs: int
    val_every: int
    seconds: float
    """What that takes."""


def length_within(
    costs: Costs,
    budget: float,
    training: int,
    validation: int,
    *,
    most: int,
    epochs: int | None = None,
    val_every: int | None = None,
) -> Length:
    """The most epochs that a time has room for, at least one, with validation now and then.

    Validation takes a tenth of the time at most, unless it would be done less than five times then,
    or twice where epochs are few.

    Args:
        costs: Of this model, view and batch.
        budget: Seconds.
        training: Images in an epoch.
        validation: Images in a validation.
        most: More epochs than these are of no use.
        epochs: A number that is told.
        val_every: A number that is told.
    """
    each = costs.image * training + costs.keeping
    once = costs.validation * validation + costs.best
    seldom = max(1, math.ceil(once / (_SHARE * each))) if validation and each > 0 else 1

    def every(count: int) -> int:
        fewest = _FEWEST if count >= _FEW_EPOCHS else 2
        return val_every or max(1, min(seldom, -(-count // fewest)))

    def taken(count: int) -> float:
        return costs.seconds(count, every(count), training, validation)

    if epochs is None:
        low, high = 1, max(1, most)
        room = budget * (1 + 1e-9)  # as seconds are sums of rounded ones
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if taken(middle) <= room else (low, middle - 1)
        epochs = low
    return Length(epochs, every(epochs), taken(epochs))
