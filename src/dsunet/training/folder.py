"""The run's folder: what it may hold before the start, and what explains the run in it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import platform
import sys
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
import yaml

from dsunet.config import DataConfig, DistillConfig, LossConfig, ModelConfig, TrainConfig
from dsunet.config.classes import leave_out_unused
from dsunet.config.renamed import todays
from dsunet.data import Pair
from dsunet.data.checks.look import check_split
from dsunet.data.split import Split, data_name
from dsunet.errors import CheckpointError, DataError, OutputError, few
from dsunet.network.base import SegmentationModel
from dsunet.network.counting import parameter_counts
from dsunet.network.source import CustomSource
from dsunet.running.place import Place
from dsunet.support.files import PREFIX, decode_text, encode_text, write_atomically, write_json

__all__ = [
    "check_folder",
    "check_free",
    "checked_data",
    "facts",
    "flat_settings",
    "make_folder",
    "more_epochs",
    "names_of",
    "position_of",
    "recorded_batch",
    "recorded_loss",
    "recorded_protocol",
    "write_environment",
    "write_start",
]


def flat_settings(
    model: ModelConfig | CustomSource,
    data: DataConfig,
    recipe: TrainConfig,
    loss: LossConfig,
    sources: dict[str, str | None],
    distill: DistillConfig | None = None,
) -> dict[str, Any]:
    """All settings under the names of the command line's flags, ready for YAML.

    `sources` are `weights`, `pyramid_weights` and `semantic_weights`; `distill` is of distillation
    alone.
    """
    settings = {field.name: getattr(model, field.name) for field in dataclasses.fields(model)}
    flat = {"model": settings.pop("name"), **sources, **settings}
    flat.pop("target", None)  # of a model of the user's own, which its name stands for
    leave_out_unused(flat)
    for part in (data, recipe, loss):
        flat |= dataclasses.asdict(part)
    if "classes" not in flat and flat["class_table"] is None:
        del flat["class_table"]
    if distill is not None:
        flat |= dataclasses.asdict(distill)
    return {key: list(v) if isinstance(v, tuple) else v for key, v in flat.items()}


def _recorded(folder: Path) -> dict[str, Any]:
    """A run's settings; empty if they cannot be read, which is told of when they are compared."""
    try:
        settings = yaml.safe_load((folder / "config.yaml").read_bytes())
    except (OSError, yaml.YAMLError, ValueError):
        return {}
    return _with_a_common_batch(settings) if isinstance(settings, dict) else {}


def _with_a_common_batch(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings in which `batch_size` is that of all devices; once it was that of each."""
    devices, batch = settings.get("devices", 1), settings.get("batch_size")
    if "num_nodes" in settings or not (isinstance(devices, int) and isinstance(batch, int)):
        return settings
    return {**settings, "batch_size": batch * devices}


def recorded_batch(folder: Path, recipe: TrainConfig) -> TrainConfig:
    """The recipe with the numbers that were found for `batch_size="auto"` when a run started.

    A folder without such numbers leaves it as it is.
    """
    before = _recorded(folder)
    try:
        batch, accumulate = int(before["batch_size"]), int(before["accumulate"])
    except (KeyError, TypeError, ValueError):
        return recipe
    return dataclasses.replace(recipe, batch_size=batch, accumulate=accumulate)


def recorded_loss(folder: Path, loss: LossConfig) -> LossConfig:
    """The loss with the number that was found for `positive_weight="auto"` when a run started.

    A folder without such a number leaves it as it is.
    """
    found = _recorded(folder).get("positive_weight")
    if isinstance(found, int | float):
        return dataclasses.replace(loss, positive_weight=float(found))
    return loss


def recorded_protocol(folder: Path, recipe: TrainConfig) -> TrainConfig:
    """The recipe with the protocol of a run that began when validation had but the paper's one.

    Measures by two protocols cannot be compared, so such a run goes on with the one that it has.
    """
    before = _recorded(folder)
    if not before or "protocol" in before:
        return recipe
    return dataclasses.replace(recipe, protocol="benchmark")


def names_of(pairs: list[Pair]) -> str:
    """The stems of some pairs, one a line."""
    return "".join(f"{pair.name}\n" for pair in pairs)


def check_folder(
    folder: Path, settings: dict[str, Any], lists: dict[str, str], resume: bool
) -> None:
    """Raises `OutputError` unless the folder is free or, to resume, holds this very run."""
    config = folder / "config.yaml"
    if not (resume and config.is_file()):
        check_free(folder, resume, lists)
        return
    try:
        before = yaml.safe_load(config.read_bytes())
        if not isinstance(before, dict):
            raise ValueError("no settings in it")
    except (yaml.YAMLError, ValueError) as error:
        raise OutputError(
            f"{config} cannot be read ({' '.join(str(error).split())}), so the run cannot go on; "
            "mend it, or choose another `output`"
        ) from error
    _check_same(folder, _with_a_common_batch(before), settings)
    for name, text in lists.items():
        present = (folder / name).is_file()
        if not present or decode_text((folder / name).read_bytes()) != text:
            raise OutputError(
                f"the data set has changed since the run in {folder} was started: its "
                f"{name} names other pairs; put them back, or {_anew(folder)}"
            )


def check_free(folder: Path, resume: bool, lists: Collection[str] = ()) -> None:
    """Raises `OutputError` if a folder holds anything but what a run leaves that never began.

    Args:
        folder: It need not be there.
        resume: Whether to go on with such a run.
        lists: Names of the lists that a run begins with.
    """
    begun = {".lock", "data.json", "plan.yaml", *lists} if resume else {".lock"}
    there = [file.name for file in folder.iterdir()] if folder.exists() else []
    if any(name not in begun and not name.startswith(PREFIX) for name in there):
        raise OutputError(
            f"{folder} exists and is not empty; choose another `output`"
            + (": it holds no run to go on with" if resume else ", or go on with `resume`")
        )


# Settings that may be others when a run goes on.
_FREE = frozenset(
    (
        *("workers", "device", "check", "save_every", "log_every", "val_pictures", "max_pixels"),
        *("logger", "logger_project"),
        # the results are the same, of several devices but for the last digits
        *("activation_checkpointing", "keep_memory", "devices", "num_nodes", "strategy"),
        # may have moved; what is in the weights, and the names of pairs, are compared
        *("pyramid_weights", "semantic_weights", "benchmarks", "cache_budget"),
        # a teacher is told by its weights or maps, and unlabelled images by their names
        *("teacher", "teacher_pyramid_weights", "teacher_semantic_weights", "teacher_cache"),
        "unlabelled",
    )
)


# Settings that say where the data lie.
_PLACES = frozenset(("data", "images", "masks", "val", "train_list", "val_list"))


def _more_epochs(before: dict[str, Any], settings: dict[str, Any]) -> bool:
    try:
        return int(settings["epochs"]) > int(before["epochs"])
    except (KeyError, TypeError, ValueError):
        return False


def more_epochs(folder: Path, settings: dict[str, Any]) -> tuple[int, int] | None:
    """How many epochs a run was laid out for, and how many it is asked for now; `None` if alike."""
    before = _recorded(folder)
    longer = _more_epochs(before, settings)
    return (int(before["epochs"]), settings["epochs"]) if longer else None


def _check_same(folder: Path, before: dict[str, Any], settings: dict[str, Any]) -> None:
    """Raises `OutputError` if a run was started with other settings."""
    config = folder / "config.yaml"
    if ("teacher" in before) != ("teacher" in settings):
        has, command = ("a", "distill") if "teacher" in before else ("no", "train")
        raise OutputError(
            f"the run in {folder} has {has} teacher; resume it by dsunet {command} --config "
            f"{config}, or choose another `output`"
        )
    # what an earlier version did not know was as it is by default
    defaults = {
        field.name: field.default
        for cls in (DataConfig, TrainConfig, LossConfig)
        for field in dataclasses.fields(cls)
    }
    read = "full" if settings.get("intensity") else None
    before = {**defaults, "protocol": "benchmark", "intensity": read, **todays(before)}
    caches = (before["feature_cache"], settings["feature_cache"])
    free = set(_FREE)
    if "content" in _noted_data(folder):  # which is compared instead
        free |= _PLACES
    if _more_epochs(before, settings):
        free |= {"epochs"}
    if "off" not in caches:
        free |= {"feature_cache"}  # wherever it is
    elif caches == ("off", "off"):
        free |= {"cache_type"}
    changed = [k for k in settings if k not in free and before.get(k) != settings[k]]
    if "weights" in changed and _same_file(before.get("weights"), settings["weights"]):
        changed.remove("weights")
    if changed:
        said = [f"{key} = {before.get(key)!r}, not {settings[key]!r}" for key in changed]
        raise OutputError(
            f"the run in {folder} was started with {few(said)}; resume it with the settings it was "
            f"started with (`config` {config}), or {_anew(folder)}"
        )


def _same_file(one: object, other: object) -> bool:
    """Whether two paths, however they are written, mean one file or folder that is there."""
    try:
        return Path(str(one)).samefile(str(other))
    except OSError:
        return False


def _noted_data(folder: Path) -> dict[str, Any]:
    """What a run's `data.json` says; empty if it cannot be read."""
    try:
        noted = json.loads((folder / "data.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return noted if isinstance(noted, dict) else {}


def _require_the_same_content(folder: Path, noted: dict[str, Any], split: Split) -> None:
    """Raises `OutputError` if the run's data were others, see `Split.content`."""
    if "content" in noted and noted["content"] != split.content():
        raise OutputError(
            f"the data set has changed since the run in {folder} was started: files of the same "
            f"names hold something else; put them back, or {_anew(folder)}"
        )


def _anew(folder: Path) -> str:
    return f"start another run from its weights (`weights` {folder}, another `output`)"


def checked_data(
    folder: Path,
    split: Split,
    data: DataConfig,
    say: Callable[[str], None],
    going_on: bool,
    view: tuple[int, int] | None = None,
) -> dict[str, Any] | None:
    """What is to be written to `data.json`; nothing if the same files were found good before."""
    fingerprint = split.fingerprint()
    if going_on:
        noted = _noted_data(folder)
        _require_the_same_content(folder, noted, split)
        looked_at = noted.get("check") in ("full", data.check)
        if looked_at and noted.get("fingerprint") == fingerprint:
            return None
    pairs = len(split.training) + len(split.validation)
    if pairs > 1000 and data.check == "full":
        say(f"reading {pairs:,} pairs to check them (`check` headers is quicker)")
    report = check_split(split, full=data.check == "full", view=view, tiling=data.tiling)
    for line in report.lines():
        say(line)
    report.raise_for_errors()
    if not split.training:
        raise DataError("no pairs are left to train on; hold fewer of them out for validation")
    marks = {"fingerprint": fingerprint, "content": split.content(), "check": data.check}
    return {**marks, **report.to_dict()}


def make_folder(folder: Path) -> None:
    """Makes the folder if it is not there; raises `OutputError` if it cannot be made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"the folder {folder} cannot be made ({error.strerror}); choose another"
        ) from error


def write_start(
    folder: Path, settings: dict[str, Any], lists: dict[str, str], plan: str | None = None
) -> None:
    """The settings come last: with them the run has begun; `plan` is what they follow from."""
    if plan is not None:
        write_atomically(folder / "plan.yaml", encode_text(plan))
    for name, text in lists.items():
        write_atomically(folder / name, encode_text(text))
    text = yaml.safe_dump(settings, sort_keys=False)
    write_atomically(folder / "config.yaml", encode_text(text))


def write_environment(folder: Path, network: SegmentationModel, place: Place) -> None:
    """Writes what the run was started with, and adds to it when the run is resumed."""
    path = folder / "environment.json"
    now: dict[str, Any] = {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": sys.argv,
        "device": str(place.device),
        "precision": place.precision_name,
        "threads": torch.get_num_threads(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "gpu": torch.cuda.get_device_name(place.device) if place.device.type == "cuda" else None,
        "python": platform.python_version(),
        "packages": {
            name: metadata.version(name)
            for name in ("dsunet", "torch", "timm", "lightning", "numpy")
        },
        "parameters": parameter_counts(network),
    }
    if path.is_file():
        with contextlib.suppress(ValueError, TypeError, AttributeError):  # else it is written anew
            first = json.loads(path.read_bytes())
            now = {**first, "resumed": [*first.get("resumed", []), now]}
    write_json(path, now)


def facts(data: DataConfig, split: Split, recipe: TrainConfig) -> dict[str, Any]:
    """What is written into every weights file beside the measures."""
    return {
        "data": data_name(data),
        "training_pairs": len(split.training),
        "validation_pairs": len(split.validation),
        "seed": recipe.seed,
        "epochs": recipe.epochs,
        **({"average": recipe.average} if recipe.average else {}),
        **({"tiling": data.tiling.to_dict()} if data.tiling is not None else {}),
    }


def position_of(checkpoint: Path) -> tuple[int, int]:
    """The epoch that a resume state goes on in, and how many of its batches are done."""
    try:
        state = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
        epoch, batches = state["callbacks"]["RunFolder"]["position"]
    except Exception as error:  # torch raises many kinds
        raise CheckpointError(
            f"{checkpoint} cannot be read, so the run cannot go on; start another one from "
            f"`weights` {checkpoint.parent / 'last.safetensors'}"
        ) from error
    return int(epoch), int(batches)
