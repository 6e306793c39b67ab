"""One training run, from settings to a folder that explains itself."""

from __future__ import annotations

import logging
import os
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from dsunet.base import SegmentationModel
from dsunet.checkpoint import read_metadata
from dsunet.config import DataConfig, DistillConfig, LossConfig, ModelConfig, TrainConfig
from dsunet.custom import CustomSource, create_custom
from dsunet.data import EpochSampler, PairDataset, collate
from dsunet.data.sources import name_of
from dsunet.data.split import Split, split_data
from dsunet.data.unlabelled import find_unlabelled
from dsunet.devices import choose_device, choose_precision
from dsunet.encoders import HieraEncoder
from dsunet.errors import DeviceError, DsunetError, MissingPackageError, TrainingError
from dsunet.feature_cache import FeatureCache, disk_needed, gigabytes, obstacle, open_cache
from dsunet.files import check_writable, clear_temporaries, lock_folder, stopped_writing, write_json
from dsunet.inference import lay_out
from dsunet.model import DSUNet, create_from_config, parameter_counts
from dsunet.processes import stay_with_parent
from dsunet.training.batch_size import choose_batch_size
from dsunet.training.compiling import require_compiler
from dsunet.training.folder import (
    check_folder,
    checked_data,
    facts,
    flat_settings,
    make_folder,
    names_of,
    position_of,
    recorded_batch,
    write_environment,
    write_start,
)

__all__ = ["TrainResult", "create_network", "distill", "train"]

logger = logging.getLogger(__name__)

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
)
_LIGHTNING = {"float32": "32-true", "bfloat16": "bf16-mixed", "float16": "16-mixed"}


@dataclass(frozen=True)
class TrainResult:
    """What a run came to."""

    folder: Path
    """The run's folder."""
    epochs: int
    """Epochs that were trained in all."""
    measures: dict[str, float]
    """S, F, E and MAE of the best epoch; empty without validation."""
    best_epoch: int
    """The epoch with the highest S-measure; 0 without validation."""
    weights: Path
    """The best weights, or the last without validation."""


def train(
    output: str | Path,
    model: ModelConfig | CustomSource | str | Callable[..., object],
    data: DataConfig,
    recipe: TrainConfig | None = None,
    loss: LossConfig | None = None,
    *,
    weights: str | Path | None = "default",
    hiera_weights: str | Path | None = None,
    dinov2_weights: str | Path | None = None,
    distill: DistillConfig | None = None,
    resume: bool = False,
    on_line: Callable[[str], None] | None = None,
    progress_bar: bool = False,
) -> TrainResult:
    """Trains a network and writes the run's folder.

    The folder holds `config.yaml` (every setting), `train.txt` and `val.txt` (the split),
    `data.json` (what the check of the data found), `environment.json`, `metrics.csv` (a row per
    epoch), `curves.png`, `validation.png`, `best.safetensors` and `last.safetensors`,
    `resume.ckpt`, and TensorBoard's files.

    Args:
        output: The run's folder; new or empty unless `resume`.
        model: What to train: the settings of a model of dsunet's, or one of your own: a
            `torch.nn.Module`, a function without arguments that makes one, or its import path.
        data: What to train on.
        recipe: How; the paper's recipe by default.
        loss: The loss; the paper's by default.
        weights: What the model starts from, as in `create_model`.
        hiera_weights: File with Hiera's weights, as in `create_model`.
        dinov2_weights: File with DINOv2's weights.
        distill: What to learn from beside the truth, see docs/distillation.md.
        resume: Go on with the run in the folder; start it if there is none yet.
        on_line: Called with every line of progress.
        progress_bar: Show Lightning's progress bar.

    Raises:
        DsunetError: Data, weights, device or folder cannot be used; each says why.
        KeyboardInterrupt: Interrupted; the state is saved, unless it came before the first step
            or twice.
    """
    try:
        import lightning as L
        from lightning.pytorch.callbacks import RichProgressBar
        from lightning.pytorch.loggers import TensorBoardLogger

        from dsunet.training.callbacks import DurableCheckpoints, RunFolder, SafeInterrupt
        from dsunet.training.module import SegmentationModule
        from dsunet.training.teacher import check_teacher, open_teacher
    except ImportError as error:
        raise MissingPackageError(
            f"training needs the package {error.name}; install all it needs by "
            "pip install 'dsunet[train]'"
        ) from error

    recipe, loss = recipe or TrainConfig(), loss or LossConfig()
    say = on_line or logger.info
    folder = Path(output)
    sources: dict[str, str | None] = {
        "weights": "none" if weights is None else str(weights),
        "hiera_weights": str(hiera_weights) if hiera_weights else None,
        "dinov2_weights": str(dinov2_weights) if dinov2_weights else None,
    }
    if not isinstance(model, ModelConfig):
        model = CustomSource.of(model)
    rank = int(os.environ.get("LOCAL_RANK", 0))  # Lightning starts the others by itself
    first = rank == 0
    going_on = resume and (folder / "config.yaml").is_file()
    if recipe.batch_size == "auto" and (going_on or not first):
        recipe = recorded_batch(folder, recipe)
        if recipe.batch_size == "auto" and not first:
            raise TrainingError(
                "--batch-size auto is for processes that dsunet starts itself (--devices); give a "
                "number"
            )
    settings = flat_settings(model, data, recipe, loss, sources, distill)
    if distill is not None:
        check_teacher(distill, folder)
    device = choose_device(recipe.device)
    precision = choose_precision(recipe.precision, device)
    _check_devices(device, recipe.devices)
    split = split_data(data, recipe.seed)
    if recipe.early_stop is not None and not split.validation:
        raise ValueError(
            "early_stop needs a validation set: give --val, --val-list or --val-fraction"
        )
    lists = {"train.txt": names_of(split.training), "val.txt": names_of(split.validation)}
    unlabelled: list[Path] = []
    if distill is not None and distill.unlabelled:
        full = data.check == "full"
        heard = say if first else _unheard
        unlabelled = find_unlabelled(distill.unlabelled, split, full=full, say=heard)
        lists["unlabelled.txt"] = "".join(f"{name_of(image)}\n" for image in unlabelled)
    if recipe.compile:
        require_compiler(device)
    with ExitStack() as stack:
        if first:
            check_writable(folder)
            check_folder(folder, settings, lists, resume)
            if resume and not going_on:
                say(f"there is no run in {folder} yet; starting it")
            report = checked_data(folder, split, data, say, going_on)
        stack.enter_context(_quiet())
        L.seed_everything(recipe.seed, verbose=False)
        network = create_network(model, weights, hiera_weights, dinov2_weights)
        teaching = None
        if distill is not None:
            teaching = open_teacher(
                distill,
                network,
                split.training,
                unlabelled,
                recipe,
                loss.output_weights,
                device,
                precision,
                say if first else _unheard,
                workers=data.workers,
            )
        cache = _feature_cache(network, data, split, recipe, precision, say if first else _unheard)
        network = lay_out(network, device).train()
        if recipe.activation_checkpointing:
            checkpoint_activations(network)
        if recipe.batch_size == "auto":
            pairs = len(split.training) + len(unlabelled)
            recipe = choose_batch_size(network, recipe, loss, device, precision, pairs, say)
            settings |= {"batch_size": recipe.batch_size, "accumulate": recipe.accumulate}
        assert isinstance(recipe.batch_size, int)
        if first:  # only now: a model that cannot be built leaves no folder
            make_folder(folder)
            stack.enter_context(lock_folder(folder))
            check_folder(folder, settings, lists, resume)  # another process may have been here
            clear_temporaries(folder)
            if report is not None:
                write_json(folder / "data.json", report)
            if not going_on:
                write_start(folder, settings, lists)
        sam_size, dino_size = network.view_sizes
        world = recipe.devices
        training = PairDataset(
            split.training,
            sam_size,
            dino_size,
            flips=(data.horizontal_flip, data.vertical_flip),
            crop=data.crop,
            colour=data.colour,
            draft=data.draft,
            seed=recipe.seed,
            stored=cache.training if cache is not None else None,
            unlabelled=unlabelled,
            lessons=teaching.lessons if teaching is not None else None,
        )
        validation = PairDataset(
            split.validation,
            sam_size,
            dino_size,
            keep_truth=True,
            stored=cache.validation if cache is not None else None,
        )
        sampler = EpochSampler(len(training), seed=recipe.seed, rank=rank, world=world)
        loaders: dict[str, Any] = {
            "num_workers": data.workers,
            "persistent_workers": data.workers > 0,
            "pin_memory": device.type == "cuda",
            "collate_fn": collate,
            "worker_init_fn": stay_with_parent,
        }
        train_loader = DataLoader(training, recipe.batch_size, sampler=sampler, **loaders)
        # one image a batch, so that the measures are those of prediction to the last digit
        val_loader = DataLoader(
            validation, 1, sampler=EpochSampler(len(validation), shuffle=False), **loaders
        )
        about = facts(data, split, recipe)
        if distill is not None and teaching is not None:
            about["teacher"] = {
                "name": teaching.name,
                "identity": teaching.distillation.identity,
                "teacher_weight": distill.teacher_weight,
                "truth_weight": distill.truth_weight,
                "temperature": distill.temperature,
                "feature_weight": distill.feature_weight,
                "unlabelled_images": len(unlabelled),
            }
        about |= {"device": str(device), "precision": str(precision).removeprefix("torch.")}
        interrupt = SafeInterrupt()
        run_folder = RunFolder(
            folder, validation if split.validation else None, about, say, interrupt
        )
        callbacks: list[Any] = [run_folder, interrupt]
        if progress_bar:
            callbacks.append(RichProgressBar(leave=False))
        trainer = L.Trainer(
            accelerator={"cpu": "cpu", "cuda": "gpu", "mps": "mps"}[device.type],
            devices=[device.index] if device.index is not None else world,
            strategy=_strategy(network, world, loss, distill),
            precision=_LIGHTNING[str(precision).removeprefix("torch.")],  # type: ignore[arg-type]
            max_epochs=recipe.epochs,
            accumulate_grad_batches=recipe.accumulate,
            gradient_clip_val=recipe.clip_grad_norm,
            check_val_every_n_epoch=recipe.val_every,
            deterministic="warn" if recipe.deterministic else False,
            log_every_n_steps=recipe.log_every,
            logger=TensorBoardLogger(folder, name="tensorboard", version=""),
            callbacks=callbacks,
            plugins=[DurableCheckpoints()],
            enable_checkpointing=False,
            enable_progress_bar=progress_bar,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            benchmark=device.type == "cuda" and not recipe.deterministic,
        )
        saved = folder / "resume.ckpt"
        checkpoint = saved if going_on and saved.exists() else None
        if checkpoint is not None:
            epoch, batches = position_of(checkpoint)
            sampler.go_on_from(epoch, batches * recipe.batch_size)
        if first:
            write_environment(folder, network, device, precision)
            say(_headline(network, split, len(unlabelled), device, precision))
            if weights in ("default", "full") and network.training_facts and not going_on:
                say(
                    "starts from the trained weights that come with dsunet, not from random ones "
                    f"(--weights none); about them: dsunet info {network.training_facts['name']}"
                )
        try:
            trainer.fit(
                SegmentationModule(
                    network,
                    recipe,
                    loss,
                    cache,
                    teaching.distillation if teaching is not None else None,
                ),
                train_loader,
                val_loader if split.validation else None,
                ckpt_path=checkpoint,
                weights_only=True,
            )
        except SystemExit:
            if trainer.interrupted:  # Lightning turns Ctrl-C into an exit of its own
                raise KeyboardInterrupt from None
            raise
        except Exception as error:
            explained = _explained(error, folder)
            if explained is error:
                raise
            raise explained from error
        finally:
            interrupt.restore()
        trainer.strategy.barrier()
    best = bool(split.validation) and run_folder.best is not None
    return TrainResult(
        folder,
        trainer.current_epoch,
        _measures_of(folder / "best.safetensors") if best else {},
        run_folder.best_epoch,
        folder / ("best.safetensors" if best else "last.safetensors"),
    )


def distill(
    output: str | Path,
    student: ModelConfig | CustomSource | str | Callable[..., object],
    teacher: DistillConfig | str | Path,
    data: DataConfig,
    recipe: TrainConfig | None = None,
    loss: LossConfig | None = None,
    **options: Any,
) -> TrainResult:
    """Trains a student on the truth and on what a teacher says, as `dsunet distill` does.

    Args:
        output: The run's folder, as in `train`.
        student: What to train, as `model` in `train`.
        teacher: What to learn from and how, or only what: weights, a run's folder, or a folder of
            maps.
        data: What to train on; the teacher has no part in validation.
        recipe: How; the paper's recipe by default.
        loss: The loss of the truth; the paper's by default.
        **options: Further arguments of `train`, such as `weights` and `resume`.

    Raises:
        DsunetError: As in `train`; or the teacher or its maps cannot be used.
        ValueError: Settings do not go together.
        KeyboardInterrupt: Interrupted; what the teacher has computed is kept, too.
    """
    if not isinstance(teacher, DistillConfig):
        teacher = DistillConfig(str(teacher))
    return train(output, student, data, recipe, loss, distill=teacher, **options)


def _feature_cache(
    network: SegmentationModel,
    data: DataConfig,
    split: Split,
    recipe: TrainConfig,
    precision: torch.dtype,
    say: Callable[[str], None],
) -> FeatureCache | None:
    """The cache that the recipe asks for, if the network and the data allow one.

    If every map is there, DINOv2 is left out of the network.
    """
    reason = obstacle(network, data)
    if recipe.feature_cache == "off":
        if reason is None and isinstance(network, DSUNet):
            size = gigabytes(disk_needed(network, data, split, recipe.cache_type))
            say(
                "DINOv2 is computed anew in every step; with --feature-cache auto it would be once "
                f"for each image and flip, and {size} on disk"
            )
        return None
    if reason is not None or not isinstance(network, DSUNet):
        say(f"no feature cache: {reason}")
        return None
    cache = open_cache(
        recipe.feature_cache,
        network,
        data,
        split,
        precision,
        dtype=recipe.cache_type,
        budget=recipe.cache_budget,
        say=say,
    )
    cache.say = say
    if cache.leave_out(network):
        say("every map of DINOv2 is in the feature cache: DINOv2 itself is not loaded")
    return cache


def _unheard(line: str) -> None:
    """For all processes but the first, which speaks for all."""


def checkpoint_activations(network: SegmentationModel) -> None:
    """Switches activation checkpointing on.

    Raises:
        ValueError: It is a network of the user's own, whose blocks nobody knows, or has another
            encoder than Hiera.
    """
    if not isinstance(network, DSUNet):
        raise ValueError(
            "--activation-checkpointing is for dsunet's models: leave it out, and let your network "
            "call torch.utils.checkpoint itself"
        )
    if not isinstance(network.hiera, HieraEncoder):
        raise ValueError(
            "--activation-checkpointing is for Hiera: leave it out with a convolutional encoder, "
            "whose BatchNorm would count what is computed again"
        )
    network.hiera.checkpointing = True


def _strategy(
    network: SegmentationModel, devices: int, loss: LossConfig, distill: DistillConfig | None
) -> str:
    """How several devices share a training.

    The published SAM2-UNet has a block that never runs, a backbone in Hiera's place and a user's
    own network may have some, and a head without a weight in the loss is not trained; nor is the
    decoder in a batch without masks where the teacher's feature maps alone are learned from.
    """
    all_run = (
        (distill is None or distill.teacher_weight > 0)
        and isinstance(network, DSUNet)
        and isinstance(network.hiera, HieraEncoder)
        and len(network.decoder.fuse) == len(network.decoder.heads)
        and min(loss.output_weights) > 0
    )
    return "auto" if devices == 1 or all_run else "ddp_find_unused_parameters_true"


def create_network(
    model: ModelConfig | CustomSource,
    weights: str | Path | None,
    hiera_weights: str | Path | None = None,
    dinov2_weights: str | Path | None = None,
) -> SegmentationModel:
    """A network to train: one of ours, or one of the user's own; arguments as in `train`."""
    if isinstance(model, ModelConfig):
        return create_from_config(
            model, weights, hiera_weights=hiera_weights, dinov2_weights=dinov2_weights
        )
    if hiera_weights is not None or dinov2_weights is not None:
        raise ValueError(
            f"--hiera-weights and --dinov2-weights are for dsunet's models, not for {model.name}"
        )
    return create_custom(model, weights)


def _check_devices(device: torch.device, count: int) -> None:
    if count > 1 and device.index is not None:
        raise DeviceError(
            f"device {str(device)!r} names one, but devices is {count}; name no number to train on "
            "several"
        )
    if device.type == "cuda" and count > torch.cuda.device_count():
        raise DeviceError(
            f"devices is {count}, but torch finds {torch.cuda.device_count()} GPUs; ask for fewer"
        )


def _headline(
    network: SegmentationModel,
    split: Split,
    unlabelled: int,
    device: torch.device,
    precision: torch.dtype,
) -> str:
    counts = parameter_counts(network)
    share = 100 * counts["trainable"] / counts["total"]
    return (
        f"{network.config.name if network.config else 'model'}: {counts['trainable']:,} of "
        f"{counts['total']:,} parameters trained ({share:.2f} %); {len(split.training)} training "
        f"and {len(split.validation)} validation pairs"
        f"{f', {unlabelled} unlabelled images' if unlabelled else ''}; {device}, "
        f"{str(precision).removeprefix('torch.')}"
    )


def _measures_of(weights: Path) -> dict[str, float]:
    measures: dict[str, float] = read_metadata(weights)["training"]["measures"]
    return measures


def _explained(error: Exception, folder: Path) -> Exception:
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
            "the device is out of memory; try --activation-checkpointing, a smaller --batch-size "
            "(with --accumulate to make up for it), or a smaller --sam-size and --dino-size"
        )
    if type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
        reason = text.strip().splitlines() or [type(error).__name__]
        return TrainingError(
            f"the network cannot be compiled ({reason[0]}); train it without --compile"
        )
    if isinstance(error, RuntimeError) and "DataLoader worker" in text:
        return TrainingError(
            f"a process that reads images has died ({text.splitlines()[0]}); memory may have run "
            "out: go on with --resume and fewer --workers, 0 for none"
        )
    return error


@contextmanager
def _quiet() -> Iterator[None]:
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
