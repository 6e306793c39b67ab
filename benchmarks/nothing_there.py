"""Pictures without an object: what the loss should do with them, and what calibration brings.

    python benchmarks/nothing_there.py --data TILES --output benchmarks/nothing-there.json

TILES holds `images/` and `masks/`, some of them without an object. dsunet-lite is trained from the
shipped weights by each of the terms that `--without-object` takes, in four rounds: a quarter of the
pairs is tested on, another one calibrated by, and half trained on, each with its share of pictures
without an object. Measured over all four tested quarters: overlap, false alarms and misses at 0.5,
at the threshold that `dsunet calibrate` chooses, and with maps emptied below the score that it
chooses (`--abstain`). `--keep FOLDER` keeps the runs and goes on with them.
"""

from __future__ import annotations

import argparse
import random
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dsunet.data import Pair
from dsunet.data.pairs import read_pair

TERMS = ("iou", "area", "none")
QUARTERS = 4
RECIPE = (
    "--model dsunet-lite --weights default --lr 5e-4 --encoder-lr 2e-4 --warmup-epochs 1 "
    "--clip-grad-norm 2 --sam-size 160 --epochs 12 --batch-size 8 --average 0.98 --crop 0 "
    "--best-by Dice_all --val-every 4 --workers 1 --device cpu --report false"
)


def quarters(pairs: Sequence[Pair], seed: int) -> list[list[str]]:
    """Names in four parts, each with its share of the pictures without an object."""
    empty = {pair.name: not np.asarray(read_pair(pair).mask).any() for pair in pairs}
    names = sorted(empty)
    random.Random(seed).shuffle(names)
    ordered = sorted(names, key=lambda name: empty[name])
    return [sorted(ordered[start::QUARTERS]) for start in range(QUARTERS)]


def trained(
    data: Path, parts: list[list[str]], term: str, quarter: int, seed: int, run: Path
) -> Path:
    """The weights of one training."""
    lists = run.parent / f"{run.name}-lists"
    lists.mkdir(parents=True, exist_ok=True)
    after = (quarter + 1) % QUARTERS
    training = [n for k, part in enumerate(parts) if k not in (quarter, after) for n in part]
    for name, chosen in (("train", training), ("val", parts[after])):
        (lists / f"{name}.txt").write_text("\n".join(chosen) + "\n")
    flags = f"{RECIPE} --without-object {term} --seed {seed}"
    command = [sys.executable, "-m", "dsunet.cli", "train", *shlex.split(flags)]
    command += ["--data", str(data), "--train-list", str(lists / "train.txt")]
    command += ["--val-list", str(lists / "val.txt"), "--output", str(run), "--resume"]
    subprocess.run(command, check=True)
    return run / "last.safetensors"


def main() -> None:
    """Trains and measures all there is, and writes the record after every training."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=(0,))
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    raise SystemExit("see below")


if __name__ == "__main__":
    main()
