"""Trainings of two processes on CPUs: they come to what one comes to, and end together.

Results are those of one process at the same global batch, but for the order of sums.
"""

from __future__ import annotations

import contextlib
import csv
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

import still_training
from dsunet.cli import main
from dsunet.data.synthetic import write_synthetic
from dsunet.training.folder import position_of
from dsunet.weights.checkpoint import read_checkpoint
from helpers import ROOT

pytestmark = pytest.mark.slow

PATIENCE = 600  # seconds after which processes are taken to hang
SCRIPT = str(still_training.__file__)
TWO = ["--devices", "2"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine pairs to train on in batches of four, so that one process has no share of the last."""
    folder = tmp_path_factory.mktemp("many") / "data"
    write_synthetic(folder, 12, 72)
    return folder


def arguments(data: Path, output: Path | str, *more: str) -> list[str]:
    settings = (
        "--model dsunet-nano --weights none --sam-size 128 --dino-size 112 --device cpu "
        "--workers 0 --val-fraction 0.25 --batch-size 4 --epochs 2 --val-pictures 0 --report false "
        "--average 0.5 --clip-grad-norm 1 --multi-scale 0.25 --save-every 0"
    )
    return ["train", *settings.split(), "--data", str(data), "--output", str(output), *more]


def start(
    command: list[str],
    environment: dict[str, str] | None = None,
    before: Callable[[], None] | None = None,
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | (environment or {}),
        preexec_fn=before,
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Exit status, output and errors of a process, and of those that share its pipes."""
    try:
        out, errors = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()  # nothing if it has ended
    return process.returncode, out, errors


def together(given: list[str], environment: dict[str, str] | None = None) -> tuple[int, str, str]:
    return ended(start([sys.executable, SCRIPT, *given], environment))


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one process comes to."""
    output = tmp_path_factory.mktemp("many") / "whole"
    with pytest.MonkeyPatch.context() as patch, one_thread():
        patch.setenv("GRADIENTS", str(output.with_name("gradients.pt")))
        still_training.hold_still(patch)
        assert main(arguments(data, output)) == 0
    return output


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    torch.set_num_threads(1)
    yield


def assert_same(first: Path, second: Path) -> None:
    """The same weights but for the order of sums, and the same measures and best epoch."""
    for name in ("last", "best"):
        about, expected = read_checkpoint(first / f"{name}.safetensors")
        also, actual = read_checkpoint(second / f"{name}.safetensors")
        assert about["training"]["epoch"] == also["training"]["epoch"]
        assert expected.keys() == actual.keys()
        for key in expected:
            # a rate of 1e-3: a step of AdamW would be seen
            torch.testing.assert_close(actual[key], expected[key], rtol=1e-4, atol=5e-5, msg=key)
    rows = []
    for folder in (first, second):
        with open(folder / "metrics.csv", newline="") as file:
            rows.append(list(csv.DictReader(file)))
    assert len(rows[0]) == len(rows[1]) == 2
    for one, other in zip(*rows, strict=True):
        for key in ("loss", "S", "MAE", "Dice", "lr"):
            assert float(other[key]) == pytest.approx(float(one[key]), abs=2e-4), key


def test_two_processes_come_to_what_one_comes_to(data: Path, whole: Path, tmp_path: Path) -> None:
    """With views of many sizes, clipped gradients, averaged weights, and a last batch of one."""
    gradients = tmp_path / "gradients.pt"
    status, out, errors = together(
        arguments(data, tmp_path / "two", *TWO), {"GRADIENTS": str(gradients)}
    )
    assert (status, errors) == (0, "")
    assert "2 processes, each 2 of the 4 images a step" in out
    for line in ("epoch 1/2", "epoch 2/2", "best epoch", "weights: "):
        assert out.count(f"\n{line}") == 1
    assert_same(whole, tmp_path / "two")
    expected, actual = torch.load(whole.with_name("gradients.pt")), torch.load(gradients)
    assert expected.keys() == actual.keys()
    for name in expected:
        torch.testing.assert_close(actual[name], expected[name], rtol=1e-3, atol=1e-5, msg=name)


def test_a_run_goes_on_with_another_number_of_processes(
    data: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two of torchrun, one of which is interrupted inside an epoch; then one by itself."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command = [*torchrun, "--nproc-per-node", "2", SCRIPT]
    process = start(
        [*command, *arguments(data, tmp_path / "run", *TWO)], {"ACCIDENT": "1:1:0:interrupt"}
    )
    status, out, errors = ended(process)
    assert status != 0
    assert out.count("\nepoch 1/2") == 1
    assert errors.count("dsunet train: error: interrupted; go on with") == 1
    assert position_of(tmp_path / "run" / "resume.ckpt") == (1, 1)
    still_training.hold_still(monkeypatch)
    assert main(arguments(data, tmp_path / "run", "--resume")) == 0
    assert_same(whole, tmp_path / "run")


@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_process_takes_the_other_along(data: Path, tmp_path: Path, rank: int) -> None:
    process = start(
        [sys.executable, SCRIPT, *arguments(data, tmp_path / "run", *TWO)],
        {"ACCIDENT": f"{rank}:0:1:kill"},
    )
    status, _, errors = ended(process)  # once all that share its pipes have ended
    assert status == (1 if rank else -9)
    lines = errors.strip().splitlines()
    assert len(lines) == 1, errors
    assert "a process of this training has ended without a word" in lines[0]
    assert position_of(tmp_path / "run" / "resume.ckpt") == (0, 1)


def test_one_that_hangs_is_ended(data: Path, tmp_path: Path) -> None:
    """It is killed itself when the other one has gone, although it looks at nothing."""
    begun = time.monotonic()
    process = start(
        [sys.executable, SCRIPT, *arguments(data, tmp_path / "run", *TWO)],
        {"ACCIDENT": "1:0:1:hang"},
    )
    assert process.stdout is not None
    while not (tmp_path / "run" / "resume.ckpt").exists():
        assert process.poll() is None
        assert time.monotonic() - begun < PATIENCE
        time.sleep(0.1)
    process.kill()
    killed = time.monotonic()
    ended(process)
    assert time.monotonic() - killed < 60


def test_a_broken_image_is_one_line(data: Path, tmp_path: Path) -> None:
    """That one of them meets in training, as the check looks at headers alone."""
    shutil.copytree(data, tmp_path / "data")
    for image in (tmp_path / "data" / "images").iterdir():
        if "salient" in image.name:
            image.write_bytes(image.read_bytes()[:-200])
    given = arguments(tmp_path / "data", tmp_path / "run", *TWO, "--check", "headers")
    status, _, errors = together(given)
    assert status == 1
    assert len(errors.strip().splitlines()) == 1, errors
    assert errors.startswith("dsunet train: error: ")
    assert "salient" in errors


def test_a_full_disk_is_one_line(data: Path, tmp_path: Path) -> None:
    """The system refuses files of more than two megabytes, which the weights have."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))

    given = arguments(data, tmp_path / "run", *TWO)
    status, _, errors = ended(start([sys.executable, SCRIPT, *given], before=limit))
    assert status == 1
    assert len(errors.strip().splitlines()) == 1, errors
    assert "cannot be written (File too large); what was saved before is whole" in errors


@pytest.fixture
def machines() -> Iterator[tuple[str, str]]:
    """Two network namespaces with addresses of their own, joined by a cable."""
    names = tuple(f"dsunet{os.getpid()}{letter}" for letter in "ab")
    if shutil.which("ip") is None:
        pytest.skip("needs ip of iproute2")
    made = subprocess.run(["ip", "netns", "add", names[0]], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"network namespaces are not allowed here: {made.stderr.strip()}")
    try:
        one, other = names
        for line in (
            f"ip netns add {other}",
            f"ip -n {one} link add cable0 type veth peer name cable1 netns {other}",
            *(
                f"ip -n {name} {what}"
                for number, name in enumerate(names)
                for what in (
                    "link set lo up",
                    f"address add 10.77.0.{number + 1}/24 dev cable{number}",
                    f"link set cable{number} up",
                )
            ),
        ):
            done = subprocess.run(line.split(), capture_output=True, text=True)
            if done.returncode:
                pytest.skip(f"network namespaces are not allowed here: {done.stderr.strip()}")
        yield one, other
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True)


def as_srun(data: Path, output: Path, machine: str, number: int) -> list[str]:
    """The command of one of two tasks of SLURM, on its machine."""
    slurm = {
        "SLURM_JOB_ID": "4711",
        "SLURM_NODELIST": "10.77.0.1,10.77.0.2",
        "SLURM_STEP_NUM_TASKS": "2",
        "SLURM_NTASKS": "2",
        "SLURM_NTASKS_PER_NODE": "1",
        "SLURM_NNODES": "2",
        "SLURM_PROCID": str(number),
        "SLURM_NODEID": str(number),
        "SLURM_LOCALID": "0",
        "GLOO_SOCKET_IFNAME": f"cable{number}",
    }
    there = ["ip", "netns", "exec", machine, "env", *(f"{k}={v}" for k, v in slurm.items())]
    return [*there, sys.executable, SCRIPT, *arguments(data, output, "--num-nodes", "2")]


def test_two_machines(data: Path, whole: Path, tmp_path: Path, machines: tuple[str, str]) -> None:
    """As SLURM starts them: one task on each, which reach each other over the network alone."""
    tasks = [
        start(as_srun(data, tmp_path / "run", machine, number))
        for number, machine in enumerate(machines)
    ]
    (status, out, errors), (also, quiet, more) = map(ended, tasks)
    assert (status, errors, also, more) == (0, "", 0, "")
    assert "2 processes on 2 machines" in out
    assert quiet == ""
    assert_same(whole, tmp_path / "run")


SRUN = """#!/bin/bash
# two tasks on this machine, as srun starts them
while [[ $1 == --* ]]; do shift; done
export SLURM_STEP_NUM_TASKS=2 SLURM_NTASKS=2 SLURM_NODEID=0
SLURM_PROCID=1 SLURM_LOCALID=1 "$@" &
SLURM_PROCID=0 SLURM_LOCALID=0 "$@"
wait $!
"""


def test_the_job_for_slurm(data: Path, tmp_path: Path) -> None:
    """`deploy/train.sbatch` as SLURM would run it, but with two tasks on this machine."""
    for name, text in {
        "srun": SRUN,
        "dsunet": f'#!/bin/bash\nexec {sys.executable} {SCRIPT} "$@"\n',
    }.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    job = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "SLURM_JOB_ID": "4712",
        "SLURM_NODELIST": "127.0.0.1",
        "SLURM_NNODES": "1",
        "SLURM_NTASKS_PER_NODE": "2",
    }
    given = arguments(data, tmp_path / "run", "--epochs", "1")[1:]
    file = str(ROOT / "deploy" / "train.sbatch")
    status, out, errors = ended(
        start(["bash", file, str(data), str(tmp_path / "run"), *given], job)
    )
    assert (status, errors) == (0, "")
    assert "2 processes, each 2 of the 4 images a step" in out
    assert out.count("\nepoch 1/1") == 1
