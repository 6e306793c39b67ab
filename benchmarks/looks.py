"""What a larger view, mirrored views and a second look at the object bring, and what they cost.

    python benchmarks/looks.py --set DUTS-TE-200=DIR --view 320 --view 384 \
        --output benchmarks/looks.json

Every DIR holds `images/` and `masks/`. Per set and way to look: S, IoU, the IoU of boundaries and
MAE of 8-bit maps as they are, with 95 % bootstrap intervals of the differences to one look at the
model's own view, and the median of milliseconds an image (from the decoded picture to its map, one
image a pass). `--weights` measures other weights than those that come with the package, `--engine
onnx` their exported form, without `--view`.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np

import dsunet
from dsunet.data import find_pairs
from dsunet.data.pairs import read_pair
from dsunet.metrics import measure
from dsunet.running.maps import quantise
from dsunet.support.files import sha256_of, write_json
from dsunet.weights.shipped import DEFAULT
from measuring import circumstances, difference

MEASURES = ("S", "IoU", "BIoU", "MAE")
PLAIN = "as it is"


def ways(views: list[int]) -> dict[str, dict[str, Any]]:
    """Settings of a segmenter by what they are called."""
    found: dict[str, dict[str, Any]] = {
        PLAIN: {},
        "flips": {"flips": True},
        "zoom": {"zoom": True},
        "flips, zoom": {"flips": True, "zoom": True},
    }
    return found | {f"view {side}": {"view": side} for side in views}


def measured(segmenter: dsunet.Segmenter, folder: str) -> tuple[list[dict[str, float]], float]:
    """Measures of every image, and the median of milliseconds an image."""
    rows, seconds = [], []
    for pair in find_pairs(folder):
        image, mask, *_ = read_pair(pair)
        started = time.perf_counter()
        [probability] = segmenter.probabilities([segmenter.prepare(image)])
        seconds.append(time.perf_counter() - started)
        rows.append(measure(quantise(probability), np.asarray(mask), MEASURES).values)
    return rows, round(1e3 * statistics.median(seconds), 1)


def summary(rows: list[dict[str, float]], plain: list[dict[str, float]]) -> dict[str, Any]:
    """Means, and intervals of the differences to one look."""
    result: dict[str, Any] = {}
    for name in MEASURES:
        both = [(a[name], b[name]) for a, b in zip(rows, plain, strict=True) if name in a]
        now, before = (np.array(values) for values in zip(*both, strict=True))
        result[name] = {
            "mean": round(float(now.mean()), 5),
            "difference": difference(now, before),
        }
    return result


def main() -> None:
    """Measures and writes the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--set", action="append", required=True, metavar="NAME=DIR")
    parser.add_argument("--view", action="append", type=int, default=[], metavar="SIDE")
    parser.add_argument("--weights", default=DEFAULT)
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    sets = dict(given.split("=", 1) for given in arguments.set)
    segmenters = {
        way: dsunet.Segmenter(arguments.weights, "cpu", engine=arguments.engine, **settings)
        for way, settings in ways(arguments.view).items()
    }
    results: dict[str, Any] = {}
    for name, folder in sets.items():
        plain, _ = measured(segmenters[PLAIN], folder)  # which also warms up
        results[name] = {"images": len(plain)}
        for way, segmenter in segmenters.items():
            rows, milliseconds = measured(segmenter, folder)
            results[name][way] = {"ms": milliseconds, **summary(rows, plain)}
            print(name, way, results[name][way], flush=True)
    weights = segmenters[PLAIN].weights
    assert weights is not None
    write_json(
        arguments.output,
        {
            "circumstances": circumstances(),
            "weights": sha256_of(weights),
            "view": segmenters[PLAIN].view,
            "engine": segmenters[PLAIN].engine.runtime,
            "precision": segmenters[PLAIN].engine.precision,
            "sets": results,
        },
    )


if __name__ == "__main__":
    main()
