"""Ten minutes of training on another kind of images: from the shipped weights, and from others.

    python benchmarks/fine_tune.py --set steel=DIR --set tile=DIR --output benchmarks/fine-tune.json

Every DIR holds `images/` and `masks/`. For each set dsunet-lite is trained as often as there are
STARTS, by the same command but for `--weights` and the rates; the number of epochs is what two
quiet cores do in about ten minutes, and the same for all. Measured are the held-out pairs (steel:
those of benchmarks/steel, tile: a quarter, drawn by the same seed) after the last epoch. `--keep
FOLDER` keeps the runs and goes on with them when the script was killed; `--start shipped` does that
one alone.
"""

from __future__ import annotations

import argparse
import csv
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from dsunet.support.files import sha256_of, write_json
from dsunet.weights.checkpoint import read_metadata
from dsunet.weights.shipped import DEFAULT, weights_of
from measuring import circumstances

STARTS = {
    "shipped": "--weights default --lr 5e-4 --encoder-lr 2e-4",
    "imagenet": "--weights encoders --lr 1e-3 --encoder-lr 3e-4",
    "scratch": "--weights none --lr 1e-3 --encoder-lr 1e-3",
}
COMMON = (
    "--model dsunet-lite --warmup-epochs 1 --clip-grad-norm 2 --batch-size 8 "
    "--crop 0.7 --average 0.99 --val-every 5 --protocol benchmark --workers 1 --device cpu --seed 0"
)
SETTINGS = {
    "steel": "--val-list benchmarks/steel/val.txt --sam-size 192 --epochs 40",
    "tile": "--val-fraction 0.25 --sam-size 256 --epochs 45",
}


def trained(name: str, data: str, start: str, run: Path) -> dict[str, Any]:
    """What one training came to."""
    flags = f"{COMMON} {SETTINGS[name]} {STARTS[start]}"
    command = [sys.executable, "-m", "dsunet.cli", "train", *shlex.split(flags)]
    subprocess.run([*command, "--data", data, "--output", str(run), "--resume"], check=True)
    about = read_metadata(run / "last.safetensors")["training"]
    with open(run / "metrics.csv", newline="", encoding="utf-8") as file:
        epochs = list(csv.DictReader(file))
    return {
        "command": f"dsunet train --data DIR {flags} --output RUN",
        "pairs": {"training": about["training_pairs"], "held_out": about["validation_pairs"]},
        "minutes": sum(float(row["seconds"]) for row in epochs) / 60,
        "measures": {key: float(epochs[-1][key]) for key in ("S", "F", "E", "MAE")},
        "epochs": [{key: row[key] for key in ("epoch", "S", "MAE")} for row in epochs],
    }


def main() -> None:
    """Trains on every set from every start and writes the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--set", action="append", required=True, metavar="NAME=DIR")
    parser.add_argument("--start", action="append", choices=STARTS, help="Some alone.")
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    sets = dict(given.split("=", 1) for given in arguments.set)
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.keep or Path(temporary)
        results = {
            name: {
                start: trained(name, data, start, folder / f"{name}-{start}")
                for start in arguments.start or STARTS
            }
            for name, data in sets.items()
        }
    write_json(
        arguments.output,
        {
            "circumstances": circumstances(),
            "shipped": sha256_of(weights_of(DEFAULT)),
            "sets": results,
        },
    )


if __name__ == "__main__":
    main()
