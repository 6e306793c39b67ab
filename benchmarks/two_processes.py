"""Two processes on a CPU beside one, at the same batch of both together.

    python benchmarks/two_processes.py --data DIR --json benchmarks/two-processes.json

BatchNorm is in evaluation mode (`tests/still_training.py`), so that both compute the same. Every
process has one thread. Reported are the largest differences of gradients in the first step and of
weights in the end, and how long an epoch takes, as a ratio; all runs take turns.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
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
    parser.add_argument("--epochs", type=int, default=3, help="The first is no part of the ratio.")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--json", required=True)
    given = parser.parse_args()
    seconds: dict[int, list[float]] = {1: [], 2: []}
    with tempfile.TemporaryDirectory() as folder:
        for repeat in range(given.repeats):
            for devices in (1, 2):
                output = Path(folder) / f"{devices}-{repeat}"
                train(given, output, devices)
                seconds[devices] += epoch_seconds(output)[1:]
        one, two = Path(folder) / "1-0", Path(folder) / "2-0"
        gradients = [torch.load(run.with_suffix(".pt")) for run in (one, two)]
        weights = [read_checkpoint(run / "last.safetensors")[1] for run in (one, two)]
    largest = max(float(gradient.abs().max()) for gradient in gradients[0].values())
    record = {
        **circumstances(),
        "settings": SETTINGS,
        "pairs": given.limit,
        "epochs": given.epochs,
        "seconds an epoch": seconds,
        "ratio": median(seconds[2]) / median(seconds[1]),
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
    subprocess.run(command, check=True, env=os.environ | environment)


def epoch_seconds(run: Path) -> list[float]:
    """Seconds of each epoch of a run."""
    with open(run / "metrics.csv", newline="", encoding="utf-8") as file:
        return [float(row["seconds"]) for row in csv.DictReader(file)]


def difference(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    """The largest over all values."""
    assert one.keys() == other.keys()
    return max(float((one[name].float() - other[name].float()).abs().max()) for name in one)


if __name__ == "__main__":
    main()
