"""What a run's folder says of itself."""

from __future__ import annotations

import csv
import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from dsunet.config import BLOCKS, DataConfig, MeasuringProtocol
from dsunet.config.classes import as_classes
from dsunet.config.renamed import todays
from dsunet.data import Pair
from dsunet.data.split import split_data
from dsunet.errors import CheckpointError, ConfigError, DataError
from dsunet.network.source import CustomSource
from dsunet.predict import Segmenter
from dsunet.support.imports import is_import_path, resolve
from dsunet.weights.checkpoint import read_metadata

__all__ = ["Run", "read_run"]


@dataclass(frozen=True)
class Run:
    """A run of `dsunet train`, read."""

    folder: Path
    settings: dict[str, Any]
    """By the names of the command line's flags."""
    history: list[dict[str, str]]
    """The rows of `metrics.csv`."""
    environment: dict[str, Any]
    """Of `environment.json`; empty if it is not there."""
    findings: dict[str, Any]
    """Of `data.json`; empty if it is not there."""
    about: dict[str, Any]
    """What the weights say of the training: epoch, measures, pairs."""

    @property
    def protocol(self) -> MeasuringProtocol:
        """How validation measured."""
        return "benchmark" if self.settings.get("protocol", "benchmark") == "benchmark" else "raw"

    @property
    def threshold(self) -> float:
        """From which probability on a pixel was object."""
        return float(self.settings.get("threshold", 0.5))

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes of the model, if it has some."""
        return as_classes(self.settings.get("classes"))

    @property
    def validates(self) -> bool:
        """Whether pairs were held out for validation."""
        return bool((self.folder / "val.txt").read_bytes().strip())

    def validation(self, data: str | None, intensity: str) -> list[Pair]:
        """The pairs that the run validates on, if it does.

        Args:
            data: Where the data lie now, if they have moved.
            intensity: Which stored values are black and white, see `ModelConfig`.

        Raises:
            DataError: They are not there any more.
        """
        known = {field.name for field in dataclasses.fields(DataConfig)}
        given = {name: value for name, value in self.settings.items() if name in known}
        if data is not None:
            given |= {"data": data, "images": None, "masks": None}
            given |= {"benchmarks": None, "task": None}
        chosen = ("val_list", "val_fraction", "fold")
        if any(given.get(name) for name in chosen):  # whatever chose them, these are the ones
            given |= dict.fromkeys((*chosen, "group_by", "stratify") & given.keys())
            given |= {"val_fraction": 0.0, "val_list": str(self.folder / "val.txt")}
        given |= {"train_list": None, "limit": None}
        try:
            split = split_data(DataConfig(**given), int(self.settings.get("seed", 0)))
        except (DataError, ConfigError) as error:
            raise DataError(
                f"the validation pictures of {self.folder} are not to be found ({error}); give the "
                "folder where the data lie now as `data`"
            ) from error
        return split.seen_with(intensity).validation

    def segmenter(self, device: str) -> Segmenter:
        """The run's best weights, or its last ones, ready to segment.

        Raises:
            DsunetError: As of `dsunet.Segmenter`.
        """
        name = str(self.settings["model"])
        if is_import_path(name):
            sam, dino = (_size(self.settings.get(key)) for key in ("sam_size", "dino_size"))
            source = CustomSource(name, resolve(name), sam, dino, self.settings.get("intensity"))
            return Segmenter(source, device, weights=self.folder)
        encoders = {
            key: path
            for key in ("pyramid_weights", "semantic_weights")
            if (path := self.settings.get(key)) is not None
        }
        named = (str(self.settings.get(field)) for field in BLOCKS)
        blocks = [name for name in named if is_import_path(name)]
        return Segmenter(self.folder, device, blocks=blocks, **encoders)


def read_run(folder: str | Path) -> Run:
    """Reads the folder of a run that has trained an epoch or more.

    Raises:
        DataError: It is none, or nothing came of it yet.
    """
    root = Path(folder)
    try:
        settings = todays(yaml.safe_load((root / "config.yaml").read_bytes()))
        with open(root / "metrics.csv", newline="", encoding="utf-8") as file:
            history = list(csv.DictReader(file))
        _ = settings["model"], [int(row["epoch"]) for row in history]
    except FileNotFoundError as error:
        what = "has trained no epoch yet" if (root / "config.yaml").exists() else "is no run"
        raise DataError(
            f"{root} {what}; give the folder that dsunet train has written (`output`)"
        ) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError) as error:
        raise DataError(f"the run in {root} cannot be read ({' '.join(str(error).split())})") from (
            error
        )
    if not history:
        raise DataError(f"{root} has trained no epoch yet; train on, or give another run")
    best = root / "best.safetensors"
    weights = best if best.exists() else root / "last.safetensors"
    try:
        about = read_metadata(weights)["training"] or {}
    except CheckpointError as error:
        raise DataError(f"the run in {root} has no weights to look at ({error})") from error
    return Run(
        root, settings, history, _json(root, "environment"), _json(root, "data"), dict(about)
    )


def _size(given: Any) -> Any:
    """As models take it; YAML has lists for height and width."""
    return tuple(given) if isinstance(given, list) else given


def _json(root: Path, name: str) -> dict[str, Any]:
    try:
        content = json.loads((root / f"{name}.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
