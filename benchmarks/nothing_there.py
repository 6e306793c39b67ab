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
import math
import random
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import dsunet
from dsunet.calibration import Observed, Wanted, choose, observe
from dsunet.calibration.thresholds import Effect, effect_of
from dsunet.data import Pair, find_pairs, select_pairs
from dsunet.data.pairs import read_pair
from dsunet.metrics.detection import auroc
from dsunet.metrics.inputs import Truth
from dsunet.running.maps import quantise
from dsunet.support.files import sha256_of, write_json
from dsunet.weights.shipped import DEFAULT, weights_of
from measuring import circumstances

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


class Seen(NamedTuple):
    """A picture and its map."""

    observed: Observed
    scores: dict[str, float]
    """How sure the map is that there is an object, by several definitions."""


def looked_at(weights: Path, pairs: Sequence[Pair]) -> list[Seen]:
    """All pictures of a quarter."""
    segmenter = dsunet.Segmenter(weights, "cpu")
    found = []
    for pair in pairs:
        image, mask, *_ = read_pair(pair)
        [probability] = segmenter.probabilities([segmenter.prepare(image)])
        levels = quantise(probability)
        ordered = np.sort(levels.ravel())[::-1] / 255
        scores = {
            "highest": float(ordered[0]),
            "highest 0.1 %": float(ordered[: math.ceil(0.001 * ordered.size)].mean()),
            "highest 1 %": float(ordered[: math.ceil(0.01 * ordered.size)].mean()),
            "area at 0.5": float((ordered >= 0.5).mean()),
            "mean": float(ordered.mean()),
        }
        found.append(Seen(observe(levels, Truth(np.asarray(mask))), scores))
    return found


def measured(
    tested: Sequence[Sequence[Seen]], held_out: Sequence[Sequence[Seen]]
) -> dict[str, Any]:
    """What the tested quarters come to, with thresholds that other quarters have chosen."""
    effects: dict[str, list[Effect]] = {}
    thresholds, image_thresholds = [], []
    for test, apart in zip(tested, held_out, strict=True):
        own = [one.observed for one in test]
        found = choose([one.observed for one in apart], Wanted())
        assert found.image_threshold is not None
        thresholds.append(found.threshold)
        image_thresholds.append(round(found.image_threshold, 4))
        for name, effect in (
            ("at 0.5", effect_of(own, 0.5)),
            ("calibrated", effect_of(own, found.threshold)),
            ("abstaining", effect_of(own, found.threshold, found.image_threshold)),
        ):
            effects.setdefault(name, []).append(effect)
    pictures = [one for test in tested for one in test]
    return {
        "thresholds": thresholds,
        "image_thresholds": image_thresholds,
        **{name: _together(parts) for name, parts in effects.items()},
        "AUROC": {
            name: round(
                auroc(
                    [one.scores[name] for one in pictures if one.observed.curves],
                    [one.scores[name] for one in pictures if not one.observed.curves],
                ),
                4,
            )
            for name in pictures[0].scores
        },
    }


def _together(parts: Sequence[Effect]) -> dict[str, Any]:
    """Of all tested quarters."""
    objects = sum(part.detection.with_object for part in parts)
    dice = sum(part.dice * part.detection.with_object for part in parts) / objects
    without = sum(part.detection.without for part in parts)
    missed, alarmed = (
        sum(getattr(part.detection, name) for part in parts) for name in ("missed", "alarmed")
    )
    return {
        "Dice": round(dice, 4),
        "Dice_all": round((dice * objects + without - alarmed) / (objects + without), 4),
        "misses": f"{missed} of {objects}",
        "false_alarms": f"{alarmed} of {without}",
    }


def main() -> None:
    """Trains and measures, and writes the record after every round."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=QUARTERS, help="How many quarters to test.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    pairs = find_pairs(arguments.data)
    parts = quarters(pairs, arguments.seed)
    seen: dict[str, tuple[list[list[Seen]], list[list[Seen]]]] = {t: ([], []) for t in TERMS}
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.keep or Path(temporary)
        for quarter in range(arguments.rounds):
            for term, (tested, held_out) in seen.items():
                run = folder / f"{term}-{quarter}-{arguments.seed}"
                weights = trained(arguments.data, parts, term, quarter, arguments.seed, run)
                for names, found in (
                    (parts[quarter], tested),
                    (parts[(quarter + 1) % QUARTERS], held_out),
                ):
                    found.append(looked_at(weights, select_pairs(pairs, names, "quarter")))
            write_json(
                arguments.output,
                {
                    "circumstances": circumstances(),
                    "shipped": sha256_of(weights_of(DEFAULT)),
                    "recipe": RECIPE,
                    "rounds": quarter + 1,
                    "terms": {term: measured(*both) for term, both in seen.items()},
                },
            )


if __name__ == "__main__":
    main()
