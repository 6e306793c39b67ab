"""Training from end to end on small generated pictures."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import json
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image

import dsunet
from dsunet.config import DataConfig, LossConfig, ModelConfig, TrainConfig, model_config
from dsunet.data.checks.look import DataReport
from dsunet.data.synthetic import write_synthetic
from dsunet.errors import DataError, DeviceError, OutputError, TrainingError, WeightsError
from dsunet.network.losses import deep_supervision_loss
from dsunet.network.model import DSUNet
from dsunet.training.callbacks import DurableCheckpoints, RunFolder
from dsunet.training.folder import position_of
from dsunet.training.module import SegmentationModule, cosine_factor
from dsunet.training.trainer import explained
from dsunet.weights.checkpoint import read_checkpoint
from helpers import nano
from kill_training import kill_and_compare, remaining

MODEL = model_config("dsunet-nano", sam_size=128, dino_size=112)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "set"
    write_synthetic(folder, 10, 72)
    return folder


def run(
    output: Path,
    pictures: Path,
    model: ModelConfig = MODEL,
    data: dict[str, object] | None = None,
    resume: bool = False,
    weights: str | None = "default",
    **recipe: object,
) -> dsunet.training.TrainResult:
    return dsunet.train(
        output,
        model,
        DataConfig(str(pictures), workers=0) if data is None else DataConfig(**data),
        TrainConfig(**{"epochs": 2, "batch_size": 4, "device": "cpu", **recipe}),
        resume=resume,
        weights=weights,
    )


@pytest.fixture(scope="module")
def trained(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two epochs with validation."""
    output = tmp_path_factory.mktemp("runs") / "run"
    run(output, pictures, data={"data": str(pictures), "val_fraction": 0.3, "workers": 1})
    return output


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


def test_prediction_gives_the_very_measures_of_validation(
    trained: Path, pictures: Path, tmp_path: Path
) -> None:
    names = (trained / "val.txt").read_text().split()
    for folder, suffix in (("images", "jpg"), ("masks", "png")):
        (tmp_path / folder).mkdir()
        for name in names:
            source = pictures / folder / f"{name}.{suffix}"
            (tmp_path / folder / source.name).write_bytes(source.read_bytes())
    for weights in ("best", "last"):
        about, _ = read_checkpoint(trained / f"{weights}.safetensors")
        segmenter = dsunet.Segmenter(trained / f"{weights}.safetensors", device="cpu")
        jobs = dsunet.predict.plan_outputs([tmp_path / "images"], tmp_path / weights)
        dsunet.predict.predict_files(segmenter, jobs, tmp_path / weights)
        scores = dsunet.evaluate(tmp_path / weights, tmp_path / "masks")
        assert scores == {**about["training"]["measures"], "images": 3}


def test_every_step_trains_batchnorm(trained: Path) -> None:
    """Validation and pictures in between leave the model in training mode."""
    steps = 2 * 2  # seven pairs in batches of four, the last one short
    for name, value in read_checkpoint(trained / "last.safetensors")[1].items():
        if name.endswith("num_batches_tracked"):
            assert int(value) == steps, name


def test_best_is_the_best(trained: Path) -> None:
    with open(trained / "metrics.csv", newline="") as file:
        best = max(csv.DictReader(file), key=lambda row: float(row["S"]))
    about, _ = read_checkpoint(trained / "best.safetensors")
    assert about["training"]["epoch"] == int(best["epoch"])
    assert about["training"]["measures"]["S"] == float(best["S"])


def test_training_learns(pictures: Path, tmp_path: Path) -> None:
    """Twelve steps on four pictures bring the loss down by a third."""
    names = tmp_path / "few.txt"
    names.write_text("salient_00000\nsalient_00002\nsalient_00004\nsalient_00006\n")
    data = {
        "data": str(pictures),
        "train_list": str(names),
        "workers": 0,
        "horizontal_flip": 0,
        "vertical_flip": 0,
    }
    run(tmp_path / "run", pictures, data=data, epochs=12, encoder_lr=2e-4, clip_grad_norm=1)
    with open(tmp_path / "run" / "metrics.csv", newline="") as file:
        losses = [float(row["loss"]) for row in csv.DictReader(file)]
    assert losses[-1] < losses[0] * 2 / 3


@pytest.mark.parametrize("workers", [0, 2])
def test_resumed_run_equals_uninterrupted(pictures: Path, tmp_path: Path, workers: int) -> None:
    data = {"data": str(pictures), "workers": workers}
    whole = run(tmp_path / "whole", pictures, data=data, epochs=3)

    class Killed(Exception):
        pass

    def stop_after_first_epoch(line: str) -> None:
        if line.startswith("epoch 1"):
            raise Killed

    recipe = TrainConfig(epochs=3, batch_size=4, device="cpu")
    with pytest.raises(Killed):
        dsunet.train(
            tmp_path / "cut", MODEL, DataConfig(**data), recipe, on_line=stop_after_first_epoch
        )
    resumed = run(tmp_path / "cut", pictures, data=data, epochs=3, resume=True)
    assert resumed.epochs == whole.epochs == 3
    expected = read_checkpoint(whole.weights)[1]
    actual = read_checkpoint(resumed.weights)[1]
    assert expected.keys() == actual.keys()
    for name in expected:
        assert torch.equal(expected[name], actual[name]), name
    logs = [(tmp_path / n / "metrics.csv").read_text().splitlines() for n in ("whole", "cut")]
    assert [row.rsplit(",", 1)[0] for row in logs[0]] == [row.rsplit(",", 1)[0] for row in logs[1]]


def states_equal(first: Path, second: Path) -> bool:
    expected, actual = read_checkpoint(first)[1], read_checkpoint(second)[1]
    return expected.keys() == actual.keys() and all(
        torch.equal(expected[name], actual[name]) for name in expected
    )


@pytest.mark.parametrize(("accumulate", "average"), [(1, 0.0), (2, 0.0), (1, 0.8), (2, 0.8)])
def test_a_run_goes_on_inside_an_epoch(
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    accumulate: int,
    average: float,
) -> None:
    """With workers, validation, and a state saved after every step; killed after every other."""
    data = {"data": str(pictures), "val_fraction": 0.2, "workers": 2}
    recipe = {"epochs": 2, "batch_size": 2, "accumulate": accumulate, "save_every": 0}
    recipe["average"] = average
    whole = run(tmp_path / "whole", pictures, data=data, **recipe)

    class Killed(Exception):
        pass

    save_state, positions = RunFolder._save_state, []

    def save_and_die(self: RunFolder, trainer: object) -> None:
        save_state(self, trainer)
        positions.append(self._position)
        if len(positions) % 2 == 0:
            raise Killed

    monkeypatch.setattr(RunFolder, "_save_state", save_and_die)
    for _ in range(10):
        with contextlib.suppress(Killed):
            cut = run(tmp_path / "cut", pictures, data=data, resume=True, **recipe)
            break
    inside = [(e, b) for e in range(2) for b in range(accumulate, 4, accumulate)]
    assert positions == sorted([*inside, (1, 0), (2, 0)])
    assert cut.epochs == whole.epochs == 2
    for name in ("last.safetensors", "best.safetensors"):
        assert states_equal(tmp_path / "whole" / name, tmp_path / "cut" / name)
    logs = [(tmp_path / n / "metrics.csv").read_text().splitlines() for n in ("whole", "cut")]
    assert [row.rsplit(",", 1)[0] for row in logs[0]] == [row.rsplit(",", 1)[0] for row in logs[1]]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupting_inside_an_epoch_saves(
    pictures: Path, tmp_path: Path, number: signal.Signals
) -> None:
    """One line that says how to go on; what is gone on with equals an uninterrupted run."""
    arguments = [
        *"train --model dsunet-nano --epochs 1 --batch-size 1 --output run --seed 3".split(),
        *"--sam-size 128 --dino-size 112 --device cpu --workers 1".split(),
        *("--data", str(pictures)),
    ]
    command = [sys.executable, "-m", "dsunet.cli"]
    process = subprocess.Popen(
        [*command, *arguments],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith("dsunet-nano: ")
    while not list((tmp_path / "run").glob("tensorboard/events*")):
        time.sleep(0.01)
    process.send_signal(number)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    assert len(errors.strip().splitlines()) == 1, errors
    epoch, batches = position_of(tmp_path / "run" / "resume.ckpt")
    assert epoch == 0
    assert 1 <= batches < 10
    go_on = shlex.split(errors.split("go on with: dsunet ")[1])
    done = subprocess.run(
        [*command, *go_on], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    data = {"data": str(pictures), "workers": 0}
    run(tmp_path / "whole", pictures, data=data, epochs=1, batch_size=1, seed=3)
    assert states_equal(
        tmp_path / "whole" / "last.safetensors", tmp_path / "run" / "last.safetensors"
    )


@pytest.mark.slow
def test_killed_processes_leave_no_trace(pictures: Path, tmp_path: Path) -> None:
    """Real processes, killed by SIGKILL at random moments; benchmarks/ records a longer series."""
    settings = [
        *"--model dsunet-nano --sam-size 128 --dino-size 112 --device cpu --batch-size 2".split(),
        *"--workers 2 --val-fraction 0.2 --epochs 16 --save-every 0.005".split(),
    ]
    outcome = kill_and_compare(pictures, settings, tmp_path, kills=6, longest=None, seed=2)
    assert outcome.different == []
    assert outcome.same_metrics
    assert outcome.leftovers == []
    assert outcome.kills >= 3
    assert outcome.orphans == 0


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux's /proc")
def test_no_process_outlives_a_killed_training(tmp_path: Path) -> None:
    """Killed while the loader's processes wait to hand over more than a pipe holds."""
    write_synthetic(tmp_path / "set", 20, 400)
    arguments = [
        *"train --model dsunet-nano --epochs 1 --batch-size 2 --output run".split(),
        *"--sam-size 128 --dino-size 112 --device cpu --workers 2 --val-fraction 0.7".split(),
        *("--data", str(tmp_path / "set")),
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "dsunet.cli", *arguments],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    while remaining(process.pid, patience=0) < 5:  # itself and two for each of both sets
        assert process.poll() is None
        time.sleep(0.01)
    time.sleep(0.3)
    process.kill()
    process.wait()
    assert remaining(process.pid) == 0


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_the_last_good_weights_are_kept(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Step 4 of five, in the second epoch, comes to no number; nothing is written after it."""
    calls = 0

    def poisoned(*arguments: object) -> torch.Tensor:
        nonlocal calls
        calls += 1
        loss = deep_supervision_loss(*arguments)
        if calls != 5:
            return loss
        if what == "loss":
            return loss * float("nan")
        loss.register_hook(lambda gradient: gradient * float("inf"))
        return loss

    monkeypatch.setattr("dsunet.running.step.deep_supervision_loss", poisoned)
    with pytest.raises(
        TrainingError,
        match=rf"the {what} is (nan|inf) at step 5 in epoch 2, on (salient|camouflaged)_\d+, "
        r".*; last\.safetensors keeps the weights of epoch 1.*lower `lr`",
    ) as caught:
        run(tmp_path / "run", pictures, epochs=2, save_every=0)
    listed = str(caught.value).split(", on ")[1].split("; ")[0].split(", ")
    assert len(listed) == 4
    about, state = read_checkpoint(tmp_path / "run" / "last.safetensors")
    assert about["training"]["epoch"] == 1
    assert all(torch.isfinite(tensor).all() for tensor in state.values())
    assert position_of(tmp_path / "run" / "resume.ckpt") == (1, 1)
    resume = torch.load(tmp_path / "run" / "resume.ckpt", weights_only=True)
    assert all(torch.isfinite(tensor).all() for tensor in resume["state_dict"].values())
    monkeypatch.undo()
    torch.set_num_threads(1)
    assert run(tmp_path / "run", pictures, epochs=2, save_every=0, resume=True).epochs == 2


def test_a_full_disk_is_one_clear_line(pictures: Path, tmp_path: Path) -> None:
    """The system refuses files of more than two megabytes, which the weights have."""
    arguments = [
        *"train --model dsunet-nano --epochs 2 --batch-size 4 --output run".split(),
        *"--sam-size 128 --dino-size 112 --device cpu --workers 0".split(),
        *("--data", str(pictures)),
    ]

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))

    command = [sys.executable, "-m", "dsunet.cli", *arguments]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=120, preexec_fn=limit
    )
    assert done.returncode == 1
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert "cannot be written (File too large); what was saved before is whole" in lines[0]
    there = {file.name for file in (tmp_path / "run").iterdir()}
    assert "last.safetensors" not in there
    assert not [name for name in there if name.startswith(".dsunet")]
    again = subprocess.run(
        [*command, "--resume"], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert again.returncode == 0, again.stderr


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
    Image.new("L", (64, 64), 255).save(tmp_path / "set" / "masks" / "salient_00000.png")
    go(resume=True)
    assert len(checks) == 2
    found = json.loads((tmp_path / "run" / "data.json").read_text())
    assert [finding["kind"] for finding in found["findings"]] == ["full_mask"]


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


def test_a_run_that_came_first_is_left_alone(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process has made a whole run in the folder while this one built its model."""
    build = dsunet.training.building.create_from_config

    def slowly(*arguments: object, **options: object) -> DSUNet:
        monkeypatch.setattr("dsunet.training.building.create_from_config", build)
        run(tmp_path / "run", pictures, epochs=1, seed=7)
        return build(*arguments, **options)

    monkeypatch.setattr("dsunet.training.building.create_from_config", slowly)
    with pytest.raises(OutputError, match="exists and is not empty"):
        run(tmp_path / "run", pictures, epochs=1)
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["seed"] == 7


@pytest.mark.skipif(not Path("/sys").is_dir(), reason="needs Linux, where /sys is not writable")
def test_a_read_only_place_is_found_before_the_start(pictures: Path) -> None:
    with pytest.raises(OutputError, match=r"/sys/run cannot be written to"):
        run(Path("/sys/run"), pictures)


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


def test_no_reader_of_the_output_is_no_reason_to_stop(pictures: Path, tmp_path: Path) -> None:
    """As with `dsunet train … | head -1`."""
    arguments = [
        *"train --model dsunet-nano --epochs 1 --batch-size 4 --output run".split(),
        *"--sam-size 128 --dino-size 112 --device cpu --workers 0".split(),
        *("--data", str(pictures)),
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "dsunet.cli", *arguments],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    errors = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=120) == 0, errors
    assert errors == ""
    assert (tmp_path / "run" / "last.safetensors").is_file()


def test_the_resume_state_takes_no_detour(pictures: Path, tmp_path: Path) -> None:
    """Lightning's own way goes through the folder for temporary files, which may be small."""
    saved = []
    save = DurableCheckpoints.save_checkpoint

    def watched(self: DurableCheckpoints, checkpoint: object, path: Path, **kwargs: object) -> None:
        saved.append(Path(path).name)
        save(self, checkpoint, path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DurableCheckpoints, "save_checkpoint", watched)
        patch.setattr("tempfile.mkstemp", None)
        run(tmp_path / "run", pictures, epochs=1)
    assert saved == ["resume.ckpt"]


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (OSError(28, "No space left on device"), OutputError, "make room, and go on with --resume"),
        (torch.OutOfMemoryError("CUDA out of memory"), TrainingError, "smaller `batch_size`"),
        (
            RuntimeError("DataLoader worker (pid 5) is killed by signal: Bus error."),
            TrainingError,
            r"has died \(DataLoader worker \(pid 5\) is killed.*fewer `workers`",
        ),
        (RuntimeError("shapes differ"), RuntimeError, "shapes differ"),
    ],
)
def test_errors_that_a_user_can_mend_say_how(
    error: Exception, kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        raise explained(error, Path("run"))


def test_a_set_smaller_than_a_batch_trains(pictures: Path, tmp_path: Path) -> None:
    assert run(tmp_path / "run", pictures, epochs=1, batch_size=64).epochs == 1


def test_training_from_another_thread(pictures: Path, tmp_path: Path) -> None:
    """As notebooks and servers do; only the main thread may handle signals."""
    with ThreadPoolExecutor(1) as pool:
        result = pool.submit(run, tmp_path / "run", pictures, epochs=1).result()
    assert result.weights.is_file()


def test_same_seed_same_weights(pictures: Path, tmp_path: Path) -> None:
    first = run(tmp_path / "a", pictures, epochs=1)
    second = run(tmp_path / "b", pictures, epochs=1)
    other = run(tmp_path / "c", pictures, epochs=1, seed=1)
    states = [read_checkpoint(result.weights)[1] for result in (first, second, other)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not all(torch.equal(states[0][name], states[2][name]) for name in states[0])


def test_frozen_encoders_are_left_alone(pictures: Path, tmp_path: Path) -> None:
    model = dataclasses.replace(
        MODEL, train_pyramid=False, train_semantic=False, adapter_channels=8
    )
    torch.manual_seed(0)
    result = run(tmp_path / "run", pictures, model, epochs=1, seed=3, weights=None)
    import lightning as L

    L.seed_everything(3, verbose=False)
    fresh = dsunet.network.build.build_model(model).state_dict()
    for name, value in read_checkpoint(result.weights)[1].items():
        frozen = name.startswith(("hiera.trunk", "dinov2.trunk")) and ".adapter." not in name
        assert torch.equal(value, fresh[name]) == frozen, name
    resume = torch.load(tmp_path / "run" / "resume.ckpt", weights_only=True)
    assert not [n for n in resume["state_dict"] if ".trunk." in n and ".adapter." not in n], (
        "the resume state holds frozen encoders"
    )


def test_ablation_without_dinov2_trains(pictures: Path, tmp_path: Path) -> None:
    model = dataclasses.replace(MODEL, injection="none")
    result = run(tmp_path / "run", pictures, model, epochs=1)
    assert dsunet.load(result.weights).semantic is None


def test_accumulation_loss_and_other_options(pictures: Path, tmp_path: Path) -> None:
    result = dsunet.train(
        tmp_path / "run",
        MODEL,
        DataConfig(images=f"{pictures}/images", masks=f"{pictures}/masks", workers=0),
        TrainConfig(
            epochs=1, batch_size=2, accumulate=2, device="cpu", deterministic=True, weight_decay=0
        ),
        LossConfig("boundary_weighted", (0, 0, 1)),
    )
    assert result.weights.name == "last.safetensors"
    assert result.measures == {}
    assert result.best_epoch == 0


def test_early_stop(pictures: Path, tmp_path: Path) -> None:
    """With a learning rate of nothing, S moves by BatchNorm's statistics alone and soon stops."""
    data = {"data": str(pictures), "val_fraction": 0.5, "workers": 0}
    options = {"epochs": 40, "lr": 1e-12, "min_lr": 0.0, "early_stop": 2}
    result = run(tmp_path / "run", pictures, data=data, **options)
    assert result.epochs == result.best_epoch + 2
    before = (tmp_path / "run" / "last.safetensors").read_bytes()
    again = run(tmp_path / "run", pictures, data=data, resume=True, **options)
    assert again.epochs == result.epochs
    assert (tmp_path / "run" / "last.safetensors").read_bytes() == before


def test_the_last_epoch_is_always_validated(pictures: Path, tmp_path: Path) -> None:
    data = {"data": str(pictures), "val_fraction": 0.5, "workers": 0}
    run(tmp_path / "run", pictures, data=data, epochs=3, val_every=2)
    with open(tmp_path / "run" / "metrics.csv", newline="") as file:
        assert [bool(row["S"]) for row in csv.DictReader(file)] == [False, True, True]


def test_a_loss_that_is_not_a_number_stops_the_run(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(
        TrainingError, match=r"the loss is nan at step 2 in epoch 1, on .*salient_.*lower `lr`"
    ):
        run(tmp_path / "run", pictures, lr=1e30, epochs=2)
    assert not (tmp_path / "run" / "last.safetensors").exists()


def test_starting_from_a_run(trained: Path, pictures: Path, tmp_path: Path) -> None:
    result = dsunet.train(
        tmp_path / "run",
        MODEL,
        DataConfig(pictures, workers=0),
        TrainConfig(epochs=1, batch_size=4, lr=1e-12, min_lr=0, device="cpu"),
        weights=trained,
    )
    before = read_checkpoint(trained / "best.safetensors")[1]
    after = read_checkpoint(result.weights)[1]
    name = "decoder.heads.2.weight"
    torch.testing.assert_close(after[name], before[name], rtol=0, atol=1e-9)


def test_lists_and_fractions_go_together(pictures: Path, tmp_path: Path) -> None:
    names = [f"salient_{n:05d}" for n in (0, 2, 4, 6, 8)]
    (tmp_path / "list.txt").write_text("\n".join(names))
    data = {
        "data": str(pictures),
        "train_list": str(tmp_path / "list.txt"),
        "val_fraction": 0.4,
        "workers": 0,
    }
    run(tmp_path / "run", pictures, data=data, epochs=1, batch_size=2)
    lists = [(tmp_path / "run" / n).read_text().split() for n in ("train.txt", "val.txt")]
    assert [len(each) for each in lists] == [3, 2]
    assert sorted(lists[0] + lists[1]) == names


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


def test_bad_starts(pictures: Path, trained: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="exists and is not empty"):
        run(trained, pictures)
    with pytest.raises(OutputError, match=r"was started with val_fraction = 0\.3, not 0\.0"):
        run(trained, pictures, resume=True)
    with pytest.raises(ValueError, match="early_stop needs a validation set"):
        run(tmp_path / "new", pictures, early_stop=1)
    if not torch.cuda.is_available():
        with pytest.raises(DeviceError, match="no usable NVIDIA GPU"):
            run(tmp_path / "new", pictures, device="cuda")
    with pytest.raises(DeviceError, match="names one, but devices is 2"):
        run(tmp_path / "new", pictures, device="cpu:0", devices=2)
    with pytest.raises(WeightsError, match="were not fetched"):
        run(tmp_path / "new", pictures, model_config("dsunet-tiny"))
    assert not (tmp_path / "new").exists()


def test_broken_headers_and_sizes_are_found_before_training(pictures: Path, tmp_path: Path) -> None:
    write_synthetic(tmp_path / "set", 6, 64)
    (tmp_path / "set" / "images" / "salient_00000.jpg").write_bytes(b"broken")
    Image.new("L", (9, 9)).save(tmp_path / "set" / "masks" / "salient_00002.png")
    with pytest.raises(DataError, match="the data set has 2 errors") as caught:
        run(tmp_path / "run", pictures, data={"data": str(tmp_path / "set"), "workers": 0})
    assert "salient_00000.jpg: not a readable image" in str(caught.value)
    assert "is 9×9" in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_image_is_one_clear_line(pictures: Path, tmp_path: Path, workers: int) -> None:
    """Its header is whole, so it is found only when it is read."""
    write_synthetic(tmp_path / "set", 4, 64)
    broken = tmp_path / "set" / "images" / "salient_00000.jpg"
    data = broken.read_bytes()
    broken.write_bytes(data[: data.index(b"\xff\xda") + 20])
    with pytest.raises(DataError) as caught:
        run(
            tmp_path / "run",
            pictures,
            data={"data": str(tmp_path / "set"), "workers": workers},
        )
    assert "salient_00000.jpg: not a readable image" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_cosine_by_hand() -> None:
    assert cosine_factor(0, 10, 0, 0.1) == 1
    assert cosine_factor(5, 10, 0, 0.1) == pytest.approx(0.55)
    assert cosine_factor(10, 10, 0, 0.1) == pytest.approx(0.1)
    assert [cosine_factor(e, 10, 3, 0.0) for e in range(4)] == pytest.approx([0.25, 0.5, 0.75, 1])


def test_cosine_is_torchs() -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 50, 1e-7)
    for epoch in range(50):
        ours = 1e-3 * cosine_factor(epoch, 50, 0, 1e-7 / 1e-3)
        assert ours == pytest.approx(schedule.get_last_lr()[0], rel=1e-9)
        optimizer.step()
        schedule.step()


def test_parameter_groups() -> None:
    recipe = TrainConfig(encoder_lr=1e-5)
    module = SegmentationModule(nano(adapter_channels=4), recipe, LossConfig())
    decoder, encoders = module.configure_optimizers().param_groups
    assert (decoder["lr"], encoders["lr"]) == (1e-3, 1e-5)
    adapters = [p for n, p in module.named_parameters() if ".adapter." in n]
    assert {id(p) for p in adapters} <= {id(p) for p in decoder["params"]}
    counted = sum(len(group["params"]) for group in (decoder, encoders))
    assert counted == len(list(module.parameters()))
    frozen = nano(train_pyramid=False, train_semantic=False, adapter_channels=4)
    groups = SegmentationModule(frozen, recipe, LossConfig()).configure_optimizers().param_groups
    assert len(groups) == 1
    assert all(parameter.requires_grad for parameter in groups[0]["params"])
    assert groups[0]["weight_decay"] == 5e-4
    default = SegmentationModule(nano(), TrainConfig(), LossConfig()).configure_optimizers()
    assert [group["lr"] for group in default.param_groups] == [1e-3, pytest.approx(2e-4)]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dsunet-nano", "sam2unet-nano", "dsunet-lite"])
def test_two_processes(name: str, pictures: Path, tmp_path: Path) -> None:
    """Distributed data parallel on two CPU processes, from the command line, leaves one run."""
    arguments = [
        *f"train --model {name} --val-fraction 0.2 --epochs 2 --batch-size 2".split(),
        *"--sam-size 128 --dino-size 112 --device cpu --devices 2 --workers 0".split(),
        *"--weights none --average 0.5".split(),
    ]
    done = subprocess.run(
        [sys.executable, "-m", "dsunet.cli", *arguments, "--data", pictures, "--output", "run"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    for line in ("epoch 1/2", "best epoch", "weights: "):
        assert done.stdout.count(line) == 1, line
    scores = read_checkpoint(tmp_path / "run" / "last.safetensors")[0]["training"]["measures"]
    assert 0 <= scores["S"] <= 1
    with open(tmp_path / "run" / "metrics.csv", newline="") as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2"]


def test_interrupted_run_says_how_to_go_on(pictures: Path, tmp_path: Path) -> None:
    """Ctrl-C after the first epoch: one line, and the command in it finishes the run."""
    command = [sys.executable, "-m", "dsunet.cli"]
    arguments = [
        *"train --model dsunet-nano --epochs 3 --batch-size 4 --output run".split(),
        *"--sam-size 128 --dino-size 112 --device cpu --workers 0".split(),
    ]
    process = subprocess.Popen(
        [*command, *arguments, "--data", pictures],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("epoch 1/3"):
            process.send_signal(signal.SIGINT)
            break
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Traceback" not in errors
    go_on = errors.strip().splitlines()[-1].split("go on with: dsunet ")[1]
    done = subprocess.run(
        [*command, *go_on.split()], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert "epoch 1/3" not in done.stdout
    assert "epoch 3/3" in done.stdout
