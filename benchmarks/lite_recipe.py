"""What the parts of the shipped model's recipe bring, each left out of (or added to) a short one.

    python benchmarks/lite_recipe.py --data DIR --train LIST --held-out LIST --work FOLDER \
        --output benchmarks/lite-recipe.json

`--data` holds images/ and masks/ of DUTS-TR and of CAMO's training part; LIST are the pairs that
the shipped weights were trained on and those held out (a run's train.txt and val.txt). The recipe
is that of configs/duts-lite.yaml, on a few of the pairs, for few epochs and in small views, so that
every run takes minutes; what a part brings there is not what it brings in a long run. All variants
take the same number of steps but `longer`. Measured are two sets that no run saw: the held-out
pairs of DUTS-TR, and camouflaged pairs. What is done already in the work folder is not done again,
and the record tells of all that is done there.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
from typing import Any

import torch

import dsunet
from dsunet.config import DataConfig, LossConfig, TrainConfig, model_config
from dsunet.data import Pair, find_pairs
from dsunet.data.pairs import read_names
from dsunet.support.files import write_json
from measuring import circumstances, measures_of, parser_of_runs

VARIANTS: dict[str, dict[str, Any]] = {
    "recipe": {},
    "without ImageNet weights": {"weights": None, "encoder_lr": 1e-3},
    "without flips": {"horizontal_flip": 0.0},
    "without crops": {"crop": 0.0},
    "without colours": {"colour": 0.0},
    "without camouflaged pairs": {"camouflaged": False},
    "plain cross-entropy": {"bce": "mean"},
    "longer": {"longer": 2},
    "larger view": {"side": 192},
}
AVERAGE = "without average"  # the other weights of the run `recipe`: no run of its own
CAMOUFLAGED = "camourflage"  # so their names begin in CAMO
MEASURES = ("S", "F", "E", "MAE")


def drawn(arguments: argparse.Namespace) -> dict[str, list[str]]:
    """Names of the pairs to train on (with, and without camouflaged ones) and to measure."""
    known = read_names(arguments.train)
    held_out = read_names(arguments.held_out)
    order = random.Random(0)
    camouflaged = [name for name in known if name.startswith(CAMOUFLAGED)]
    salient = [name for name in known if not name.startswith(CAMOUFLAGED)]
    order.shuffle(camouflaged)
    order.shuffle(salient)
    some = arguments.camouflaged
    return {
        "train": sorted(salient[: arguments.pairs - some] + camouflaged[:some]),
        "train-salient": sorted(salient[: arguments.pairs]),
        "DUTS": [name for name in held_out if not name.startswith(CAMOUFLAGED)],
        "CAMO": sorted(camouflaged[some:])
        + [name for name in held_out if name.startswith(CAMOUFLAGED)],
    }


def measured(
    segmenter: dsunet.Segmenter, names: dict[str, list[str]], pairs: dict[str, Pair]
) -> dict[str, dict[str, float]]:
    """Measures of the two sets."""
    return {
        kind: measures_of(segmenter, (pairs[name] for name in names[kind]))
        for kind in ("DUTS", "CAMO")
    }


def run(
    arguments: argparse.Namespace,
    variant: str,
    seed: int,
    names: dict[str, list[str]],
    pairs: dict[str, Pair],
) -> dict[str, Any]:
    """Trains one variant, or goes on with it, and measures its last weights."""
    folder = arguments.work / f"{variant.replace(' ', '-')}-{seed}"
    done = folder / "result.json"
    if done.exists():
        found: dict[str, Any] = json.loads(done.read_text())
        return found
    change = VARIANTS[variant]
    chosen = "train" if change.get("camouflaged", True) else "train-salient"
    listed = arguments.work / f"{chosen}.txt"
    listed.write_text("".join(f"{name}\n" for name in names[chosen]))
    dsunet.train(
        folder,
        model_config("dsunet-lite", sam_size=change.get("side", arguments.side)),
        DataConfig(
            data=str(arguments.data),
            train_list=str(listed),
            horizontal_flip=change.get("horizontal_flip", 0.5),
            vertical_flip=0.0,
            crop=change.get("crop", 0.7),
            colour=change.get("colour", 0.5),
            check="headers",
            workers=0,
        ),
        TrainConfig(
            epochs=arguments.epochs * change.get("longer", 1),
            batch_size=16,
            warmup_epochs=1,
            lr=1e-3,
            encoder_lr=change.get("encoder_lr", 3e-4),
            weight_decay=0.01,
            clip_grad_norm=2.0,
            average=arguments.average,
            device="cpu",
            seed=seed,
            protocol="benchmark",
        ),
        LossConfig(bce=change.get("bce", "boundary_weighted")),
        weights=change.get("weights", "encoders"),
        resume=True,
        on_line=lambda line: print(f"  {line}", flush=True),
    )
    model = dsunet.load(folder / "last.safetensors")
    state = torch.load(folder / "resume.ckpt", map_location="cpu", weights_only=True)
    found = {
        "variant": variant,
        "seed": seed,
        "commit": circumstances()["commit"],
        "steps": state["global_step"],
        **measured(dsunet.Segmenter(model, device="cpu"), names, pairs),
    }
    if variant == "recipe":  # a resume state gives the weights themselves
        plain = dsunet.load(folder / "resume.ckpt")
        found[AVERAGE] = measured(dsunet.Segmenter(plain, device="cpu"), names, pairs)
    write_json(done, found)
    return found


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Each variant's means, and its differences from the recipe at the same seeds."""
    recipe = {row["seed"]: row for row in rows if row["variant"] == "recipe"}
    by_variant = {
        name: {row["seed"]: row for row in rows if row["variant"] == name} for name in VARIANTS
    }
    by_variant[AVERAGE] = {seed: row[AVERAGE] for seed, row in recipe.items()}
    return {
        name: {
            kind: {
                measure: {
                    "mean": round(statistics.mean(own[seed][kind][measure] for seed in own), 4),
                    "less_recipe": [
                        round(own[seed][kind][measure] - recipe[seed][kind][measure], 4)
                        for seed in own
                        if seed in recipe
                    ],
                }
                for measure in MEASURES
            }
            for kind in ("DUTS", "CAMO")
        }
        for name, own in by_variant.items()
        if own
    }


def main() -> None:
    """Trains what is not trained yet, seed by seed, and writes the record after every run."""
    parser = parser_of_runs(__doc__)
    parser.add_argument("--pairs", type=int, default=1600)
    parser.add_argument("--camouflaged", type=int, default=200, help="So many of the pairs.")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--average", type=float, default=0.98)
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--seeds", type=int, nargs="+", default=(0, 1))
    arguments = parser.parse_args()

    arguments.work.mkdir(parents=True, exist_ok=True)
    names = drawn(arguments)
    pairs = {pair.name: pair for pair in find_pairs(arguments.data)}
    settings = ("pairs", "camouflaged", "epochs", "side", "average")
    record: dict[str, Any] = {
        "circumstances": circumstances(),
        "settings": {key: getattr(arguments, key) for key in settings},
        "measured": {kind: len(names[kind]) for kind in ("DUTS", "CAMO")},
    }
    for seed in arguments.seeds:
        for variant in arguments.variants:
            print(f"{variant}, seed {seed}", flush=True)
            print(run(arguments, variant, seed, names, pairs), flush=True)
            done = sorted(arguments.work.glob("*/result.json"))
            record["runs"] = [json.loads(file.read_text()) for file in done]
            record["summary"] = summary(record["runs"])
            write_json(arguments.output, record)


if __name__ == "__main__":
    main()
