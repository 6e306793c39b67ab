"""From a trained model's file to a smaller one, with a report."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dsunet.benchmarking import circumstances
from dsunet.config import FINE_TUNING, DataConfig, LossConfig, ModelConfig, PruneConfig, TrainConfig
from dsunet.data import PairDataset, Sample, collate
from dsunet.data.dataset import Batch
from dsunet.data.pairs import Pair
from dsunet.data.split import Split, data_name, split_data
from dsunet.errors import CheckpointError, ConfigError, OutputError
from dsunet.network.counting import parameter_counts
from dsunet.network.model import DSUNet
from dsunet.research.pruning.blocks import (
    BlockEffect,
    choose_blocks,
    drop_blocks,
    effects_of_blocks,
)
from dsunet.research.pruning.calibration import calibrate_batchnorm, loss_gradients
from dsunet.research.pruning.channels import prune_channels, pruned_config
from dsunet.research.pruning.measuring import Place, evaluate_network, flops_of, seconds_in_turns
from dsunet.research.pruning.report import PruneReport, Stage
from dsunet.running.place import choose_device, choose_precision
from dsunet.support.files import (
    check_writable,
    encode_text,
    lock_folder,
    write_atomically,
    write_json,
)
from dsunet.training import train
from dsunet.weights.checkpoint import save
from dsunet.weights.models import load
from dsunet.weights.opened import open_weights

__all__ = ["prune"]

logger = logging.getLogger(__name__)

# Images of a batch: for gradients, which take memory, and for statistics, which should be those of
# batches as large as in training.
_GRADIENT_BATCH, _STATISTICS_BATCH = 2, 8


def prune(
    weights: str | Path,
    output: str | Path,
    settings: PruneConfig | None = None,
    data: DataConfig | None = None,
    recipe: TrainConfig | None = None,
    loss: LossConfig | None = None,
    *,
    fine_tune: bool = True,
    pyramid_weights: str | Path | None = None,
    semantic_weights: str | Path | None = None,
    resume: bool = False,
    on_line: Callable[[str], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
    progress_bar: bool = False,
) -> PruneReport:
    """Makes a trained network smaller, fine-tunes it, and writes what it costs and is worth.

    Blocks of DINOv2 go first, then channels of decoder and adapters. The folder `output` holds
    `best.safetensors` (the result, a weights file like any other), `pruned.safetensors` (before
    fine-tuning), `report.json` and `report.md`, and `run`, the folder of the fine-tuning.

    Args:
        weights: A trained model's file, or a run's folder.
        output: The folder to write; new or empty unless `resume`.
        settings: What to take away; half of all channels by default.
        data: Training and validation pairs. The former choose channels and fine-tune, the latter
            measure. Without data, channels are chosen by the size of their weights.
        recipe: How to fine-tune; its device, precision and seed hold for the rest, too.
        loss: The loss.
        fine_tune: Whether to fine-tune at all.
        pyramid_weights: File with the Hiera weights that `weights` refers to.
        semantic_weights: File with the DINOv2 weights that it refers to.
        resume: Prune again, which gives the same, and go on with the fine-tuning in `output`.
        on_line: Called with every line of progress.
        progress: Called with the images done and their number while blocks are measured.
        progress_bar: Show Lightning's progress bar.

    Raises:
        DsunetError: Model, data, device or folder cannot be used; each says why.
        ConfigError: Settings do not fit the model, or each other.
        KeyboardInterrupt: Interrupted; a fine-tuning that had begun can be resumed.
    """
    settings, loss = settings or PruneConfig(), loss or LossConfig()
    recipe = recipe or TrainConfig(**FINE_TUNING)
    say = on_line or logger.info
    folder = Path(output)
    if recipe.devices > 1:
        raise ConfigError(
            f"devices is {recipe.devices}, but pruning and its fine-tuning run on one: prune with "
            "--epochs 0, then start dsunet train from the result (--weights)"
        )
    if fine_tune and data is None:
        raise ConfigError("fine-tuning needs training images: give --data; --epochs 0 goes without")
    device = choose_device(recipe.device)
    precision = choose_precision(recipe.precision, device)
    place = Place(device, precision, data.workers if data else 0)
    split = Split([], [], []) if data is None else split_data(data, recipe.seed)
    model, source = _load(weights, pyramid_weights, semantic_weights)
    _check(model, settings, split)
    check_writable(folder)
    _check_folder(folder, resume)
    folder.mkdir(parents=True, exist_ok=True)
    with lock_folder(folder):
        _check_folder(folder, resume)  # another process may have been here
        _check_settings(folder / "report.json", settings, source)
        facts = _facts(data, split, place)
        say(f"pruning {source}" + ("" if split.validation else "; no validation pairs to measure"))
        effects: list[BlockEffect] = []
        count = settings.drop_semantic_blocks
        if count == "auto":
            say(f"measuring DINOv2's blocks on {len(split.validation)} pairs")
            effects = effects_of_blocks(model, split.validation, place, progress)
            count = choose_blocks(effects, settings.tolerance)
            say(f"{count} of DINOv2's blocks can go for at most {settings.tolerance:g} of S")
        models = [("before", model)]
        if count:
            named = "1 block" if count == 1 else f"{count} blocks"
            models.append((f"{named} dropped", drop_blocks(model, count)))
        models += _narrowed(models[-1][1], settings, split, recipe.seed, loss, place, bool(count))
        stages = _stages(models, split.validation, place, say)
        smaller = models[-1][1]
        result = folder / "pruned.safetensors"
        save(smaller.cpu(), result, training=_training_facts(smaller, source, stages[-1]))
        _write(PruneReport(source.name, result, settings, stages, tuple(effects), facts), folder)
        if fine_tune and smaller is not model:
            assert data is not None
            say(f"fine-tuning in {folder / 'run'}")
            ended = train(
                folder / "run",
                _config(smaller),
                data,
                recipe,
                loss,
                weights=result,
                pyramid_weights=pyramid_weights,
                semantic_weights=semantic_weights,
                resume=resume,
                on_line=on_line,
                progress_bar=progress_bar,
            )
            result = ended.weights
            tuned = dataclasses.replace(stages[-1], name="fine-tuned", measures=ended.measures)
            stages = (*stages, tuned)
            facts["fine_tuning"] = dataclasses.asdict(recipe) | {"best_epoch": ended.best_epoch}
        final = folder / "best.safetensors"
        write_atomically(final, result.read_bytes())
        report = PruneReport(source.name, final, settings, stages, tuple(effects), facts)
        _write(report, folder)
    return report


def _load(
    path: str | Path, pyramid_weights: str | Path | None, semantic_weights: str | Path | None
) -> tuple[DSUNet, Path]:
    """The model, and the file that it is from."""
    weights = open_weights(path)
    if (custom := weights.custom) is not None:
        raise CheckpointError(
            f"{weights.path} holds {custom.name}, a model of somebody's own; only dsunet's own "
            "models can be pruned"
        )
    model = load(weights, pyramid_weights=pyramid_weights, semantic_weights=semantic_weights)
    return model, weights.path


def _check(model: DSUNet, settings: PruneConfig, split: Split) -> None:
    """Finds out early what cannot be done."""
    count = settings.drop_semantic_blocks
    if count:
        drop_blocks(model, 0 if count == "auto" else count)
    if count == "auto" and not split.validation:
        raise ConfigError(
            "--drop_semantic_blocks auto measures on validation pairs: give --val, --val_list or "
            "--val_fraction"
        )
    if settings.importance == "taylor" and not split.training:
        raise ConfigError("--importance taylor needs training images: give --data")
    if not count and pruned_config(_config(model), settings) == model.config:
        raise ConfigError(
            "there is nothing to take away: give a larger --ratio, a smaller --multiple, or "
            "--drop_semantic_blocks"
        )


def _config(model: DSUNet) -> ModelConfig:
    assert model.config is not None
    return model.config


def _check_folder(folder: Path, resume: bool) -> None:
    if folder.is_dir() and not resume and any(f.name != ".lock" for f in folder.iterdir()):
        raise OutputError(
            f"{folder} exists and is not empty; choose another --output, or go on with --resume"
        )


def _check_settings(report: Path, settings: PruneConfig, source: Path) -> None:
    """Raises unless a pruning to go on with, if there is one, was of the same kind."""
    if not report.is_file():
        return
    try:
        before = json.loads(report.read_bytes())
        given = {"source": source.name, **dataclasses.asdict(settings)}
        was = {"source": before["source"], **before["settings"]}
    except (ValueError, KeyError, TypeError) as error:
        raise OutputError(f"{report} cannot be read; choose another --output") from error
    changed = [key for key in given if was.get(key) != given[key]]
    if changed:
        key = changed[0]
        raise OutputError(
            f"{report.parent} was pruned with {key} = {was.get(key)!r}, not {given[key]!r}; resume "
            "it as it was started, or choose another --output"
        )


def _narrowed(
    model: DSUNet,
    settings: PruneConfig,
    split: Split,
    seed: int,
    loss: LossConfig,
    place: Place,
    dropped: bool,
) -> list[tuple[str, DSUNet]]:
    """The model with fewer channels, if any are to go; statistics are those of the result."""
    narrow = pruned_config(_config(model), settings) != model.config
    if not narrow and not dropped:
        return []
    samples = _calibration(model, split.training, settings.calibration, seed)
    place.settle(model)
    smaller = model
    if narrow:
        by_gradient = bool(samples) and settings.importance != "magnitude"
        parts = _batches(samples, _GRADIENT_BATCH)
        gradients = loss_gradients(model, parts, loss) if by_gradient else None
        smaller = prune_channels(model, settings, gradients)
    parts = _batches(samples, _STATISTICS_BATCH)
    calibrate_batchnorm(place.settle(smaller), parts, fusion=dropped)
    return [("pruned", smaller)] if narrow else []


def _calibration(model: DSUNet, pairs: Sequence[Pair], count: int, seed: int) -> list[Sample]:
    """Some training pairs, chosen by the seed, as they are."""
    order = np.random.default_rng(seed).permutation(len(pairs))[:count]
    data = PairDataset([pairs[i] for i in order], *model.view_sizes)
    return [data[0, i] for i in range(len(data))]


def _batches(samples: Sequence[Sample], size: int) -> list[Batch]:
    return [collate(samples[i : i + size]) for i in range(0, len(samples), size)]


def _stages(
    models: Sequence[tuple[str, DSUNet]],
    pairs: Sequence[Pair],
    place: Place,
    say: Callable[[str], None],
) -> tuple[Stage, ...]:
    seconds = seconds_in_turns([model for _, model in models], place)
    stages = []
    for (name, model), taken in zip(models, seconds, strict=True):
        if pairs:
            say(f"measuring on {len(pairs)} pairs: {name}")
        counts = parameter_counts(model)
        config = _config(model)
        stages.append(
            Stage(
                name,
                config,
                counts["total"],
                counts["trainable"],
                flops_of(config),
                tuple(taken),
                evaluate_network(model, pairs, place) if pairs else {},
            )
        )
    return tuple(stages)


def _training_facts(model: DSUNet, source: Path, stage: Stage) -> dict[str, Any]:
    """Those of the file that was pruned, but for its measures, which are no longer true."""
    facts = {k: v for k, v in model.training_facts.items() if k not in ("measures", "epoch")}
    measures = {"measures": dict(stage.measures)} if stage.measures else {}
    return {**facts, "pruned_from": source.name, **measures}


def _facts(data: DataConfig | None, split: Split, place: Place) -> dict[str, Any]:
    return {
        "data": None if data is None else data_name(data),
        "training_pairs": len(split.training),
        "validation_pairs": len(split.validation),
        "device": str(place.device),
        "precision": str(place.precision).removeprefix("torch."),
        "circumstances": circumstances(),
    }


def _write(report: PruneReport, folder: Path) -> None:
    write_json(folder / "report.json", report.to_dict())
    write_atomically(folder / "report.md", encode_text(report.markdown()))
