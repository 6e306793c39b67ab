"""Where losses and measures are logged beside the run's folder: TensorBoard, W&B, MLflow."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger

from dsunet.config import TrainConfig
from dsunet.errors import ConfigError, MissingPackageError, TrainingError
from dsunet.support.files import write_json

__all__ = ["begin_tracking", "make_loggers", "require_trackers"]

NOTE = "trackers.json"
"""What W&B and MLflow call the run, so that it goes on there, too."""
_MIDWAY = ("log_metrics", "log_image", "save", "finalize")
"""What loggers are asked for while a run goes on."""


def require_trackers(recipe: TrainConfig) -> None:
    """Finds out early what loggers lack.

    Raises:
        MissingPackageError: A package is not installed.
        ConfigError: MLflow is not told where to log.
    """
    for name in ("wandb", "mlflow"):
        if name in recipe.loggers and find_spec(name) is None:
            raise MissingPackageError(
                f"`logger` {name} needs the package {name}; pip install 'dsunet[trackers]', or "
                "leave it out"
            )
    if "mlflow" in recipe.loggers and not os.environ.get("MLFLOW_TRACKING_URI"):
        raise ConfigError(
            "`logger` mlflow needs to know where to: set the environment variable "
            "MLFLOW_TRACKING_URI, to a server's address, say"
        )


def make_loggers(folder: Path, recipe: TrainConfig, say: Callable[[str], object]) -> list[Logger]:
    """Lightning's loggers that a recipe asks for; one that fails midway does not end the run.

    W&B and MLflow are told where to by their own environment variables (`WANDB_MODE`,
    `MLFLOW_TRACKING_URI`, …).

    Args:
        folder: The run's folder, by whose name the run goes there.
        recipe: Names the loggers and the project.
        say: Takes a line about the first failure of each.

    Raises:
        TrainingError: One cannot be made.
    """
    known, name, project = _noted(folder), folder.resolve().name, recipe.logger_project
    made: list[Logger] = []
    for kind in recipe.loggers:
        with _told(kind):
            if kind == "tensorboard":
                made.append(TensorBoardLogger(folder, name="tensorboard", version=""))
            elif kind == "wandb":
                key = known.get("wandb") or uuid.uuid4().hex[:12]
                made.append(WandbLogger(name, folder, id=key, project=project, resume="allow"))
            else:
                where = os.environ.get("MLFLOW_TRACKING_URI")
                run_id = known.get("mlflow")
                made.append(MLFlowLogger(project, name, tracking_uri=where, run_id=run_id))
        _outlast(made[-1], kind, say)
    return made


def _outlast(logger: Logger, kind: str, say: Callable[[str], object]) -> None:
    """Says once that a logger fails while a run goes on, and lets the run go on."""
    said = False

    def forgiven(call: Callable[..., object]) -> Callable[..., object]:
        @wraps(call)
        def tried(*arguments: Any, **options: Any) -> object:
            nonlocal said
            try:
                return call(*arguments, **options)
            except Exception as error:  # each package has its own kinds
                if not said:
                    said = True
                    say(
                        f"`logger` {kind} could not be written to ({_reason(error)}); training "
                        "goes on, and metrics.csv has everything"
                    )
                return None

        return tried

    for name in _MIDWAY:
        if call := getattr(logger, name, None):
            setattr(logger, name, forgiven(call))


def begin_tracking(folder: Path, trainer: L.Trainer, settings: Mapping[str, Any]) -> None:
    """Opens the run there, and notes its settings at its beginning; in the first process alone.

    Raises:
        TrainingError: It cannot be opened.
    """
    known = _noted(folder)
    for logger in trainer.loggers:
        kind = {WandbLogger: "wandb", MLFlowLogger: "mlflow"}.get(type(logger))
        if kind is None:
            continue
        with _told(kind):
            _ = getattr(logger, "experiment", None)  # which opens it
            if kind not in known:
                logger.log_hyperparams({k: v for k, v in settings.items() if v is not None})
            known[kind] = str(logger.run_id if isinstance(logger, MLFlowLogger) else logger.version)
    if known:
        write_json(folder / NOTE, known)


@contextmanager
def _told(kind: str) -> Iterator[None]:
    """What goes wrong there, in one line."""
    try:
        yield
    except Exception as error:  # each package has its own kinds
        raise TrainingError(
            f"`logger` {kind} cannot be written to ({_reason(error)}); leave it out, or set its "
            "environment variables"
        ) from error


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__


def _noted(folder: Path) -> dict[str, str]:
    try:
        noted = json.loads((folder / NOTE).read_bytes())
    except (OSError, ValueError):
        return {}
    return noted if isinstance(noted, dict) else {}
