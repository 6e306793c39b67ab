"""From a trained model's file to a smaller one, with a report."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from dsunet.benchmarking import circumstances
from dsunet.config import (
    FINE_TUNING,
    DataConfig,
    LossConfig,
    ModelConfig,
    PruneConfig,
    TrainConfig,
    require_one_class,
)
from dsunet.config.renamed import todays
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
from dsunet.research.pruning.measuring import evaluate_network, flops_of, seconds_in_turns
from dsunet.research.pruning.report import PruneReport, Stage
from dsunet.running.place import Place
from dsunet.support.files import (
    check_writable,
    encode_text,
    lock_folder,
    write_atomically,
    write_json,
)
from dsunet.training import train
from dsunet.training.request import Sources
from dsunet.weights.checkpoint import save
from dsunet.weights.models import load
from dsunet.weights.opened import Weights, open_weights

__all__ = ["prune"]

logger = logging.getLogger(__name__)

# Images of a batch: for gradients, which take memory, and for statistics, which should be those of
# batches as large as in training.
_GRADIENT_BATCH, _STATISTICS_BATCH = 2, 8


@dataclass(frozen=True)
class _Request:
    """The arguments of `prune`, and what follows from them."""

    opened: Weights
    sources: Sources
    folder: Path
    settings: PruneConfig
    data: DataConfig | None
    recipe: TrainConfig
    loss: LossConfig
    fine_tune: bool
    resume: bool
    on_line: Callable[[str], None] | None
    progress: Callable[[int, int], None] | None
    progress_bar: bool

    @cached_property
    def place(self) -> Place:
        """Where all of it happens."""
        return Place.chosen(self.recipe.device, self.recipe.precision)

    @property
    def source(self) -> Path:
        """The file that is pruned."""
        return self.opened.path

    @property
    def workers(self) -> int:
        """Processes that read images."""
        return self.data.workers if self.data else 0

    def say(self, line: str) -> None:
        """Tells a line of progress."""
        (self.on_line or logger.info)(line)


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
    opened = open_weights(weights)
    sources = Sources(opened.path, pyramid_weights, semantic_weights)
    recipe = recipe or TrainConfig(**FINE_TUNING)
    if loss is not None and loss.positive_weight == "auto":
        raise ConfigError("`positive_weight` auto is for training; give a number to prune with")
    how = (settings or PruneConfig(), data, recipe, loss or LossConfig())
    request = _Request(
        opened, sources, Path(output), *how, fine_tune, resume, on_line, progress, progress_bar
    )
    return _carried_out(request)


def _carried_out(request: _Request) -> PruneReport:
    """Settings, data, network, folder, smaller networks, measures, fine-tuning."""
    _check_request(request)
    place, data, folder, settings = request.place, request.data, request.folder, request.settings
    split = Split([], [], []) if data is None else split_data(data, request.recipe.seed)
    model = _load(request)
    split = split.seen_with(model.intensity)
    _check(model, settings, split)
    check_writable(folder)
    _check_folder(folder, request.resume)
    folder.mkdir(parents=True, exist_ok=True)
    with lock_folder(folder):
        _check_folder(folder, request.resume)  # another process may have been here
        _check_settings(folder / "report.json", settings, request.source)
        facts = _facts(data, split, place)
        unmeasured = "" if split.validation else "; no validation pairs to measure"
        request.say(f"pruning {request.source}{unmeasured}")
        models, effects = _smaller(request, model, split)
        stages = _stages(models, split.validation, place, request)
        report = PruneReport(
            request.source.name, folder / "pruned.safetensors", settings, stages, effects, facts
        )
        _save(models[-1][1], request.source, report)
        if request.fine_tune and models[-1][1] is not model:
            report = _fine_tuned(request, models[-1][1], report)
        final = folder / "best.safetensors"
        write_atomically(final, report.weights.read_bytes())
        report = dataclasses.replace(report, weights=final)
        _write(report, folder)
    return report


def _check_request(request: _Request) -> None:
    devices = request.recipe.devices * request.recipe.num_nodes
    if devices > 1:
        raise ConfigError(
            f"devices is {devices}, but pruning and its fine-tuning run on one: prune with "
            "`epochs` 0, then start dsunet train from the result (`weights`)"
        )
    if request.fine_tune and request.data is None:
        raise ConfigError("fine-tuning needs training images: give `data`; `epochs` 0 goes without")


def _smaller(
    request: _Request, model: DSUNet, split: Split
) -> tuple[list[tuple[str, DSUNet]], tuple[BlockEffect, ...]]:
    """The network before, between and after, each with its name; and what blocks are worth."""
    settings, say = request.settings, request.say
    effects: list[BlockEffect] = []
    count = settings.drop_semantic_blocks
    if count == "auto":
        say(f"measuring DINOv2's blocks on {len(split.validation)} pairs")
        effects = effects_of_blocks(
            model,
            split.validation,
            request.place,
            request.progress,
            workers=request.workers,
            protocol=request.recipe.protocol,
        )
        count = choose_blocks(effects, settings.tolerance)
        say(f"{count} of DINOv2's blocks can go for at most {settings.tolerance:g} of S")
    models = [("before", model)]
    if count:
        named = "1 block" if count == 1 else f"{count} blocks"
        models.append((f"{named} dropped", drop_blocks(model, count)))
    models += _narrowed(models[-1][1], request, split.training, bool(count))
    return models, tuple(effects)


def _save(model: DSUNet, source: Path, report: PruneReport) -> None:
    """Writes the smaller network, before any fine-tuning, and what is known of it so far."""
    facts = _training_facts(model, source, report.stages[-1])
    save(model.cpu(), report.weights, training=facts)
    _write(report, report.weights.parent)


def _fine_tuned(request: _Request, model: DSUNet, report: PruneReport) -> PruneReport:
    """The report after fine-tuning, with the weights that came of it."""
    assert request.data is not None
    run = request.folder / "run"
    request.say(f"fine-tuning in {run}")
    ended = train(
        run,
        _config(model),
        request.data,
        request.recipe,
        request.loss,
        weights=report.weights,
        pyramid_weights=request.sources.pyramid_weights,
        semantic_weights=request.sources.semantic_weights,
        resume=request.resume,
        on_line=request.on_line,
        progress_bar=request.progress_bar,
    )
    tuned = dataclasses.replace(report.stages[-1], name="fine-tuned", measures=ended.measures)
    how = dataclasses.asdict(request.recipe) | {"best_epoch": ended.best_epoch}
    return dataclasses.replace(
        report,
        weights=ended.weights,
        stages=(*report.stages, tuned),
        facts={**report.facts, "fine_tuning": how},
    )


def _load(request: _Request) -> DSUNet:
    weights, sources = request.opened, request.sources
    if (custom := weights.custom) is not None:
        raise CheckpointError(
            f"{weights.path} holds {custom.name}, a model of somebody's own; only dsunet's own "
            "models can be pruned"
        )
    model = load(
        weights, pyramid_weights=sources.pyramid_weights, semantic_weights=sources.semantic_weights
    )
    require_one_class(model.classes, "pruning", "prune before training for the classes")
    return model


def _check(model: DSUNet, settings: PruneConfig, split: Split) -> None:
    """Finds out early what cannot be done."""
    count = settings.drop_semantic_blocks
    if count:
        drop_blocks(model, 0 if count == "auto" else count)
    if count == "auto" and not split.validation:
        raise ConfigError(
            "`drop_semantic_blocks` auto measures on validation pairs: give `val`, `val_list`, "
            "`val_fraction` or `fold`"
        )
    if settings.importance == "taylor" and not split.training:
        raise ConfigError("`importance` taylor needs training images: give `data`")
    if not count and pruned_config(_config(model), settings) == model.config:
        raise ConfigError(
            "there is nothing to take away: give a larger `ratio`, a smaller `multiple`, or "
            "`drop_semantic_blocks`"
        )


def _config(model: DSUNet) -> ModelConfig:
    assert model.config is not None
    return model.config


def _check_folder(folder: Path, resume: bool) -> None:
    if folder.is_dir() and not resume and any(f.name != ".lock" for f in folder.iterdir()):
        raise OutputError(
            f"{folder} exists and is not empty; choose another `output`, or go on with `resume`"
        )


def _check_settings(report: Path, settings: PruneConfig, source: Path) -> None:
    """Raises unless a pruning to go on with, if there is one, was of the same kind."""
    if not report.is_file():
        return
    try:
        before = json.loads(report.read_bytes())
        given = {"source": source.name, **dataclasses.asdict(settings)}
        was = {"source": before["source"], **todays(before["settings"])}
    except (ValueError, KeyError, TypeError) as error:
        raise OutputError(f"{report} cannot be read; choose another `output`") from error
    changed = [key for key in given if was.get(key) != given[key]]
    if changed:
        key = changed[0]
        raise OutputError(
            f"{report.parent} was pruned with {key} = {was.get(key)!r}, not {given[key]!r}; resume "
            "it as it was started, or choose another `output`"
        )


def _narrowed(
    model: DSUNet, request: _Request, pairs: Sequence[Pair], dropped: bool
) -> list[tuple[str, DSUNet]]:
    """The model with fewer channels, if any are to go; statistics are those of the result."""
    settings, place = request.settings, request.place
    narrow = pruned_config(_config(model), settings) != model.config
    if not narrow and not dropped:
        return []
    samples = _calibration(model, pairs, settings.calibration, request.recipe.seed)
    place.settle(model).eval()
    smaller = model
    if narrow:
        by_gradient = bool(samples) and settings.importance != "magnitude"
        parts = _batches(samples, _GRADIENT_BATCH)
        gradients = loss_gradients(model, parts, request.loss) if by_gradient else None
        smaller = prune_channels(model, settings, gradients)
    parts = _batches(samples, _STATISTICS_BATCH)
    calibrate_batchnorm(place.settle(smaller).eval(), parts, fusion=dropped)
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
    request: _Request,
) -> tuple[Stage, ...]:
    seconds = seconds_in_turns([model for _, model in models], place)
    stages = []
    for (name, model), taken in zip(models, seconds, strict=True):
        if pairs:
            request.say(f"measuring on {len(pairs)} pairs: {name}")
        counts = parameter_counts(model)
        config = _config(model)
        measures: dict[str, float] = {}
        if pairs:
            protocol, workers = request.recipe.protocol, request.workers
            measures = evaluate_network(model, pairs, place, workers=workers, protocol=protocol)
        stages.append(
            Stage(
                name,
                config,
                counts["total"],
                counts["trainable"],
                flops_of(config),
                tuple(taken),
                measures,
            )
        )
    return tuple(stages)


def _training_facts(model: DSUNet, source: Path, stage: Stage) -> dict[str, Any]:
    """Those of the file that was pruned, but for its measures, which are no longer true."""
    untrue = ("measures", "epoch", "calibration")
    facts = {k: v for k, v in model.training_facts.items() if k not in untrue}
    measures = {"measures": dict(stage.measures)} if stage.measures else {}
    return {**facts, "pruned_from": source.name, **measures}


def _facts(data: DataConfig | None, split: Split, place: Place) -> dict[str, Any]:
    return {
        "data": None if data is None else data_name(data),
        "training_pairs": len(split.training),
        "validation_pairs": len(split.validation),
        "device": str(place.device),
        "precision": place.precision_name,
        "circumstances": circumstances(),
    }


def _write(report: PruneReport, folder: Path) -> None:
    write_json(folder / "report.json", report.to_dict())
    write_atomically(folder / "report.md", encode_text(report.markdown()))
