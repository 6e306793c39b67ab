"""Kills a training again and again, and compares what it comes to with an uninterrupted one.

    python benchmarks/kill_training.py --data DIR --kills 30 --json benchmarks/kills.json

Every process is killed by SIGKILL, which nothing can catch, after a random time; after every kill
all files of the run are read. The last process may finish. Weights and metrics have to be those of
an uninterrupted run, bit for bit.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from PIL import Image

from dsunet.weights.checkpoint import read_checkpoint


@dataclass
class Outcome:
    """What a series of kills came to."""

    kills: int = 0
    """How often a process was killed."""
    positions: list[tuple[int, int]] = field(default_factory=list)
    """Epoch and batch that the state on disk stood at after each kill."""
    finished_early: bool = False
    """The run was done before all kills were."""
    different: list[str] = field(default_factory=list)
    """Tensors of the final weights that differ from the uninterrupted run's."""
    same_metrics: bool = False
    """Whether metrics.csv is the same but for the seconds."""
    leftovers: list[str] = field(default_factory=list)
    """Files in the folder that the uninterrupted run does not have."""
    orphans: int = 0
    """Processes that were still there ten seconds after the one that started them was killed."""
    seconds: float = 0.0


def remaining(session: int, patience: float = 10.0) -> int:
    """How many processes of a session are left after a while, zombies aside; Linux only."""
    deadline = time.monotonic() + patience
    while True:
        count = 0
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):  # it has just ended
                fields = stat.read_text().rsplit(")", 1)[1].split()
                count += int(fields[3]) == session and fields[0] != "Z"
        if not count or time.monotonic() > deadline:
            return count
        time.sleep(0.05)


def command(data: Path, settings: list[str]) -> list[str]:
    """The command line of a run in the folder `run` of the working directory."""
    call = [sys.executable, "-m", "dsunet.cli", "train", "--data", str(data.resolve())]
    return [*call, "--output", "run", *settings]


def kill_and_compare(
    data: Path, settings: list[str], folder: Path, kills: int, longest: float | None, seed: int
) -> Outcome:
    """Runs once without and once with kills, in two folders below `folder`.

    Args:
        data: The data set.
        settings: Flags of `dsunet train`.
        folder: Where to work.
        kills: How many processes to kill.
        longest: Seconds that a process lives at most before it is killed. If not given, however
            quick the machine is, every other process lives up to 5 s, and the rest until they have
            saved their state up to four times and half a second more.
        seed: Of the times.
    """
    started = time.monotonic()
    outcome = Outcome()
    rng = random.Random(seed)
    for name in ("whole", "killed"):
        (folder / name).mkdir()
    subprocess.run(command(data, settings), cwd=folder / "whole", check=True, timeout=3600)
    run = folder / "killed" / "run"
    while outcome.kills < kills and not outcome.finished_early:
        process = subprocess.Popen(
            [*command(data, settings), "--resume"],
            cwd=run.parent,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        if longest is None and outcome.kills % 2 == 0:
            wait_for_saves(process, run / "resume.ckpt", rng.randint(1, 4))
            patience = rng.uniform(0, 0.5)
        else:
            patience = rng.uniform(0, longest or 5)
        try:
            status = process.wait(timeout=patience)
            if status != 0:
                raise RuntimeError(f"a resumed run ended with status {status}")
            outcome.finished_early = True
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            outcome.kills += 1
            outcome.orphans += remaining(process.pid)
            outcome.positions.append(read_everything(run))
    subprocess.run([*command(data, settings), "--resume"], cwd=run.parent, check=True, timeout=3600)
    whole = folder / "whole" / "run"
    expected, actual = (read_checkpoint(r / "last.safetensors")[1] for r in (whole, run))
    outcome.different = [
        name
        for name in sorted(expected.keys() | actual.keys())
        if name not in actual
        or name not in expected
        or not torch.equal(expected[name], actual[name])
    ]
    outcome.same_metrics = without_seconds(whole) == without_seconds(run)
    names = [{file.name for file in r.iterdir()} for r in (whole, run)]
    outcome.leftovers = sorted(names[1] - names[0])
    outcome.seconds = round(time.monotonic() - started, 1)
    return outcome


def wait_for_saves(process: subprocess.Popen[bytes], state: Path, count: int) -> None:
    """Waits until a process has replaced a file so many times, or has ended."""
    before = None
    while process.poll() is None and count >= 0:
        with contextlib.suppress(OSError):  # not there yet
            now = state.stat().st_mtime_ns
            count -= now != before
            before = now
        time.sleep(0.01)


def without_seconds(run: Path) -> list[dict[str, str]]:
    """The rows of metrics.csv, without the time that each epoch took."""
    with open(run / "metrics.csv", newline="", encoding="utf-8") as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


def read_everything(run: Path) -> tuple[int, int]:
    """Reads all finished files of a run; returns where its state stands. Broken files raise."""
    position = (0, 0)
    for file in sorted(run.iterdir()) if run.exists() else []:
        if file.name.startswith("."):
            continue
        if file.suffix == ".safetensors":
            read_checkpoint(file)
        elif file.suffix == ".ckpt":
            state = torch.load(file, weights_only=True)
            position = tuple(state["callbacks"]["RunFolder"]["position"])
        elif file.suffix == ".png":
            with Image.open(file) as image:
                image.load()
        elif file.suffix == ".json":
            json.loads(file.read_bytes())
        elif file.suffix == ".csv":
            rows = without_seconds(run)
            if [int(row["epoch"]) for row in rows] != list(range(1, len(rows) + 1)):
                raise RuntimeError(f"{file} has rows missing")
    return position


def main() -> None:
    """Reads the arguments and writes the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--longest", type=float, default=20.0)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, required=True)
    arguments = parser.parse_args()
    settings = [
        *("--model", "dsunet-nano", "--sam-size", "128", "--dino-size", "112", "--device", "cpu"),
        *("--batch-size", "4", "--workers", "2", "--val-fraction", "0.5", "--save-every", "0.02"),
        *("--clip-grad-norm", "1", "--epochs", str(arguments.epochs)),
    ]
    with tempfile.TemporaryDirectory() as folder:
        outcome = kill_and_compare(
            arguments.data,
            settings,
            Path(folder),
            arguments.kills,
            arguments.longest,
            arguments.seed,
        )
    record = {"data": arguments.data.name, "settings": " ".join(settings), **asdict(outcome)}
    arguments.json.write_text(json.dumps(record, indent=2) + "\n")
    print(f"{outcome.kills} kills; {len(outcome.different)} tensors differ")


if __name__ == "__main__":
    main()
