"""The folder of a run: what it holds, who may write to it, and going on with it."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from PIL import Image

import dsunet
from dsunet.config import DataConfig, LossConfig, TrainConfig, model_config
from dsunet.data.checks.look import DataReport
from dsunet.data.synthetic import write_synthetic
from dsunet.errors import DataError, OutputError
from dsunet.training.folder import check_folder, flat_settings, write_start
from dsunet.weights.checkpoint import read_checkpoint
from runs import MODEL, run


def test_the_folder_explains_itself(trained: Path) -> None:
    names = {path.name for path in trained.iterdir()}
    assert names == {
        "best.safetensors",
        "config.yaml",
        ".lock",
        "curves.png",
        "data.json",
        "environment.json",
        "last.safetensors",
        "metrics.csv",
        "resume.ckpt",
        "tensorboard",
        "train.txt",
        "val.txt",
        "validation.png",
    }
    settings = yaml.safe_load((trained / "config.yaml").read_text())
    assert settings["model"] == "dsunet-nano"
    assert settings["sam_size"] == 128
    assert settings["lr"] == 1e-3
    training = (trained / "train.txt").read_text().split()
    validation = (trained / "val.txt").read_text().split()
    assert (len(training), len(validation)) == (7, 3)
    assert not set(training) & set(validation)
    environment = json.loads((trained / "environment.json").read_text())
    assert environment["packages"]["torch"]
    assert environment["parameters"]["trainable"] > 0
    with open(trained / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert all(float(row["loss"]) > 0 and 0 <= float(row["S"]) <= 1 for row in rows)
    assert float(rows[0]["lr"]) == 1e-3
    for name in ("curves.png", "validation.png"):
        with Image.open(trained / name) as image:
            image.load()
    assert list((trained / "tensorboard").glob("events*"))


def test_best_is_the_best(trained: Path) -> None:
    with open(trained / "metrics.csv", newline="") as file:
        best = max(csv.DictReader(file), key=lambda row: float(row["S"]))
    about, _ = read_checkpoint(trained / "best.safetensors")
    assert about["training"]["epoch"] == int(best["epoch"])
    assert about["training"]["measures"]["S"] == float(best["S"])


@pytest.mark.slow
def test_resuming_what_has_not_begun_starts_it(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that one command serves whenever a process was killed, before its folder was made too."""
    lines: list[str] = []
    recipe = TrainConfig(epochs=1, batch_size=4, device="cpu")
    data = DataConfig(str(pictures), workers=0)
    (tmp_path / "run").mkdir()
    for leftover in (".lock", "data.json", "train.txt", ".dsunet-xyz.tmp"):
        (tmp_path / "run" / leftover).write_text("")
    dsunet.train(tmp_path / "run", MODEL, data, recipe, resume=True, on_line=lines.append)
    assert lines[0] == f"there is no run in {tmp_path / 'run'} yet; starting it"
    assert not list((tmp_path / "run").glob(".dsunet*"))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("")
    with pytest.raises(OutputError, match="is not empty; .* it holds no run to go on with"):
        dsunet.train(tmp_path / "other", MODEL, data, recipe, resume=True)


@pytest.mark.slow
def test_the_data_are_not_read_again_without_need(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_synthetic(tmp_path / "set", 6, 64)
    Image.new("L", (64, 64)).save(tmp_path / "set" / "masks" / "salient_00000.png")
    checks = []
    check = dsunet.training.folder.check_split

    def counted(*arguments: object, **options: object) -> DataReport:
        checks.append(1)
        return check(*arguments, **options)

    monkeypatch.setattr("dsunet.training.folder.check_split", counted)
    lines: list[str] = []

    def go(resume: bool) -> None:
        dsunet.train(
            tmp_path / "run",
            MODEL,
            DataConfig(str(tmp_path / "set"), workers=0),
            TrainConfig(epochs=1, batch_size=4, device="cpu"),
            resume=resume,
            on_line=lines.append,
        )

    go(resume=False)
    assert lines[0].startswith("warning: 1 masks without any object")
    assert lines[1].strip().endswith("salient_00000.png")
    found = json.loads((tmp_path / "run" / "data.json").read_text())
    assert [finding["kind"] for finding in found["findings"]] == ["empty_mask"]
    go(resume=True)
    assert len(checks) == 1
    os.utime(tmp_path / "set" / "masks" / "salient_00000.png", (0, 0))
    go(resume=True)
    assert len(checks) == 2
    Image.new("L", (64, 64), 255).save(tmp_path / "set" / "masks" / "salient_00000.png")
    with pytest.raises(OutputError, match="data set has changed"):
        go(resume=True)


def test_two_runs_in_one_folder(pictures: Path, trained: Path, tmp_path: Path) -> None:
    """Another process that is still at it is not disturbed."""
    settings = yaml.safe_load((trained / "config.yaml").read_text())
    data = {key: settings[key] for key in ("data", "val_fraction", "workers")}
    code = (
        "import sys, time; from pathlib import Path; from dsunet.support.files import lock_folder\n"
        "with lock_folder(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(trained)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(OutputError, match="another process is writing to"):
            run(trained, pictures, data=data, resume=True)
        process.kill()


@pytest.mark.slow
def test_damaged_runs(trained: Path, pictures: Path, tmp_path: Path) -> None:
    settings = yaml.safe_load((trained / "config.yaml").read_text())
    data = {key: settings[key] for key in ("data", "val_fraction", "workers")}
    shutil.copytree(trained, tmp_path / "run")
    (tmp_path / "run" / "environment.json").write_text("[")
    assert run(tmp_path / "run", pictures, data=data, resume=True).epochs == 2
    (tmp_path / "run" / "val.txt").unlink()
    with pytest.raises(OutputError, match=r"data set has changed .* its val\.txt"):
        run(tmp_path / "run", pictures, data=data, resume=True)
    for content in ("a: [", "", "- 1"):
        (tmp_path / "run" / "config.yaml").write_text(content)
        with pytest.raises(OutputError, match=r"config\.yaml cannot be read \("):
            run(tmp_path / "run", pictures, data=data, resume=True)


def test_a_quick_check_is_made_up_for(tmp_path: Path) -> None:
    write_synthetic(tmp_path / "set", 4, 64)
    Image.new("L", (64, 64), 3).save(tmp_path / "set" / "masks" / "salient_00000.png")
    data = {"data": str(tmp_path / "set"), "workers": 0, "check": "headers"}
    with pytest.raises(DataError, match="the largest value of this mask is 3"):
        run(tmp_path / "run", tmp_path, data=data, epochs=1)
    with pytest.raises(DataError, match="the data set has 1 errors"):
        run(tmp_path / "run", tmp_path, data={**data, "check": "full"}, epochs=1, resume=True)


@pytest.mark.slow
def test_resuming_on_changed_data_is_refused(pictures: Path, tmp_path: Path) -> None:
    write_synthetic(tmp_path / "set", 6, 64)
    data = {"data": str(tmp_path / "set"), "val_fraction": 0.3, "workers": 0}
    run(tmp_path / "run", pictures, data=data, epochs=1, batch_size=2)
    started = json.loads((tmp_path / "run" / "environment.json").read_text())["started"]
    run(tmp_path / "run", pictures, data=data, epochs=1, batch_size=2, resume=True)
    environment = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert environment["started"] == started
    assert len(environment["resumed"]) == 1
    (tmp_path / "set" / "images" / "salient_00000.jpg").unlink()
    (tmp_path / "set" / "masks" / "salient_00000.png").unlink()
    with pytest.raises(OutputError, match=r"data set has changed .*train\.txt names other pairs"):
        run(tmp_path / "run", pictures, data=data, epochs=1, batch_size=2, resume=True)


@pytest.mark.parametrize(
    ("before", "now", "differs"),
    [
        ({}, {"devices": 4, "num_nodes": 2, "strategy": "ddp"}, None),
        ({"devices": 2}, {"batch_size": 4}, "batch_size = 8, not 4"),
        # as it was written when the batch was that of each device
        ({"devices": 2, "num_nodes": None, "batch_size": 4}, {"devices": 1}, None),
        ({"devices": 2, "num_nodes": None}, {}, "batch_size = 16, not 8"),
        ({"devices": 2, "num_nodes": None, "batch_size": "auto"}, {}, "'auto', not 8"),
    ],
)
def test_a_run_may_go_on_with_other_devices_and_the_same_batch(
    tmp_path: Path, before: dict[str, object], now: dict[str, object], differs: str | None
) -> None:
    whole = DataConfig(data="d"), TrainConfig(epochs=2), LossConfig()
    base = flat_settings(model_config("dsunet-nano"), *whole, {"weights": "none"})
    absent = {key for key, value in before.items() if value is None}
    written = {key: value for key, value in (base | before).items() if key not in absent}
    write_start(tmp_path, written, {})
    if differs is None:
        check_folder(tmp_path, base | now, {}, True)
        return
    with pytest.raises(OutputError, match=differs):
        check_folder(tmp_path, base | now, {}, True)
