"""Prediction on a Ray cluster of this machine, whose actors and whose driver are killed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dsunet.cli import main
from dsunet.predict import working
from scale import actors_of, manifest, outputs, processes, write_pictures

pytestmark = pytest.mark.slow

QUICK = ("--engine", "onnx", "--view", "128")
CLUSTER = ("--cluster", "local", "--actors", "2")
LONG = 420.0  # seconds for what takes 30 on a quiet machine


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return tmp_path


@contextlib.contextmanager
def driver(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """The command as a process of its own; nothing of it is left afterwards."""
    with subprocess.Popen(
        [sys.executable, "-m", "dsunet.cli", "predict", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def an_actor_of(process: subprocess.Popen[str]) -> int:
    """One that is at work, as soon as there is one."""
    until = time.monotonic() + LONG
    while time.monotonic() < until:
        if pids := actors_of(process.pid):
            return pids[0]
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.05)
    raise AssertionError("no actor came up")


def wait_for_maps(folder: Path, count: int, process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + LONG
    while len(list(folder.rglob("*.png"))) < count and time.monotonic() < until:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.05)


def test_killed_actors_and_a_killed_driver_lose_nothing(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_pictures(here / "in", 200)
    assert main(["predict", "in", "--output", "plain", *QUICK]) == 1
    arguments = ("in", "--output", "out", *QUICK, *CLUSTER)
    with driver(*arguments) as process:
        os.kill(an_actor_of(process), signal.SIGKILL)
        wait_for_maps(here / "out", 90, process)
        process.send_signal(signal.SIGKILL)
        process.wait()
    done = {file: file.stat().st_mtime_ns for file in (here / "out").rglob("*.png")}
    assert 90 <= len(done) < 198
    with driver(*arguments, "--resume") as process:
        os.kill(an_actor_of(process), signal.SIGKILL)
        said, _ = process.communicate(timeout=LONG)
    assert process.returncode == 1, said
    assert "2 images failed" in said
    assert "were there already" in said
    again = sum(file.stat().st_mtime_ns != written for file, written in done.items())
    assert again <= 4  # those whose line was not in the journal yet when the driver was killed
    assert outputs(here / "out") == outputs(here / "plain")
    rows = manifest(here / "out").to_pylist()
    assert len(rows) == len({row["input"] for row in rows}) == 200
    assert sorted(row["input"] for row in rows if row["status"] == "failed") == [
        str(here / "in" / "000" / f"{number:06d}.jpg") for number in (50, 150)
    ]
    decoded: list[object] = []
    monkeypatch.setattr(working, "decode", decoded.append)
    (here / "in" / "000" / "000050.jpg").unlink()
    (here / "in" / "000" / "000150.jpg").unlink()
    assert main(["predict", *arguments, "--resume"]) == 0  # Ray is not even started
    assert decoded == []
    assert manifest(here / "out").num_rows == 198


def test_an_image_that_kills_its_actor_is_a_row_and_the_others_are_there(
    here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """With a pool of actors that start again for ever, it must not hang."""
    (here / "deadly.py").write_text(
        "import os, signal\n"
        "def map_of(image):\n"
        "    if image.shape[0] == 65:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return image.mean(axis=2) / 255\n"
    )
    write_pictures(here / "in", 20)  # number 1 has 65 px
    arguments = ("in", "--output", "out", "--model", "deadly:map_of", *CLUSTER)
    with driver(*arguments) as process:
        said, _ = process.communicate(timeout=LONG)
    assert process.returncode == 1, said
    rows = manifest(here / "out").to_pylist()
    assert len(rows) == 20
    [failed] = [row for row in rows if row["status"] == "failed"]
    assert failed["output"] == "000/000001.png"
    assert "the process died 2 times over it" in failed["error"]
    assert len(outputs(here / "out")) == 19


def test_actors_that_never_come_up_end_the_run(here: Path) -> None:
    (here / "stillborn.py").write_text(
        "import os, signal, sys\n"
        "if 'ray' in sys.modules:\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "def map_of(image):\n"
        "    return image.mean(axis=2) / 255\n"
    )
    (here / "impatient.py").write_text(
        "import sys\n"
        "from dsunet.cli import main\n"
        "from dsunet.predict.cluster import run\n"
        "run.PATIENCE = 20.0\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    write_pictures(here / "in", 5)
    arguments = ["predict", "in", "--output", "out", "--model", "stillborn:map_of", *CLUSTER]
    process = subprocess.run(
        [sys.executable, "impatient.py", *arguments],
        capture_output=True,
        text=True,
        timeout=LONG,
        check=False,
    )
    assert process.returncode == 1
    assert "nothing has come from the cluster" in process.stderr
    assert "go on with --resume" in process.stderr


def test_interrupted_it_says_how_to_go_on(here: Path) -> None:
    write_pictures(here / "in", 200)
    with driver("in", "--output", "out", *QUICK, *CLUSTER) as process:
        wait_for_maps(here / "out", 20, process)
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=LONG)
        assert process.returncode == 130, said
        assert "the same command with --resume goes on" in said
        below = {parent for parent, _ in processes().values()}
        assert process.pid not in below
