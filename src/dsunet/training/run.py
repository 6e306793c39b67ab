"""One training run, from settings to a folder that explains itself."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import platform
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
import yaml
from torch.utils.data import DataLoader

from dsunet.checkpoint import read_metadata
from dsunet.config import DataConfig, LossConfig, ModelConfig, TrainConfig, as_size
from dsunet.data import EpochSampler, Pair, PairDataset, collate
from dsunet.data.check import check_split
from dsunet.data.split import Split, split_data
from dsunet.devices import choose_device, choose_precision
from dsunet.errors import (
    CheckpointError,
    DataError,
    DeviceError,
    DsunetError,
    MissingPackageError,
    OutputError,
    TrainingError,
)
from dsunet.files import (
    PREFIX,
    check_writable,
    clear_temporaries,
    decode_text,
    encode_text,
    lock_folder,
    write_atomically,
)
from dsunet.inference import lay_out
from dsunet.model import DSUNet, create_from_config, parameter_counts

__all__ = ["TrainResult", "train"]

logger = logging.getLogger(__name__)

# Remarks of Lightning and torch that say nothing a user could act on, by their exact words.
_REMARKS = (
    "does not have many workers",
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
    model: ModelConfig,
    data: DataConfig,
    recipe: TrainConfig | None = None,
    loss: LossConfig | None = None,
    *,
    weights: str | Path | None = "default",
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
        model: What to train.
        data: What to train on.
        recipe: How; the paper's recipe by default.
        loss: The loss; the paper's by default.
        weights: What the model starts from, as in `create_model`.
        resume: Go on with the run in the folder; start it if there is none yet.
        on_line: Called with every line of progress.
        progress_bar: Show Lightning's progress bar.

    Raises:
        DsunetError: Data, weights, device or folder cannot be used; each says why.
        KeyboardInterrupt: Interrupted; the state is saved unless it came before the first step.
    """
    try:
        import lightning as L
        from lightning.pytorch.callbacks import RichProgressBar
        from lightning.pytorch.loggers import TensorBoardLogger

        from dsunet.training.callbacks import RunFolder, SafeInterrupt
        from dsunet.training.module import SegmentationModule
    except ImportError as error:
        raise MissingPackageError(
            f"training needs the package {error.name}; install all it needs by "
            "pip install 'dsunet[train]'"
        ) from error

    recipe, loss = recipe or TrainConfig(), loss or LossConfig()
    say = on_line or logger.info
    folder = Path(output)
    weights = str(weights) if weights is not None else None
    settings = _settings(model, data, recipe, loss, weights)
    device = choose_device(recipe.device)
    precision = choose_precision(recipe.precision, device)
    _check_devices(device, recipe.devices)
    split = split_data(data, recipe.seed)
    if recipe.early_stop is not None and not split.validation:
        raise ValueError(
            "early_stop needs a validation set: give --val, --val-list or --val-fraction"
        )
    lists = {"train.txt": _names(split.training), "val.txt": _names(split.validation)}
    rank = int(os.environ.get("LOCAL_RANK", 0))  # Lightning starts the others by itself
    first = rank == 0
    going_on = resume and (folder / "config.yaml").is_file()
    with ExitStack() as stack:
        if first:
            _check_folder(folder, settings, lists, resume)
            check_writable(folder)
            if resume and not going_on:
                say(f"there is no run in {folder} yet; starting it")
            report = _check_data(folder, split, data, say, going_on)
        stack.enter_context(_quiet())
        L.seed_everything(recipe.seed, verbose=False)
        network = lay_out(create_from_config(model, weights), device).train()
        if first:  # only now: a model that cannot be built leaves no folder
            _make(folder)
            stack.enter_context(lock_folder(folder))
            clear_temporaries(folder)
            if report is not None:
                write_atomically(folder / "data.json", report)
            if not going_on:
                _write_start(folder, settings, lists)
        dino_size = as_size(model.dino_size) if network.dinov2 else None
        world = recipe.devices
        training = PairDataset(
            split.training,
            as_size(model.sam_size),
            dino_size,
            flips=(data.horizontal_flip, data.vertical_flip),
            seed=recipe.seed,
        )
        validation = PairDataset(
            split.validation, as_size(model.sam_size), dino_size, keep_truth=True
        )
        sampler = EpochSampler(len(training), seed=recipe.seed, rank=rank, world=world)
        loaders: dict[str, Any] = {
            "num_workers": data.workers,
            "persistent_workers": data.workers > 0,
            "pin_memory": device.type == "cuda",
            "collate_fn": collate,
        }
        train_loader = DataLoader(training, recipe.batch_size, sampler=sampler, **loaders)
        # one image a batch, so that the measures are those of prediction to the last digit
        val_loader = DataLoader(
            validation, 1, sampler=EpochSampler(len(validation), shuffle=False), **loaders
        )
        facts = _facts(data, split, recipe)
        facts |= {"device": str(device), "precision": str(precision).removeprefix("torch.")}
        interrupt = SafeInterrupt()
        run_folder = RunFolder(
            folder, validation if split.validation else None, facts, say, interrupt
        )
        callbacks: list[Any] = [run_folder, interrupt]
        if progress_bar:
            callbacks.append(RichProgressBar(leave=False))
        trainer = L.Trainer(
            accelerator={"cpu": "cpu", "cuda": "gpu", "mps": "mps"}[device.type],
            devices=[device.index] if device.index is not None else world,
            precision=_LIGHTNING[str(precision).removeprefix("torch.")],  # type: ignore[arg-type]
            max_epochs=recipe.epochs,
            accumulate_grad_batches=recipe.accumulate,
            gradient_clip_val=recipe.clip_grad_norm,
            check_val_every_n_epoch=recipe.val_every,
            deterministic="warn" if recipe.deterministic else False,
            log_every_n_steps=recipe.log_every,
            logger=TensorBoardLogger(folder, name="tensorboard", version=""),
            callbacks=callbacks,
            enable_checkpointing=False,
            enable_progress_bar=progress_bar,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            benchmark=device.type == "cuda" and not recipe.deterministic,
        )
        checkpoint = folder / "resume.ckpt" if (folder / "resume.ckpt").exists() else None
        if checkpoint is not None:
            epoch, batches = _position(checkpoint)
            sampler.go_on_from(epoch, batches * recipe.batch_size)
        if first:
            _write_environment(folder, network, device, precision)
            say(_headline(network, split, device, precision))
        try:
            trainer.fit(
                SegmentationModule(network, recipe, loss),
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


def _settings(
    model: ModelConfig, data: DataConfig, recipe: TrainConfig, loss: LossConfig, weights: str | None
) -> dict[str, Any]:
    """All settings under the names of the command line's flags, ready for YAML."""
    flat: dict[str, Any] = {"model": model.name, "weights": weights or "none"}
    for part in (model, data, recipe, loss):
        flat |= {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in dataclasses.asdict(part).items()
            if key != "name"
        }
    return flat


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


def _names(pairs: list[Pair]) -> str:
    return "".join(f"{pair.name}\n" for pair in pairs)


def _check_folder(
    folder: Path, settings: dict[str, Any], lists: dict[str, str], resume: bool
) -> None:
    """Raises `OutputError` unless the folder is free or, to resume, holds this very run."""
    config = folder / "config.yaml"
    if not (resume and config.is_file()):
        if folder.exists() and not folder.is_dir():
            raise OutputError(f"{folder} is a file; choose another --output")
        # what a run leaves that was killed before it began
        begun = {".lock", "data.json", *lists} if resume else set()
        there = [file.name for file in folder.iterdir()] if folder.exists() else []
        if any(name not in begun and not name.startswith(PREFIX) for name in there):
            raise OutputError(
                f"{folder} exists and is not empty; choose another --output"
                + (": it holds no run to go on with" if resume else ", or go on with --resume")
            )
        return
    before = yaml.safe_load(config.read_text(encoding="utf-8"))
    free = {"workers", "device", "check", "save_every", "log_every", "val_pictures"}
    changed = [k for k in settings if k not in free and before.get(k) != settings[k]]
    if changed:
        key = changed[0]
        raise OutputError(
            f"the run in {folder} was started with {key} = {before.get(key)!r}, not "
            f"{settings[key]!r}; resume it with the settings it was started with "
            f"(--config {config}), or choose another --output"
        )
    for name, text in lists.items():
        if decode_text((folder / name).read_bytes()) != text:
            raise OutputError(
                f"the data set has changed since the run in {folder} was started: its "
                f"{name} names other pairs; put them back, or choose another --output"
            )


def _check_data(
    folder: Path, split: Split, data: DataConfig, say: Callable[[str], None], going_on: bool
) -> bytes | None:
    """What is to be written to `data.json`; nothing if the same files were found good before."""
    fingerprint = split.fingerprint()
    if going_on:
        try:
            if json.loads((folder / "data.json").read_bytes())["fingerprint"] == fingerprint:
                return None
        except (OSError, ValueError, KeyError, TypeError):
            pass  # checked again
    pairs = len(split.training) + len(split.validation)
    if pairs > 1000 and data.check == "full":
        say(f"reading {pairs:,} pairs to check them (--check headers is quicker)")
    report = check_split(split, full=data.check == "full")
    for line in report.lines():
        say(line)
    report.raise_for_errors()
    if not split.training:
        raise DataError("no pairs are left to train on; hold fewer of them out for validation")
    return (json.dumps({"fingerprint": fingerprint, **report.to_dict()}, indent=2) + "\n").encode()


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"the folder {folder} cannot be made ({error.strerror}); choose another"
        ) from error


def _write_start(folder: Path, settings: dict[str, Any], lists: dict[str, str]) -> None:
    """The settings come last: with them the run has begun."""
    for name, text in lists.items():
        write_atomically(folder / name, encode_text(text))
    text = yaml.safe_dump(settings, sort_keys=False)
    write_atomically(folder / "config.yaml", encode_text(text))


def _write_environment(
    folder: Path, network: DSUNet, device: torch.device, precision: torch.dtype
) -> None:
    """Writes what the run was started with, and adds to it when the run is resumed."""
    path = folder / "environment.json"
    now: dict[str, Any] = {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": sys.argv,
        "device": str(device),
        "precision": str(precision).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "python": platform.python_version(),
        "packages": {
            name: metadata.version(name)
            for name in ("dsunet", "torch", "timm", "lightning", "pysodmetrics")
        },
        "parameters": parameter_counts(network),
    }
    if path.is_file():
        first = json.loads(path.read_text(encoding="utf-8"))
        now = {**first, "resumed": [*first.get("resumed", []), now]}
    write_atomically(path, (json.dumps(now, indent=2) + "\n").encode())


def _facts(data: DataConfig, split: Split, recipe: TrainConfig) -> dict[str, Any]:
    source = data.data or data.images or ""
    return {
        "data": Path(source).name,
        "training_pairs": len(split.training),
        "validation_pairs": len(split.validation),
        "seed": recipe.seed,
        "epochs": recipe.epochs,
    }


def _headline(network: DSUNet, split: Split, device: torch.device, precision: torch.dtype) -> str:
    counts = parameter_counts(network)
    share = 100 * counts["trainable"] / counts["total"]
    return (
        f"{network.config.name if network.config else 'model'}: {counts['trainable']:,} of "
        f"{counts['total']:,} parameters trained ({share:.2f} %); {len(split.training)} training "
        f"and {len(split.validation)} validation pairs; {device}, "
        f"{str(precision).removeprefix('torch.')}"
    )


def _position(checkpoint: Path) -> tuple[int, int]:
    """The epoch that a resume state goes on in, and how many of its batches are done."""
    try:
        state = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
        epoch, batches = state["callbacks"]["RunFolder"]["position"]
    except Exception as error:  # torch raises many kinds
        raise CheckpointError(
            f"{checkpoint} cannot be read, so the run cannot go on; start another one from "
            f"--weights {checkpoint.parent / 'last.safetensors'}"
        ) from error
    return int(epoch), int(batches)


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
        return OutputError(
            f"{error.filename or folder} cannot be written ({error.strerror or error}); what was "
            "saved before is whole: make room, and go on with --resume"
        )
    if isinstance(error, torch.OutOfMemoryError):
        return TrainingError(
            "the device is out of memory; try a smaller --batch-size (with --accumulate to make up "
            "for it), or a smaller --sam-size and --dino-size"
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
