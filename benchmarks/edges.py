"""What `--refine` does to maps: measures on pairs, and time and memory on large pictures.

    python benchmarks/edges.py --data DIR --output benchmarks/edges.json

DIR holds `images/` and `masks/`. The map of the model's own view is also shrunk to 128 and 64 px,
which stands for pictures that are two and four times as large: it is scaled to the picture's size
as it is, and refined. `half` is the share of pixels between 0.1 and 0.9. Times and memory are of
`refined` alone, by process time on one thread, for photographs of scikit-image scaled up to 4 and
12 megapixels.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import dsunet
from dsunet.data import find_pairs
from dsunet.data.pairs import read_pair
from dsunet.metrics import measure
from dsunet.predict.edges import refined
from dsunet.running.maps import quantise
from dsunet.support.files import sha256_of, write_json
from dsunet.weights.shipped import DEFAULT, weights_of
from measuring import circumstances, difference

MEASURES = ("BIoU", "IoU", "S", "MAE")
SIDES = (None, 128, 64)
MEGAPIXELS = (4, 12)
PHOTOGRAPHS = ("astronaut", "coffee", "chelsea")
REPEATS = 5


def resized(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinearly; an average where it shrinks."""
    size = (width, height)
    return np.asarray(Image.fromarray(values).resize(size, Image.Resampling.BILINEAR))


def measured(folder: str) -> dict[str, object]:
    """Means over a set's pairs, before and after, and intervals of the differences."""
    segmenter = dsunet.Segmenter(device="cpu", precision="float32")
    rows: dict[str, dict[str, list[dict[str, float]]]] = {}
    for pair in find_pairs(folder):
        image, mask, *_ = read_pair(pair)
        truth = np.asarray(mask)
        assert segmenter.view is not None
        [own] = segmenter.probabilities([segmenter.prepare(image, segmenter.view)])
        for side in SIDES:
            small = own if side is None else resized(own, side, side)
            plain = resized(small, *truth.shape)
            both = {"plain": plain, "refined": refined(plain, image, small.shape)}
            kept = rows.setdefault(f"view of {side or segmenter.view[0]} px", {})
            for way, values in both.items():
                found = measure(quantise(values), truth, MEASURES).values
                half = float(((values > 0.1) & (values < 0.9)).mean())
                kept.setdefault(way, []).append({**found, "half": half})
    return {name: summary(kept) for name, kept in rows.items()}


def summary(kept: dict[str, list[dict[str, float]]]) -> dict[str, object]:
    """Means of both ways, and 95 % intervals of their difference."""
    result: dict[str, object] = {"images": len(kept["plain"])}
    for key in (*MEASURES, "half"):
        before, after = (
            np.array([row[key] for row in kept[way] if key in row]) for way in ("plain", "refined")
        )
        result[key] = {
            "plain": round(float(before.mean()), 5),
            "refined": round(float(after.mean()), 5),
            "difference": difference(after, before),
        }
    return result


def timed(name: str, megapixels: int) -> dict[str, float]:
    """Milliseconds a megapixel of a photograph that is scaled up."""
    import skimage.data

    photo = Image.fromarray(getattr(skimage.data, name)()[..., :3])
    scale = (megapixels * 1e6 / (photo.width * photo.height)) ** 0.5
    photo = photo.resize((round(photo.width * scale), round(photo.height * scale)))
    result = dsunet.Segmenter(device="cpu", precision="float32")(photo)
    seconds = []
    for _ in range(REPEATS):
        started = time.process_time()
        result.refined()
        seconds.append(time.process_time() - started)
    pixels = photo.width * photo.height / 1e6
    return {"ms_per_megapixel": round(1e3 * statistics.median(seconds) / pixels, 1)}


def main() -> None:
    """Measures and writes the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    write_json(
        arguments.output,
        {
            "circumstances": circumstances(),
            "shipped": sha256_of(weights_of(DEFAULT)),
            "measures": measured(arguments.data),
            "times": {
                f"{name}, {size} megapixels": timed(name, size)
                for size in MEGAPIXELS
                for name in PHOTOGRAPHS
            },
        },
    )


if __name__ == "__main__":
    main()
