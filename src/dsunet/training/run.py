"""One training run, from settings to a folder that explains itself."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dsunet.config import DataConfig, DistillConfig, LossConfig, ModelConfig, TrainConfig
from dsunet.data.sources import name_of
from dsunet.data.split import Split, split_data
from dsunet.data.unlabelled import find_unlabelled
from dsunet.errors import ConfigError, DeviceError, MissingPackageError, TrainingError
from dsunet.maps.semantic import FeatureCache, disk_needed, gigabytes, obstacle, open_cache
from dsunet.network.base import SegmentationModel
from dsunet.network.counting import parameter_counts
from dsunet.network.encoders import HieraEncoder
from dsunet.network.model import DSUNet
from dsunet.network.source import CustomSource
from dsunet.running.inference import lay_out
from dsunet.running.place import choose_device, choose_precision
from dsunet.support.files import check_writable, clear_temporaries, lock_folder, write_json
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
from dsunet.training.loaders import make_loaders
from dsunet.weights.checkpoint import read_metadata
from dsunet.weights.custom import create_custom
from dsunet.weights.models import create_from_config

__all__ = ["TrainResult", "create_network", "distill", "train"]

logger = logging.getLogger(__name__)


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
    pyramid_weights: str | Path | None = None,
    semantic_weights: str | Path | None = None,
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
        pyramid_weights: File with Hiera's weights, as in `create_model`.
        semantic_weights: File with DINOv2's weights.
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

        from dsunet.training.callbacks import RunFolder, SafeInterrupt
        from dsunet.training.module import SegmentationModule
        from dsunet.training.teacher import check_teacher, open_teacher
        from dsunet.training.trainer import fit, make_trainer, quiet, strategy_for
    except ImportError as error:
        raise MissingPackageError(
            f"training needs the package {error.name}; install all it needs by "
            "pip install 'dsunet[train]'"
        ) from error

    recipe, loss = recipe or TrainConfig(), loss or LossConfig()
    folder = Path(output)
    sources: dict[str, str | None] = {
        "weights": "none" if weights is None else str(weights),
        "pyramid_weights": str(pyramid_weights) if pyramid_weights else None,
        "semantic_weights": str(semantic_weights) if semantic_weights else None,
    }
    if not isinstance(model, ModelConfig):
        model = CustomSource.of(model)
    rank = int(os.environ.get("LOCAL_RANK", 0))  # Lightning starts the others by itself
    first = rank == 0
    say = (on_line or logger.info) if first else _unheard
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
        raise ConfigError(
            "early_stop needs a validation set: give --val, --val-list or --val-fraction"
        )
    lists = {"train.txt": names_of(split.training), "val.txt": names_of(split.validation)}
    unlabelled: list[Path] = []
    if distill is not None and distill.unlabelled:
        full = data.check == "full"
        unlabelled = find_unlabelled(distill.unlabelled, split, full=full, say=say)
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
        stack.enter_context(quiet())
        L.seed_everything(recipe.seed, verbose=False)
        network = create_network(model, weights, pyramid_weights, semantic_weights)
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
                say,
                workers=data.workers,
            )
        cache = _feature_cache(network, data, split, recipe, precision, say)
        network = lay_out(network, device).train()
        if recipe.activation_checkpointing:
            checkpoint_activations(network)
        if recipe.batch_size == "auto":
            pairs = len(split.training) + len(unlabelled)
            recipe = choose_batch_size(network, recipe, loss, device, precision, pairs, say)
            settings |= {"batch_size": recipe.batch_size, "accumulate": recipe.accumulate}
        if first:  # only now: a model that cannot be built leaves no folder
            make_folder(folder)
            stack.enter_context(lock_folder(folder))
            check_folder(folder, settings, lists, resume)  # another process may have been here
            clear_temporaries(folder)
            if report is not None:
                write_json(folder / "data.json", report)
            if not going_on:
                write_start(folder, settings, lists)
        loaders = make_loaders(
            network,
            split,
            unlabelled,
            data,
            recipe,
            cache=cache,
            lessons=teaching.lessons if teaching is not None else None,
            rank=rank,
            pin_memory=device.type == "cuda",
        )
        about = facts(data, split, recipe)
        if distill is not None and teaching is not None:
            about["teacher"] = teaching.facts(distill, len(unlabelled))
        about |= {"device": str(device), "precision": str(precision).removeprefix("torch.")}
        interrupt = SafeInterrupt()
        run_folder = RunFolder(folder, loaders.pictures, about, say, interrupt)
        strategy = strategy_for(network, recipe.devices, loss, distill)
        trainer = make_trainer(
            run_folder, interrupt, recipe, device, precision, strategy, progress_bar
        )
        saved = folder / "resume.ckpt"
        checkpoint = saved if going_on and saved.exists() else None
        if checkpoint is not None:
            epoch, batches = position_of(checkpoint)
            loaders.go_on_from(epoch, batches)
        if first:
            write_environment(folder, network, device, precision)
            say(_headline(network, split, len(unlabelled), device, precision))
            if weights in ("default", "full") and network.training_facts and not going_on:
                say(
                    "starts from the trained weights that come with dsunet, not from random ones "
                    f"(--weights none); about them: dsunet info {network.training_facts['name']}"
                )
        distillation = teaching.distillation if teaching is not None else None
        module = SegmentationModule(network, recipe, loss, cache, distillation)
        fit(trainer, module, loaders, interrupt, folder, checkpoint)
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
        ConfigError: Settings do not go together.
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
        ConfigError: It is a network of the user's own, whose blocks nobody knows, or has another
            encoder than Hiera.
    """
    if not isinstance(network, DSUNet):
        raise ConfigError(
            "--activation-checkpointing is for dsunet's models: leave it out, and let your network "
            "call torch.utils.checkpoint itself"
        )
    if not isinstance(network.pyramid, HieraEncoder):
        raise ConfigError(
            "--activation-checkpointing is for Hiera: leave it out with a convolutional encoder, "
            "whose BatchNorm would count what is computed again"
        )
    network.pyramid.checkpointing = True


def create_network(
    model: ModelConfig | CustomSource,
    weights: str | Path | None,
    pyramid_weights: str | Path | None = None,
    semantic_weights: str | Path | None = None,
) -> SegmentationModel:
    """A network to train: one of ours, or one of the user's own; arguments as in `train`."""
    if isinstance(model, ModelConfig):
        return create_from_config(
            model, weights, pyramid_weights=pyramid_weights, semantic_weights=semantic_weights
        )
    if pyramid_weights is not None or semantic_weights is not None:
        raise ConfigError(
            f"--pyramid-weights and --semantic-weights are for dsunet's models, not for {model.name}"
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
