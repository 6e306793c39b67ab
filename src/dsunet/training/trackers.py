"""Where losses and measures are logged beside the run's folder: TensorBoard, W&B, MLflow."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger

from dsunet.config import TrainConfig
from dsunet.errors import MissingPackageError, TrainingError
from dsunet.support.files import write_json

__all__ = ["begin_tracking", "make_loggers", "require_trackers"]

NOTE = "trackers.json"
"""What W&B and MLflow call the run, so that it goes on there, too."""


def require_trackers(recipe: TrainConfig) -> None:
    """Raises `MissingPackageError` unless what the recipe logs to is installed."""
    for name in ("wandb", "mlflow"):
        if name in recipe.loggers and find_spec(name) is None:
            raise MissingPackageError(
                f"`logger` {name} needs the package {name}; pip install {name}, or leave it out"
            )


def make_loggers(folder: Path, recipe: TrainConfig) -> list[Logger]:
    """Lightning's loggers that a recipe asks for.

    W&B and MLflow take where they are from their own environment variables (`WANDB_MODE`,
    `MLFLOW_TRACKING_URI`, …); without any MLflow writes into the run's folder.

    Args:
        folder: The run's folder, by whose name the run goes there.
        recipe: Names the loggers and the project.
    """
    known, name = _noted(folder), folder.resolve().name
    made: list[Logger] = []
    for kind in recipe.loggers:
        if kind == "tensorboard":
            made.append(TensorBoardLogger(folder, name="tensorboard", version=""))
        elif kind == "wandb":
            own = known.get("wandb") or uuid.uuid4().hex[:12]
            made.append(
                WandbLogger(name, folder, id=own, project=recipe.logger_project, resume="allow")
            )
        else:
            made.append(
                MLFlowLogger(
                    recipe.logger_project,
                    name,
                    save_dir=str(folder.resolve() / "mlruns"),
                    run_id=known.get("mlflow"),
                )
            )
    return made


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
        try:
            version = logger.version  # which opens it
            _ = logger.experiment
            if kind not in known:
                logger.log_hyperparams({k: v for k, v in settings.items() if v is not None})
        except Exception as error:  # each package has its own kinds
            reason = " ".join(str(error).split())[:300] or type(error).__name__
            raise TrainingError(
                f"`logger` {kind} cannot be written to ({reason}); leave it out, or set its "
                "environment variables"
            ) from error
        known[kind] = str(version)
    if known:
        write_json(folder / NOTE, known)


def _noted(folder: Path) -> dict[str, str]:
    try:
        noted = json.loads((folder / NOTE).read_bytes())
    except (OSError, ValueError):
        return {}
    return noted if isinstance(noted, dict) else {}
