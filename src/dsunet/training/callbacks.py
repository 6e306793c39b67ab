"""What a run writes beside its training."""

from __future__ import annotations

import csv
import math
import signal
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import lightning as L
import numpy as np
import torch

from dsunet.checkpoint import replace_durably, save, write_atomically
from dsunet.data.dataset import PairDataset
from dsunet.data.images import read_image, read_mask
from dsunet.errors import TrainingError
from dsunet.inference import quantise
from dsunet.metrics import MEASURES
from dsunet.predict import Segmenter
from dsunet.training.module import SegmentationModule
from dsunet.visualize import panel
from dsunet.visualize.curves import plot_curves

__all__ = ["RunFolder", "SafeInterrupt"]

COLUMNS = ("epoch", "loss", *MEASURES, "lr", "seconds")


class RunFolder(L.Callback):
    """Writes metrics, weights, pictures and the resume state after every epoch.

    Everything is written atomically or appended line by line, so that a killed run leaves only
    whole files behind.

    Args:
        folder: The run's folder.
        validation: The validation set, if any; for the panel.
        facts: Written into every weights file beside the measures.
        print_line: Called with one line per epoch.
    """

    def __init__(
        self,
        folder: Path,
        validation: PairDataset | None,
        facts: dict[str, Any],
        print_line: Any = None,
    ) -> None:
        self.folder = folder
        self.validation = validation
        self.facts = facts
        self.print_line = print_line
        self.best: float | None = None
        self.best_epoch = 0
        self._started = time.monotonic()
        self._epoch_started = time.monotonic()
        self._first_epoch = 0

    # -- state that a resumed run goes on from

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "best_epoch": self.best_epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best, self.best_epoch = state_dict["best"], state_dict["best_epoch"]

    # -- hooks

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._started = time.monotonic()
        self._first_epoch = trainer.current_epoch
        trainer.should_stop = self._is_enough(trainer.current_epoch, pl_module)
        _cut_rows(self.folder / "metrics.csv", trainer.current_epoch)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._epoch_started = time.monotonic()
        if trainer.current_epoch + 1 == trainer.max_epochs:
            trainer.check_val_every_n_epoch = 1  # the last epoch is always validated

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, SegmentationModule)
        measures, pl_module.latest = pl_module.latest, {}
        epoch = trainer.current_epoch + 1
        values: dict[str, Any] = {
            "epoch": epoch,
            "loss": float(trainer.callback_metrics["loss_epoch"]),
            **measures,
            "lr": trainer.optimizers[0].param_groups[0]["lr"],
            "seconds": round(time.monotonic() - self._epoch_started, 2),
        }
        if not math.isfinite(values["loss"]):
            raise TrainingError(
                f"the loss of epoch {epoch} is {values['loss']}; the weights of the epoch before "
                "are kept: try a lower --lr or --encoder-lr, or --clip-grad-norm 1"
            )
        improved = bool(measures) and (self.best is None or measures["S"] > self.best)
        if improved:
            self.best, self.best_epoch = measures["S"], epoch
        trainer.should_stop = self._is_enough(epoch, pl_module)
        resume = self.folder / "resume.ckpt"
        # on every rank: Lightning gathers what each one holds
        trainer.save_checkpoint(resume.with_suffix(".tmp"))
        if not trainer.is_global_zero:
            return
        _append_row(self.folder / "metrics.csv", values)
        training = {**self.facts, "epoch": epoch, "measures": measures}
        save(pl_module.model, self.folder / "last.safetensors", training=training)
        if improved:
            save(pl_module.model, self.folder / "best.safetensors", training=training)
            self._draw_panel(pl_module, trainer)
            pl_module.train()  # the panel's segmenter has put the model into evaluation mode
        replace_durably(resume.with_suffix(".tmp"), resume)
        curves = self.folder / "curves.png"
        plot_curves(self.folder / "metrics.csv", curves.with_suffix(".tmp"))
        replace_durably(curves.with_suffix(".tmp"), curves)
        if self.print_line:
            self.print_line(self._line(values, improved, trainer))

    # -- helpers

    def _is_enough(self, epoch: int, module: L.LightningModule) -> bool:
        """Whether `early_stop` epochs have passed since the best one."""
        assert isinstance(module, SegmentationModule)
        patience = module.recipe.early_stop
        return patience is not None and self.best_epoch > 0 and epoch - self.best_epoch >= patience

    def _line(self, values: dict[str, Any], improved: bool, trainer: L.Trainer) -> str:
        epoch, epochs = values["epoch"], trainer.max_epochs or 0
        per_epoch = (time.monotonic() - self._started) / max(1, epoch - self._first_epoch)
        parts = [f"epoch {epoch:>{len(str(epochs))}}/{epochs}", f"loss {values['loss']:.4f}"]
        parts += [f"{name} {values[name]:.4f}" for name in MEASURES if name in values]
        parts += [f"{values['seconds']:.1f} s", f"{_minutes(per_epoch * (epochs - epoch))} left"]
        return "  ".join(parts) + ("  (best)" if improved else "")

    def _draw_panel(self, module: SegmentationModule, trainer: L.Trainer) -> None:
        count = module.recipe.val_pictures
        if self.validation is None or count == 0:
            return
        pairs = self.validation.pairs
        chosen = [
            pairs[i] for i in np.linspace(0, len(pairs) - 1, min(count, len(pairs))).astype(int)
        ]
        segmenter = Segmenter(module.model, str(module.device), module.recipe.precision)
        rows = []
        for pair in chosen:
            result = segmenter(read_image(pair.image))
            truth = np.asarray(read_mask(pair.mask))
            rows.append((result.image, truth, quantise(result.probability), result.overlay()))
        sheet = panel(
            rows,
            ("image", "truth", "prediction", "overlay"),
            captions=[pair.name for pair in chosen],
        )
        path = self.folder / "validation.png"
        sheet.save(path.with_suffix(".tmp"), "PNG")
        replace_durably(path.with_suffix(".tmp"), path)
        for logger in trainer.loggers:
            board = getattr(logger, "experiment", None)
            if board is not None and hasattr(board, "add_image"):
                pixels = torch.from_numpy(np.array(sheet)).permute(2, 0, 1)
                board.add_image("validation", pixels, trainer.current_epoch + 1)


class SafeInterrupt(L.Callback):
    """Holds Ctrl-C back until the batch is done.

    TensorBoard's writer hangs for ever when an interrupt hits it between two lines. A second Ctrl-C
    comes through at once. Where Ctrl-C is switched off (background jobs), it stays so.
    """

    def __init__(self) -> None:
        self._noted = False

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        on = signal.getsignal(signal.SIGINT) is not signal.SIG_IGN
        if on and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._noted:
            raise KeyboardInterrupt
        self._noted = True

    def on_train_batch_end(self, *args: Any, **kwargs: Any) -> None:
        if self._noted:
            raise KeyboardInterrupt

    def on_validation_batch_end(self, *args: Any, **kwargs: Any) -> None:
        if self._noted:
            raise KeyboardInterrupt


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def _append_row(path: Path, values: dict[str, Any]) -> None:
    new = not path.exists()
    with open(path, "a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="", lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow(values)


def _cut_rows(path: Path, epochs: int) -> None:
    """Drops the rows after the first `epochs`: a killed run may have written one too many."""
    if path.exists():
        lines: Sequence[str] = path.read_text(encoding="utf-8").splitlines(keepends=True)
        write_atomically(path, "".join(lines[: epochs + 1]).encode())
