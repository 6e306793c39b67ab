"""Two processes on a CPU beside one, at the same batch of both together.

    python benchmarks/two_processes.py --data DIR --json benchmarks/two-processes.json

BatchNorm is in evaluation mode (`tests/still_training.py`), so that both compute the same. Every
process has one thread. Reported are the largest differences of gradients in the first step and of
weights in the end, and what a process computes for a step, in process time, which other work on the
machine does not change much.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from itertools import pairwise
from pathlib import Path
from statistics import median

import torch

from dsunet.benchmarking import circumstances
from dsunet.weights.checkpoint import read_checkpoint

SCRIPT = Path(__file__).parents[1] / "tests" / "still_training.py"
SETTINGS = (
    "--model dsunet-nano --weights none --sam-size 128 --dino-size 112 --device cpu --workers 0 "
    "--batch-size 8 --report false --seed 1"
)


def main() -> None:
    """Trains, compares and writes the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, help="Folder of pairs.")
    parser.add_argument("--limit", type=int, default=44, help="Pairs that are used.")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--json", required=True)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        one, two = Path(folder) / "one", Path(folder) / "two"
        for devices, output in enumerate((one, two), 1):
            train(given, output, devices)
        seconds = [step_seconds(run.with_suffix(".txt")) for run in (one, two)]
        gradients = [torch.load(run.with_suffix(".pt")) for run in (one, two)]
        weights = [read_checkpoint(run / "last.safetensors")[1] for run in (one, two)]
    largest = max(float(gradient.abs().max()) for gradient in gradients[0].values())
    record = {
        **circumstances(),
        "settings": SETTINGS,
        "pairs": given.limit,
        "epochs": given.epochs,
        "process seconds a step": {"one": seconds[0], "each of two": seconds[1]},
        "ratio": seconds[1] / seconds[0],
        "largest gradient": largest,
        "gradients differ by": difference(*gradients),
        "weights differ by": difference(*weights),
    }
    Path(given.json).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(record, indent=2))


def train(given: argparse.Namespace, output: Path, devices: int) -> None:
    """A run of so many processes."""
    command = [sys.executable, str(SCRIPT), "train", *SETTINGS.split()]
    command += ["--data", given.data, "--limit", str(given.limit), "--epochs", str(given.epochs)]
    command += ["--devices", str(devices), "--output", str(output)]
    environment = {"OMP_NUM_THREADS": "1", "GRADIENTS": str(output.with_suffix(".pt"))}
    environment["STEPS"] = str(output.with_suffix(".txt"))
    subprocess.run(command, check=True, env=os.environ | environment)


def step_seconds(steps: Path) -> float:
    """The median over the steps of all processes, of those from the third on."""
    times: dict[str, list[float]] = {}
    for line in steps.read_text(encoding="utf-8").splitlines():
        rank, seconds = line.split()
        times.setdefault(rank, []).append(float(seconds))
    return median(b - a for each in times.values() for a, b in pairwise(each[2:]))


def difference(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    """The largest over all values."""
    assert one.keys() == other.keys()
    return max(float((one[name].float() - other[name].float()).abs().max()) for name in one)


if __name__ == "__main__":
    main()
