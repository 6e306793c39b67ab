"""Lightning's trainer as a run needs it, and what its errors mean to a user."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import lightning as L
import torch
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.strategies import DDPStrategy

from dsunet.config import DistillConfig, LossConfig, TrainConfig
from dsunet.errors import DsunetError, TrainingError
from dsunet.network.base import SegmentationModel
from dsunet.running.loaders import explain_loss
from dsunet.running.place import Place
from dsunet.support.files import stopped_writing
from dsunet.support.ranks import Ranks
from dsunet.training.callbacks import DurableCheckpoints, RunFolder, SafeInterrupt
from dsunet.training.loaders import Loaders
from dsunet.training.module import SegmentationModule
from dsunet.training.progress import StepLines
from dsunet.training.together import TIMEOUT, Together, lost_contact
from dsunet.training.trackers import make_loggers

__all__ = ["explained", "fit", "make_trainer", "quiet", "strategy_for"]

# Remarks of Lightning and torch that say nothing a user could act on, by their exact words.
_REMARKS = (
    "does not have many workers",
    "This DataLoader will create",
    "The number of training batches",
    "Precision bf16-mixed is not supported by the model summary",
    "You're resuming from a checkpoint that ended before the epoch ended",
    "`isinstance(treespec, LeafSpec)` is deprecated",
    "module(s) in eval mode at the start of training",
    "You defined a `validation_step` but have no `val_dataloader`",
    "Grad strides do not match bucket view strides",
    "when logging on epoch level in distributed setting",
)
_PRECISIONS = {
    torch.float32: "32-true",
    torch.bfloat16: "bf16-mixed",
    torch.float16: "16-mixed",
}


def make_trainer(
    run_folder: RunFolder,
    interrupt: SafeInterrupt,
    recipe: TrainConfig,
    place: Place,
    strategy: str,
    together: Together,
    progress_bar: bool,
) -> L.Trainer:
    """A trainer that writes through `run_folder` alone, what loggers write apart.

    Args:
        run_folder: Writes the run's folder.
        interrupt: Stops after a whole step.
        recipe: The recipe.
        place: Where to train, and in what.
        strategy: As `strategy_for` gives it.
        together: The processes, of which each has a device.
        progress_bar: Show Lightning's progress bar; otherwise long epochs give a line a minute.
    """
    device = place.device
    callbacks: list[L.Callback] = [run_folder, interrupt]
    callbacks.append(
        RichProgressBar(leave=False) if progress_bar else StepLines(run_folder.print_line)
    )
    return L.Trainer(
        accelerator={"cpu": "cpu", "cuda": "gpu", "mps": "mps"}[device.type],
        devices=[device.index] if device.index is not None else recipe.devices,
        num_nodes=recipe.num_nodes,
        strategy="auto" if strategy == "auto" else _Ddp(together, "unused" in strategy),
        precision=_PRECISIONS[place.precision],  # type: ignore[arg-type]
        max_epochs=recipe.epochs,
        accumulate_grad_batches=recipe.accumulate,
        gradient_clip_val=recipe.clip_grad_norm,
        check_val_every_n_epoch=recipe.val_every,
        deterministic="warn" if recipe.deterministic else False,
        log_every_n_steps=recipe.log_every,
        logger=make_loggers(run_folder.folder, recipe, run_folder.print_line),
        callbacks=callbacks,
        plugins=[DurableCheckpoints(), _environment(together.ranks)],
        enable_checkpointing=False,
        enable_progress_bar=progress_bar,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        benchmark=device.type == "cuda" and not recipe.deterministic,
    )


class _Ddp(DDPStrategy):
    """Distributed data parallel whose process group is formed where the processes meet."""

    def __init__(self, together: Together, find_unused_parameters: bool) -> None:
        super().__init__(timeout=TIMEOUT, find_unused_parameters=find_unused_parameters)
        self._together = together

    def setup_distributed(self) -> None:
        self._together.adopt(getattr(self.launcher, "procs", []))
        self._together.join(self.root_device)
        super().setup_distributed()


def _environment(ranks: Ranks) -> ClusterEnvironment:
    """What Lightning is to take for granted; by itself it may see a cluster in any SLURM job."""
    if ranks.starter == "srun":
        return SLURMEnvironment(auto_requeue=False)
    return TorchElasticEnvironment() if ranks.starter == "torchrun" else LightningEnvironment()


def strategy_for(
    network: SegmentationModel, recipe: TrainConfig, loss: LossConfig, distill: DistillConfig | None
) -> str:
    """How several devices share a training; `auto` for one.

    The published SAM2-UNet has a block that never runs, a backbone in Hiera's place and a user's
    own network may have some, and a head without a weight in the loss is not trained; nor is the
    decoder in a batch without masks where the teacher's feature maps alone are learned from.
    """
    if recipe.devices * recipe.num_nodes == 1:
        return "auto"
    if recipe.strategy != "auto":
        return recipe.strategy
    all_run = (
        (distill is None or distill.teacher_weight > 0)
        and network.every_part_runs
        and min(loss.output_weights) > 0
    )
    return "ddp" if all_run else "ddp_find_unused_parameters_true"


def fit(
    trainer: L.Trainer,
    module: SegmentationModule,
    loaders: Loaders,
    interrupt: SafeInterrupt,
    folder: Path,
    checkpoint: Path | None,
) -> None:
    """Trains to the end, from the start or from a resume state.

    Raises:
        DsunetError: As `explained` says it.
        KeyboardInterrupt: Interrupted.
    """
    try:
        trainer.fit(
            module, loaders.training, loaders.validation, ckpt_path=checkpoint, weights_only=True
        )
    except SystemExit:
        if trainer.interrupted:  # Lightning turns Ctrl-C into an exit of its own
            raise KeyboardInterrupt from None
        raise
    except Exception as error:
        if lost_contact(error):  # whoever has gone knows why
            raise
        told = explained(error, folder)
        if told is error:
            raise
        raise told from error
    finally:
        interrupt.restore()
    trainer.strategy.barrier()


def explained(error: Exception, folder: Path) -> Exception:
    """The error as one clear line, if it is of a kind that a user can do something about."""
    text = str(error)
    if isinstance(error, DsunetError):
        lines = text.strip().splitlines()
        if len(lines) > 1 and "Original Traceback" in text:  # as a loader's process wraps it
            return type(error)(lines[-1].split(": ", 1)[-1])
        return error
    if isinstance(error, OSError):
        return stopped_writing(error, folder, "saved")
    if isinstance(error, torch.OutOfMemoryError):
        return TrainingError(
            "the device is out of memory; try `activation_checkpointing`, a smaller `batch_size` "
            "(with `accumulate` to make up for it), or a smaller `sam_size` and `dino_size`"
        )
    if type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
        reason = text.strip().splitlines() or [type(error).__name__]
        return TrainingError(
            f"the network cannot be compiled ({reason[0]}); train it without `compile`"
        )
    if "Expected to have finished reduction" in text:
        return TrainingError(
            "some parts of the network had no gradient in a step, which `strategy` ddp does not "
            "allow; use `strategy` auto, or ddp_find_unused_parameters_true"
        )
    if loss := explain_loss(error):
        return TrainingError(f"{loss}: go on with `resume` and fewer `workers`, 0 for none")
    return error


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps Lightning's banners and the remarks in `_REMARKS` off the screen."""
    chatty = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [each.level for each in chatty]
    for each in chatty:
        each.setLevel(logging.WARNING)
    with warnings.catch_warnings():
        for remark in _REMARKS:
            warnings.filterwarnings("ignore", f".*{re.escape(remark)}")
        try:
            yield
        finally:
            for each, level in zip(chatty, levels, strict=True):
                each.setLevel(level)
