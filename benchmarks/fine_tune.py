"""Minutes of training on another kind of images: from the shipped weights, and from others.

    python benchmarks/fine_tune.py --set steel=DIR --set tile=DIR --set polyps=DIR \
        --output benchmarks/fine-tune.json

Every DIR holds `images/` and `masks/`. For each set and seed dsunet-lite is trained as often as
there are STARTS, by the same command but for `--weights` and the rates; the number of epochs is
what two quiet cores do in about ten minutes in float32, and the same for all. Measured are the
held-out pairs (`val.txt` of benchmarks/steel, tile and polyps, whatever the seed) after the last
epoch. `--keep FOLDER` keeps the runs and goes on with them when the script was killed; `--start
shipped` does that one alone. `--figures` draws maps of the runs from the shipped weights with the
first seed into those folders, as `fine-tuned.png`.
"""

from __future__ import annotations

import argparse
import csv
import shlex
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import dsunet
from dsunet.data import find_pairs, select_pairs
from dsunet.data.pairs import read_names, read_pair
from dsunet.metrics import measure
from dsunet.running.maps import quantise
from dsunet.support.files import sha256_of, write_json
from dsunet.weights.checkpoint import read_metadata
from dsunet.weights.shipped import DEFAULT, versioned, weights_of
from measuring import Shown, circumstances, draw_maps, spread

STARTS = {
    "shipped": "--weights default --lr 5e-4 --encoder-lr 2e-4",
    "imagenet": "--weights encoders --lr 1e-3 --encoder-lr 3e-4",
    "scratch": "--weights none --lr 1e-3 --encoder-lr 1e-3",
}
COMMON = (
    "--model dsunet-lite --warmup-epochs 1 --clip-grad-norm 2 --batch-size 8 "
    "--crop 0.7 --average 0.99 --val-every 5 --protocol benchmark --workers 1 --device cpu "
    "--keep-memory"
)
SETTINGS = {
    "steel": "--sam-size 192 --epochs 40",
    "tile": "--sam-size 256 --epochs 45",
    "polyps": "--sam-size 256 --epochs 35",
}
MEASURES = ("S", "F", "E", "MAE")
HERE = Path(__file__).parent


def trained(name: str, data: str, start: str, seed: int, run: Path) -> dict[str, Any]:
    """What one training came to."""
    flags = f"{COMMON} --val-list benchmarks/{name}/val.txt {SETTINGS[name]} {STARTS[start]}"
    flags += f" --seed {seed}"
    command = [sys.executable, "-m", "dsunet.cli", "train", *shlex.split(flags)]
    subprocess.run(
        [*command, "--data", data, "--output", str(run), "--resume"], check=True, cwd=HERE.parent
    )
    about = read_metadata(run / "last.safetensors")["training"]
    with open(run / "metrics.csv", newline="", encoding="utf-8") as file:
        epochs = list(csv.DictReader(file))
    return {
        "command": f"dsunet train --data DIR {flags} --output RUN",
        "pairs": {"training": about["training_pairs"], "held_out": about["validation_pairs"]},
        "minutes": round(sum(float(row["seconds"]) for row in epochs) / 60, 1),
        "measures": {key: float(epochs[-1][key]) for key in MEASURES},
        "S": {row["epoch"]: float(row["S"]) for row in epochs if row["S"]},
    }


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean and standard deviation over the seeds."""
    found = {}
    for key in MEASURES:
        values = [run["measures"][key] for run in runs]
        spread_ = statistics.stdev(values) if len(values) > 1 else None
        found[key] = {
            "mean": round(statistics.mean(values), 4),
            "standard_deviation": None if spread_ is None else round(spread_, 4),
        }
    return found


def draw(name: str, data: str, run: Path) -> None:
    """Maps of held-out pictures, from the best to the worst, in the set's folder here."""
    folder = HERE / name
    pairs = select_pairs(find_pairs(data), read_names(folder / "val.txt"), "val.txt")
    segmenter = dsunet.Segmenter(run / "last.safetensors", "cpu")
    shown = {}
    for pair in pairs:
        image, mask, *_ = read_pair(pair)
        [probability] = segmenter.probabilities([segmenter.prepare(image)])
        truth = np.asarray(mask)
        s = measure(quantise(probability), truth, ("S",), protocol="benchmark").values["S"]
        shown[pair.name] = Shown(pair.name, probability, truth > 127, s)
    ranked = sorted(shown, key=lambda name: -shown[name].s)
    title = f"{name}: maps of {versioned(DEFAULT)} after fine-tuning, from the best to the worst"
    draw_maps([shown[name] for name in spread(ranked, 8)], title, folder / "fine-tuned.png")


def main() -> None:
    """Trains on every set from every start and writes the record after every run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--set", action="append", required=True, metavar="NAME=DIR")
    parser.add_argument("--start", action="append", choices=STARTS, help="Some alone.")
    parser.add_argument("--seeds", type=int, nargs="+", default=(0, 1, 2))
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--figures", action="store_true")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    sets = dict(given.split("=", 1) for given in arguments.set)
    results: dict[str, dict[str, list[dict[str, Any]]]] = {name: {} for name in sets}
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.keep or Path(temporary)
        for seed in arguments.seeds:
            for start in arguments.start or STARTS:
                for name, data in sets.items():
                    run = folder / f"{name}-{start}-{seed}"
                    row = {"seed": seed} | trained(name, data, start, seed, run)
                    results[name].setdefault(start, []).append(row)
                    write_json(
                        arguments.output,
                        {
                            "circumstances": circumstances(),
                            "shipped": sha256_of(weights_of(DEFAULT)),
                            "summary": {
                                name: {start: summary(runs) for start, runs in own.items()}
                                for name, own in results.items()
                            },
                            "sets": results,
                        },
                    )
                    if arguments.figures and start == "shipped" and seed == arguments.seeds[0]:
                        draw(name, data, run)


if __name__ == "__main__":
    main()
