"""Lines that say how far an epoch is, where no progress bar does."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import lightning as L

from dsunet.training.module import SegmentationModule

__all__ = ["EVERY", "StepLines"]

EVERY = 60.0
"""Seconds between two lines."""


class StepLines(L.Callback):
    """A line a minute inside long epochs, from the first process alone.

    Args:
        print_line: Called with each line.
        clock: Gives seconds.
    """

    def __init__(
        self, print_line: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.print_line = print_line
        self.clock = clock
        self._epoch = -1
        self._began = (0.0, 0)  # when this epoch's first batch of this process began, and which
        self._said = 0.0

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if trainer.current_epoch != self._epoch:  # which may go on in its middle
            self._epoch, self._said = trainer.current_epoch, self.clock()
            self._began = self._said, batch_idx

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        assert isinstance(pl_module, SegmentationModule)
        now, (started, first) = self.clock(), self._began
        total, done = int(trainer.num_training_batches), batch_idx + 1
        if not trainer.is_global_zero or now - self._said < EVERY or done >= total:
            return
        self._said = now
        left = (now - started) / (done - first) * (total - done) / 60
        epoch, epochs = trainer.current_epoch + 1, trainer.max_epochs or 0
        self.print_line(
            f"epoch {epoch:>{len(str(epochs))}}/{epochs}, batch {done:,} of {total:,}: loss "
            f"{pl_module.epoch_loss():.4f} so far, about {max(1, round(left)):,} min left of it"
        )
