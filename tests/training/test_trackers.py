"""Where a run is logged: TensorBoard, and stand-ins for W&B and MLflow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import pytest
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from PIL import Image

from dsunet.config import TrainConfig
from dsunet.errors import ConfigError, MissingPackageError, TrainingError
from dsunet.training import callbacks, trackers
from dsunet.training.trackers import make_loggers, require_trackers
from runs import run


class Kept(Logger):
    """A logger that keeps what it is given, for whoever looks."""

    made: ClassVar[list[Kept]] = []

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__()
        self.arguments, self.options = arguments, options
        self.params: dict[str, Any] = {}
        self.metrics: dict[str, list[float]] = {}
        self.images: list[Image.Image] = []
        type(self).made.append(self)

    @property
    def name(self) -> str:
        return "kept"

    @property
    def run_id(self) -> str:
        return self.version

    @property
    def version(self) -> str:
        return self.options.get("id") or self.options.get("run_id") or "fresh"

    @property
    def experiment(self) -> object:
        return object()

    def log_hyperparams(self, params: dict[str, Any], *_: Any) -> None:  # type: ignore[override]
        self.params |= params

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        for name, value in metrics.items():
            self.metrics.setdefault(name, []).append(value)

    def log_image(self, key: str, images: list[Image.Image]) -> None:
        self.images += images


class Wandb(Kept):
    made: ClassVar[list[Kept]] = []


class Mlflow(Kept):
    made: ClassVar[list[Kept]] = []


class Unreachable(Kept):
    made: ClassVar[list[Kept]] = []

    @property
    def experiment(self) -> object:
        raise ConnectionError("no\nserver")


class Failing(Kept):
    made: ClassVar[list[Kept]] = []

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        raise ConnectionError("the server\nhas gone")


@pytest.fixture
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trackers, "WandbLogger", Wandb)
    monkeypatch.setattr(callbacks, "WandbLogger", Wandb)
    monkeypatch.setattr(trackers, "MLFlowLogger", Mlflow)
    monkeypatch.setattr(trackers, "find_spec", lambda name: name)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "file:elsewhere")
    for kind in (Wandb, Mlflow, Unreachable, Failing):
        monkeypatch.setattr(kind, "made", [])


@pytest.mark.slow
def test_a_run_is_logged_and_goes_on_there(stand_ins: None, pictures: Path, tmp_path: Path) -> None:
    data = {"data": str(pictures), "val_fraction": 0.5, "limit": 4, "workers": 0}
    recipe = {"logger": "wandb, mlflow", "logger_project": "steel", "log_every": 1}
    run(tmp_path / "run", pictures, data=data, epochs=1, val_pictures=1, **recipe)
    [wandb], [mlflow] = Wandb.made, Mlflow.made
    assert wandb.arguments[0] == mlflow.arguments[1] == "run"
    assert mlflow.options["tracking_uri"] == "file:elsewhere"
    assert wandb.options["project"] == mlflow.arguments[0] == "steel"
    assert mlflow.options["run_id"] is None
    for logger in (wandb, mlflow):
        assert {"loss", "val_loss", "S", "lr"} <= logger.metrics.keys()
        assert logger.params["epochs"] == 1
        assert "val" not in logger.params  # which was not given
    assert wandb.images[0].width > 100
    assert not mlflow.images
    assert not (tmp_path / "run" / "tensorboard").exists()
    noted = json.loads((tmp_path / "run" / "trackers.json").read_text())
    assert noted == {"wandb": wandb.options["id"], "mlflow": "fresh"}

    run(tmp_path / "run", pictures, data=data, epochs=2, val_pictures=0, resume=True, **recipe)
    assert Wandb.made[1].options["id"] == wandb.options["id"]
    assert Mlflow.made[1].options["run_id"] == "fresh"
    assert Mlflow.made[1].params == {}  # which MLflow would not let be changed
    assert Mlflow.made[1].metrics["epoch"][0] == 1


def test_what_cannot_be_reached_is_said_in_one_line(
    stand_ins: None, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trackers, "WandbLogger", Unreachable)
    with pytest.raises(TrainingError, match=r"`logger` wandb cannot be written to \(no server\)"):
        run(tmp_path / "run", pictures, epochs=1, logger="wandb", data={"data": str(pictures)})


def test_one_that_fails_midway_does_not_end_the_run(
    stand_ins: None,
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(trackers, "MLFlowLogger", Failing)
    caplog.set_level("INFO", "dsunet")
    run(
        tmp_path / "run",
        pictures,
        data={"data": str(pictures), "limit": 4, "workers": 0},
        epochs=2,
        logger="mlflow",
        log_every=1,
    )
    assert [line for line in caplog.messages if "mlflow" in line] == [
        "`logger` mlflow could not be written to (the server has gone); training goes on, and "
        "metrics.csv has everything"
    ]
    assert len((tmp_path / "run" / "metrics.csv").read_text().splitlines()) == 3


def test_loggers_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [board] = make_loggers(tmp_path, TrainConfig(), print)
    assert isinstance(board, TensorBoardLogger)
    assert Path(board.log_dir) == tmp_path / "tensorboard"
    assert make_loggers(tmp_path, TrainConfig(logger="none"), print) == []
    monkeypatch.setattr(trackers, "find_spec", lambda name: None)
    require_trackers(TrainConfig())
    with pytest.raises(MissingPackageError, match="`logger` mlflow needs the package mlflow; pip"):
        require_trackers(TrainConfig(logger="tensorboard,mlflow"))
    monkeypatch.setattr(trackers, "find_spec", lambda name: name)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(ConfigError, match="where to: set the environment variable MLFLOW_TRACK"):
        require_trackers(TrainConfig(logger="mlflow"))


@pytest.mark.parametrize("logger", ["", "wandb,wandb", "tensorboard,none", "weights"])
def test_names_of_no_logger(logger: str) -> None:
    with pytest.raises(ConfigError, match="logger is .* needs some of tensorboard, wandb, mlflow"):
        TrainConfig(logger=logger)
