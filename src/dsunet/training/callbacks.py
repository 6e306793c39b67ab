"""What a run writes beside its training."""

from __future__ import annotations

import csv
import io
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.plugins.io import TorchCheckpointIO
from PIL import Image

from dsunet.data.class_masks import index_of
from dsunet.data.dataset import PairDataset, collate
from dsunet.data.pairs import Pair, read_classes, read_pair
from dsunet.metrics import OWN_MEASURES
from dsunet.running.class_maps import class_index
from dsunet.running.maps import quantise
from dsunet.running.place import Place, choose_precision
from dsunet.support.files import replace_durably, temporary_beside, write_atomically, write_png
from dsunet.training.choosing import FALLBACK, deciding, is_better
from dsunet.training.module import SegmentationModule
from dsunet.visualize import overlay, panel
from dsunet.visualize.classes import class_overlay, coloured
from dsunet.visualize.curves import plot_curves
from dsunet.weights.checkpoint import save

__all__ = ["DurableCheckpoints", "RunFolder", "SafeInterrupt"]

WITHOUT_OBJECT = ("false_alarm_rate", "false_alarm_area", "MAE_without_object")
OF_BOTH = ("miss_rate", "AUROC", "Dice_all")


def columns_of(classes: Sequence[str]) -> tuple[str, ...]:
    """Those of `metrics.csv`, of a model with these classes; none is the one map."""
    measures: tuple[str, ...] = (*OWN_MEASURES, *WITHOUT_OBJECT, *OF_BOTH)
    if classes:
        each = (f"{measure}/{name}" for measure in ("IoU", "Dice") for name in classes)
        measures = ("mIoU", "mDice", *each)
    return ("epoch", "loss", "val_loss", *measures, "lr", "seconds")


class RunFolder(L.Callback):
    """Writes metrics, weights, pictures and the resume state.

    After every epoch, and the resume state every so many minutes and on Ctrl-C besides. Every file
    is replaced as a whole, and the resume state last, so that a killed run leaves whole files
    behind and goes on without a trace.

    Args:
        folder: The run's folder.
        validation: The validation set, if any; for the panel.
        facts: Written into every weights file beside the measures.
        print_line: Called with one line per epoch.
        interrupt: Says whether to stop after this step.
        classes: Names of the model's classes, if it has some.
    """

    def __init__(
        self,
        folder: Path,
        validation: PairDataset | None,
        facts: dict[str, Any],
        print_line: Callable[[str], None],
        interrupt: SafeInterrupt,
        classes: Sequence[str] = (),
    ) -> None:
        self.folder = folder
        self.classes = tuple(classes)
        self.validation = validation
        self.facts = facts
        self.print_line = print_line
        self.interrupt = interrupt
        self.best: float | None = None
        self.best_epoch = 0
        self.history: list[dict[str, Any]] = []
        self._position = (0, 0)
        self._seconds_before = 0.0  # of this epoch, before the run went on
        self._started = self._epoch_started = self._saved = time.monotonic()
        self._first_epoch = 0

    # -- state that a resumed run goes on from

    def state_dict(self) -> dict[str, Any]:
        return {
            "best": self.best,
            "best_epoch": self.best_epoch,
            "history": self.history,
            "position": self._position,
            "seconds": self._epoch_seconds() if self._position[1] else 0.0,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best, self.best_epoch = state_dict["best"], state_dict["best_epoch"]
        self.history = state_dict["history"]
        self._position = tuple(state_dict["position"])
        self._seconds_before = state_dict["seconds"]

    # -- hooks

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._started = self._epoch_started = self._saved = time.monotonic()
        self._first_epoch = trainer.current_epoch
        trainer.should_stop = self._is_enough(trainer.current_epoch, pl_module)
        _validate_at_the_end(trainer)
        if trainer.is_global_zero and self.history:
            self._write_history()  # a killed run may have written one row too many

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._epoch_started, self._seconds_before = time.monotonic(), 0.0
        _validate_at_the_end(trainer)

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        assert isinstance(pl_module, SegmentationModule)
        recipe = pl_module.recipe
        decide = trainer.strategy.reduce_boolean_decision  # all processes do the same
        stop = decide(self.interrupt.noted, all=False)
        if trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
            # Lightning could not go on from here; the end of the epoch is near
            if stop and trainer.is_global_zero:
                self.print_line("stopping once this epoch is validated; Ctrl-C again stops at once")
            return
        if (batch_idx + 1) % recipe.accumulate:
            return  # gradients that have been added up so far are not part of the state
        minutes = (time.monotonic() - self._saved) / 60
        if stop or decide(minutes >= recipe.save_every, all=False):
            self._position = (trainer.current_epoch, batch_idx + 1)
            self._save_state(trainer)
        if stop:
            raise KeyboardInterrupt

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, SegmentationModule)
        measures, pl_module.latest = pl_module.latest, {}
        validation_loss, pl_module.validation_loss = pl_module.validation_loss, None
        epoch = trainer.current_epoch + 1
        values: dict[str, Any] = {
            "epoch": epoch,
            "loss": pl_module.whole_epoch_loss(),
            **({} if validation_loss is None else {"val_loss": validation_loss}),
            **measures,
            "lr": trainer.optimizers[0].param_groups[0]["lr"],
            "seconds": round(self._epoch_seconds(), 2),
        }
        self.history.append(values)
        choice = deciding(measures, pl_module.recipe.best_by)
        improved = choice is not None and is_better(*choice, self.best)
        if choice is not None and improved:
            if self.best is None and choice[0] == FALLBACK and trainer.is_global_zero:
                self.print_line(
                    "no validation mask has an object, so there is nothing to measure but false "
                    "alarms; the best epoch is the one with the lowest mean absolute error"
                )
            self.best, self.best_epoch = choice[1], epoch
        trainer.should_stop = self._is_enough(epoch, pl_module)
        if trainer.is_global_zero:
            self._write_history()
            training = {**self.facts, "epoch": epoch, **_as_facts(measures, pl_module)}
            save(pl_module.evaluated, self.folder / "last.safetensors", training=training)
            if improved:
                save(pl_module.evaluated, self.folder / "best.safetensors", training=training)
                self._draw_panel(pl_module, trainer)
            with temporary_beside(self.folder / "curves.png") as temporary:
                plot_curves(self.folder / "metrics.csv", temporary)
                replace_durably(temporary, self.folder / "curves.png")
        self._position = (epoch, 0)
        self._save_state(trainer)
        if trainer.is_global_zero:
            self.print_line(self._line(values, improved, trainer))
        stop = trainer.strategy.reduce_boolean_decision(self.interrupt.noted, all=False)
        if stop and epoch < (trainer.max_epochs or 0):
            raise KeyboardInterrupt

    # -- helpers

    def _epoch_seconds(self) -> float:
        return self._seconds_before + time.monotonic() - self._epoch_started

    def _write_history(self) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, columns_of(self.classes), restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.history)
        write_atomically(self.folder / "metrics.csv", text.getvalue().encode())

    def _save_state(self, trainer: L.Trainer) -> None:
        """Called on every rank: Lightning gathers what each one holds."""
        trainer.save_checkpoint(self.folder / "resume.ckpt")
        self._saved = time.monotonic()

    def _is_enough(self, epoch: int, module: L.LightningModule) -> bool:
        """Whether `early_stop` epochs have passed since the best one."""
        assert isinstance(module, SegmentationModule)
        patience = module.recipe.early_stop
        return patience is not None and self.best_epoch > 0 and epoch - self.best_epoch >= patience

    def _line(self, values: dict[str, Any], improved: bool, trainer: L.Trainer) -> str:
        epoch, epochs = values["epoch"], trainer.max_epochs or 0
        per_epoch = (time.monotonic() - self._started) / max(1, epoch - self._first_epoch)
        parts = [f"epoch {epoch:>{len(str(epochs))}}/{epochs}", f"loss {values['loss']:.4f}"]
        if "val_loss" in values:
            parts.append(f"in validation {values['val_loss']:.4f}")
        parts += [f"{name} {values[name]:.4f}" for name in OWN_MEASURES if name in values]
        if self.classes and "val_loss" in values:
            parts.append(of_classes(values, self.classes))
        if "false_alarm_rate" in values:
            parts.append(f"false alarms {100 * values['false_alarm_rate']:.1f} %")
        if "miss_rate" in values:
            parts.append(f"misses {100 * values['miss_rate']:.1f} %")
        parts += [f"{values['seconds']:.1f} s", f"{_minutes(per_epoch * (epochs - epoch))} left"]
        return "  ".join(parts) + ("  (best)" if improved else "")

    def _draw_panel(self, module: SegmentationModule, trainer: L.Trainer) -> None:
        count = module.recipe.val_pictures
        if self.validation is None or count == 0:
            return
        pairs = self.validation.pairs
        chosen = np.linspace(0, len(pairs) - 1, min(count, len(pairs))).astype(int)
        device = module.device
        place = Place(device, choose_precision(module.recipe.precision, device))
        module.evaluated.eval()
        rows = []
        for number in chosen:
            batch = collate([self.validation[0, number]])
            with place.autocast():
                batch = module.transfer_batch_to_device(batch, device, 0)
                probability = module.predict(batch)[0]
            rows.append(_panel_row(pairs[number], probability, module))
        module.train()
        sheet = panel(
            rows,
            ("image", "truth", "prediction", "overlay"),
            captions=[pairs[number].name for number in chosen],
        )
        write_png(self.folder / "validation.png", sheet)
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.log_image("validation", [sheet])
                continue
            board = getattr(logger, "experiment", None)
            if board is not None and hasattr(board, "add_image"):
                pixels = torch.from_numpy(np.array(sheet)).permute(2, 0, 1)
                board.add_image("validation", pixels, trainer.current_epoch + 1)


class DurableCheckpoints(TorchCheckpointIO):
    """Writes resume states beside their place; Lightning itself takes a detour through /tmp."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        content = io.BytesIO()  # torch says of a full disk only that an iostream has an error
        torch.save(checkpoint, content)
        write_atomically(Path(path), content.getvalue())


class SafeInterrupt(L.Callback):
    """Holds Ctrl-C, and polite requests to end (SIGTERM, SIGHUP), back until the step is done.

    TensorBoard's writer hangs for ever when an interrupt hits it between two lines, and between two
    steps the state can be saved. A second Ctrl-C comes through at once. Where Ctrl-C is switched
    off (background jobs), it stays so.
    """

    def __init__(self) -> None:
        self.noted = False
        self._before: dict[int, Any] = {}

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)  # Windows has no SIGHUP
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._note)

    def restore(self) -> None:
        """Puts back what handled the signals before; Lightning leaves them off."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.noted:
            raise KeyboardInterrupt
        self.noted = True


def of_classes(values: Mapping[str, Any], classes: Sequence[str]) -> str:
    """Mean IoU and Dice, and IoU and Dice of each class, in words; without a value a dash."""

    def told(name: str) -> str:
        return f"{values[name]:.4f}" if name in values else "–"

    each = ", ".join(f"{n} {told(f'IoU/{n}')} and {told(f'Dice/{n}')}" for n in classes)
    return f"mIoU {told('mIoU')}  mDice {told('mDice')}  ({each})"


def _panel_row(
    pair: Pair, probability: np.ndarray, module: SegmentationModule
) -> tuple[Image.Image | np.ndarray, ...]:
    """A picture, its truth, what is predicted, and both over each other."""
    threshold, classes = module.recipe.threshold, module.model.classes
    if not classes:
        image, mask, _, _ = read_pair(pair)
        tinted = overlay(image, probability, threshold)
        return image, np.asarray(mask), quantise(probability), tinted
    read = read_classes(pair)
    truth = index_of(np.stack([np.asarray(mask) for mask in read.masks]))
    found = class_index(probability, module.model.exclusive, threshold)
    tinted = class_overlay(read.image, found, classes)
    return read.image, coloured(truth, len(classes)), coloured(found, len(classes)), tinted


def _validate_at_the_end(trainer: L.Trainer) -> None:
    """The last epoch is always validated, whatever `val_every` says."""
    if trainer.current_epoch + 1 == trainer.max_epochs:
        trainer.check_val_every_n_epoch = 1


def _as_facts(measures: dict[str, float], module: SegmentationModule) -> dict[str, Any]:
    """What weights files say of a validation."""
    if not measures:
        return {"measures": {}}
    about: dict[str, Any] = {"measures": measures, "protocol": module.recipe.protocol}
    if module.best_threshold is not None:
        about["best_threshold"] = module.best_threshold.to_dict()
    return about


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
