"""Training as a process: signals, kills, full disks and two devices."""

from __future__ import annotations

import csv
import os
import resource
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dsunet.cli import main
from dsunet.data.synthetic import write_synthetic
from dsunet.training.folder import position_of
from dsunet.weights.checkpoint import read_checkpoint
from kill_training import kill_and_compare, remaining
from runs import run, states_equal

PATIENCE = 600  # seconds after which a process is taken to hang

# A training that says when it is in a certain step, and stays there until it is told to go on.
STEPWISE = """
import sys
from dsunet.cli import main
from dsunet.training.module import SegmentationModule

step = SegmentationModule.training_step
place = tuple(map(int, sys.argv[1:3]))

def waiting(self, batch, number):
    if (self.current_epoch, number) == place:
        print("here", flush=True)
        sys.stdin.readline()
    return step(self, batch, number)

SegmentationModule.training_step = waiting
sys.exit(main(sys.argv[3:]))
"""


def interrupted(
    folder: Path,
    arguments: list[str],
    place: tuple[int, int],
    number: signal.Signals,
    group: bool = False,
) -> str:
    """What a process says that gets a signal in the step of this epoch and number.

    With `group`, those that it has started get the signal as well.
    """
    with subprocess.Popen(
        [sys.executable, "-c", STEPWISE, *map(str, place), *arguments],
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert "here\n" in iter(process.stdout.readline, "")
            if group:
                os.killpg(process.pid, number)
                time.sleep(0.5)  # for the others to end, if they do
            else:
                process.send_signal(number)
            _, errors = process.communicate("go on\n", timeout=PATIENCE)
        finally:
            process.kill()  # nothing if it has ended
    assert process.returncode == 130
    return errors


@pytest.mark.parametrize(
    ("number", "group"),
    [
        (signal.SIGINT, False),
        (signal.SIGTERM, False),
        (signal.SIGTERM, True),  # as `timeout`, Docker, systemd and SLURM send it
        (signal.SIGHUP, True),
    ],
)
@pytest.mark.slow
def test_interrupting_inside_an_epoch_saves(
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
    group: bool,
) -> None:
    """One line that says how to go on; what is gone on with equals an uninterrupted run."""
    arguments = [
        *"train --model dsunet-nano --epochs 1 --batch-size 1 --output run --seed 3".split(),
        *"--sam-size 128 --dino-size 112 --device cpu --workers 1".split(),
        *("--data", str(pictures)),
    ]
    errors = interrupted(tmp_path, arguments, (0, 1), number, group)
    assert len(errors.strip().splitlines()) == 1, errors
    assert position_of(tmp_path / "run" / "resume.ckpt") == (0, 2)
    monkeypatch.chdir(tmp_path)
    assert main(shlex.split(errors.split("go on with: dsunet ")[1])) == 0
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
        *"--workers 2 --val-fraction 0.2 --epochs 12 --save-every 0.005".split(),
    ]
    outcome = kill_and_compare(pictures, settings, tmp_path, kills=4, longest=None, seed=2)
    assert outcome.different == []
    assert outcome.same_metrics
    assert outcome.leftovers == []
    assert outcome.kills >= 3
    assert outcome.orphans == 0


@pytest.mark.slow
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


@pytest.mark.slow
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
        command, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE, preexec_fn=limit
    )
    assert done.returncode == 1
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert "cannot be written (File too large); what was saved before is whole" in lines[0]
    there = {file.name for file in (tmp_path / "run").iterdir()}
    assert "last.safetensors" not in there
    assert not [name for name in there if name.startswith(".dsunet")]
    again = subprocess.run(
        [*command, "--resume"], cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE
    )
    assert again.returncode == 0, again.stderr


@pytest.mark.slow
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
    assert process.wait(timeout=PATIENCE) == 0, errors
    assert errors == ""
    assert (tmp_path / "run" / "last.safetensors").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dsunet-nano", "sam2unet-nano", "dsunet-lite"])
def test_two_processes(name: str, pictures: Path, tmp_path: Path) -> None:
    """Distributed data parallel on two CPU processes, from the command line, leaves one run."""
    arguments = [
        *f"train --model {name} --val-fraction 0.2 --epochs 2 --batch-size 4".split(),
        *"--sam-size 128 --dino-size 112 --device cpu --devices 2 --workers 0".split(),
        *"--weights none --average 0.5".split(),
    ]
    done = subprocess.run(
        [sys.executable, "-m", "dsunet.cli", *arguments, "--data", pictures, "--output", "run"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    starts = [line.split(" ")[0:2] for line in done.stdout.splitlines()]
    for start in (["epoch", "1/2"], ["best", "epoch"], ["weights:", "run/best.safetensors"]):
        assert starts.count(start) == 1, start
    scores = read_checkpoint(tmp_path / "run" / "last.safetensors")[0]["training"]["measures"]
    assert 0 <= scores["S"] <= 1
    with open(tmp_path / "run" / "metrics.csv", newline="") as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2"]


@pytest.mark.slow
def test_interrupted_run_says_how_to_go_on(pictures: Path, tmp_path: Path) -> None:
    """Ctrl-C after the first epoch: one line, and the command in it finishes the run."""
    arguments = [
        *"train --model dsunet-nano --epochs 3 --batch-size 4 --output run".split(),
        *"--sam-size 128 --dino-size 112 --device cpu --workers 0".split(),
    ]
    errors = interrupted(tmp_path, [*arguments, "--data", str(pictures)], (1, 0), signal.SIGINT)
    assert "Traceback" not in errors
    go_on = errors.strip().splitlines()[-1].split("go on with: dsunet ")[1]
    command = [sys.executable, "-m", "dsunet.cli", *go_on.split()]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    assert "epoch 1/3" not in done.stdout
    assert "epoch 3/3" in done.stdout
