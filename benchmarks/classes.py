"""Several classes on real pictures: which of three kinds a defect of strip steel is.

    python benchmarks/classes.py --data DIR --work WORK --output benchmarks/classes.json \
        --figure benchmarks/classes.png

DIR holds `images/` and `masks/` of SD-saliency-900, or of a part of it, whose names begin with the
kind of the defect: In_ (inclusion), Pa_ (patches) and Sc_ (scratches). WORK gets a data set of the
same pictures with masks of numbers (0 background, 1 inclusion, 2 patches, 3 scratches), the runs,
and their predictions. dsunet-lite is trained from the shipped weights on all pairs but those of
benchmarks/steel/val.txt, which are predicted and measured by the commands that stand in the record:
once with classes that exclude each other, and, with `--independent`, once without. Kinds are also
told of whole pictures: the class with the most pixels. Where the script was stopped, it goes on.
"""

from __future__ import annotations

import argparse
import csv
import json
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dsunet.data import find_pairs
from dsunet.data.pairs import read_names, read_pair
from dsunet.support.files import sha256_of, write_json
from dsunet.visualize.classes import class_colours, coloured, index_picture
from dsunet.weights.shipped import DEFAULT, weights_of
from measuring import circumstances, spread

HERE = Path(__file__).parent
LISTED = HERE / "steel" / "val.txt"
CLASSES = {"inclusion": "In_", "patches": "Pa_", "scratches": "Sc_"}
TRAIN = (
    "--model dsunet-lite --classes {classes} --val-list benchmarks/steel/val.txt --sam-size 192 "
    "--epochs 40 --batch-size 8 --lr 2e-3 --encoder-lr 1.5e-3 --warmup-epochs 1 --clip-grad-norm 2 "
    "--crop 0.7 --average 0.98 --without-object area --positive-weight 4 --val-every 5 --workers 0 "
    "--device cpu"
)


def number_of(name: str) -> int:
    """The number of a picture's kind, by its name."""
    return next(i for i, start in enumerate(CLASSES.values(), 1) if name.startswith(start))


def make_set(data: Path, target: Path) -> None:
    """The pictures with masks that hold the number of their kind."""
    for folder in ("images", "masks"):
        (target / folder).mkdir(parents=True, exist_ok=True)
    for pair in find_pairs(data):
        _, mask, *_ = read_pair(pair)
        shutil.copy(str(pair.image), target / "images")
        index = (np.asarray(mask) >= 128).astype(np.uint8) * np.uint8(number_of(pair.name))
        index_picture(index, len(CLASSES)).save(target / "masks" / f"{pair.name}.png")


def run(*command: str) -> None:
    """A command of dsunet, which has to go well."""
    subprocess.run([sys.executable, "-m", "dsunet.cli", *command], check=True, cwd=HERE.parent)


def measured(work: Path, name: str, flags: str) -> dict[str, Any]:
    """What one training came to."""
    classes = ",".join(CLASSES)
    how = f"{TRAIN.format(classes=classes)}{flags}"
    folder, labels = work / name, work / f"{name}-labels"
    data = str(work / "data")
    run("train", "--data", data, *shlex.split(how), "--output", str(folder), "--resume")
    predict = ["--list", str(LISTED), "--weights", str(folder), "--device", "cpu"]
    run("predict", f"{data}/images", *predict, "--output", str(labels))
    record = work / f"{name}.json"
    masks = ["--masks", f"{data}/masks", "--classes", classes]
    only = ["--list", str(LISTED), "--workers", "1", "--json", str(record)]
    run("evaluate", "--predictions", str(labels), *masks, *only)
    found = json.loads(record.read_bytes())
    with open(folder / "metrics.csv", newline="", encoding="utf-8") as file:
        epochs = list(csv.DictReader(file))
    return {
        "commands": [
            f"dsunet train --data WORK/data {how} --output RUN",
            "dsunet predict WORK/data/images --list benchmarks/steel/val.txt --weights RUN "
            "--output LABELS",
            f"dsunet evaluate --predictions LABELS --masks WORK/data/masks --classes {classes} "
            "--list benchmarks/steel/val.txt",
        ],
        "minutes": round(sum(float(row["seconds"]) for row in epochs) / 60, 1),
        "IoU in training": {
            row["epoch"]: {name: round(float(row[f"IoU/{name}"]), 3) for name in CLASSES}
            for row in epochs
            if row["mIoU"]
        },
        "classes": found["classes"],
        "mean": found["mean"],
        "pictures": kinds_of_pictures(labels),
    }


def kinds_of_pictures(labels: Path) -> dict[str, dict[str, int]]:
    """By true kind, how many pictures have which class on most pixels that are of any."""
    table: dict[str, Counter[str]] = {name: Counter() for name in CLASSES}
    names = list(CLASSES)
    for name in read_names(LISTED):
        index = np.asarray(Image.open(labels / f"{name}.png"))
        pixels = np.bincount(index.ravel(), minlength=len(names) + 1)[1 : len(names) + 1]
        found = names[int(pixels.argmax())] if pixels.any() else "nothing"
        table[names[number_of(name) - 1]][found] += 1
    return {name: dict(counts) for name, counts in table.items()}


def draw(labels: Path, masks: Path, path: Path) -> None:
    """What is predicted in some held-out pictures, in the classes' colours, four of each kind.

    Pictures and masks themselves must not be passed on.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    listed = read_names(LISTED)
    figure = Figure(figsize=(9, 7.4), dpi=100, layout="constrained")
    axes = figure.subplots(len(CLASSES), 4)
    for (kind, start), row in zip(CLASSES.items(), axes, strict=True):
        own = [name for name in listed if name.startswith(start)]
        for axis, name in zip(row, spread(own, 4), strict=True):
            index, true = (np.asarray(Image.open(f / f"{name}.png")) for f in (labels, masks))
            number = number_of(name)
            hits = np.count_nonzero((index == number) & (true == number))
            union = np.count_nonzero((index == number) | (true == number))
            axis.imshow(coloured(index, len(CLASSES)))
            axis.set_title(f"{name}, {kind}: IoU {hits / union:.2f}", fontsize=8)
            axis.tick_params(labelsize=6)
            axis.set_xlabel("px", fontsize=6)
    colours = [np.array(each) / 255 for each in class_colours(len(CLASSES))]
    figure.legend(
        handles=[Patch(color=c, label=n) for c, n in zip(colours, CLASSES, strict=True)],
        loc="outside lower center",
        ncols=len(CLASSES),
    )
    figure.suptitle("dsunet-lite, trained for three kinds of defects: predictions", fontsize=10)
    figure.savefig(path)


def main() -> None:
    """Makes the set, trains, measures, and writes the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for flag in ("--data", "--work", "--output"):
        parser.add_argument(flag, type=Path, required=True)
    parser.add_argument("--independent", action="store_true", help="Both kinds of classes.")
    parser.add_argument("--figure", type=Path, help="Draw predictions here.")
    arguments = parser.parse_args()
    work = arguments.work.resolve()
    make_set(arguments.data, work / "data")
    ways = {"exclusive": ""} | (
        {"independent": " --exclusive false"} if arguments.independent else {}
    )
    results = {name: measured(work, name, flags) for name, flags in ways.items()}
    if arguments.figure is not None:
        draw(work / "exclusive-labels", work / "data" / "masks", arguments.figure)
    write_json(
        arguments.output,
        {
            "circumstances": circumstances(),
            "shipped": sha256_of(weights_of(DEFAULT)),
            "classes": list(CLASSES),
            "held_out": len(read_names(LISTED)),
            **results,
        },
    )


if __name__ == "__main__":
    main()
