"""Parameters, operations and speed of the small models.

    OMP_NUM_THREADS=2 python benchmarks/lite.py --output benchmarks/lite.json

Operations are torch's count of one image through the network, multiplication and addition as two.
Speed is that of one image after the other, as `dsunet predict` takes them: `network` is the network
alone on a view that is there, `whole` is from an array of pixels to the map at its own size. The
models take turns, so that whatever else the machine does meets all of them; medians are given.
Weights are random, which does not change any of this.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

import dsunet
from dsunet.config import MODEL_PRESETS, as_size, model_config
from dsunet.research.pruning.measuring import flops_of
from dsunet.support.files import write_json
from measuring import circumstances

SIZES = ("dsunet-lite", "dsunet-lite1", "dsunet-lite2")
PICTURE = (300, 400)  # rows and columns of what is segmented: those of common photographs in sets


def views(model: dsunet.DSUNet) -> list[torch.Tensor]:
    """One random image, once for each encoder that takes one."""
    sizes = [size for size in model.view_sizes if size is not None]
    return [torch.randn(1, 3, *size) for size in sizes]


def seconds_of(call: Any, repeats: int) -> list[float]:
    """How long each of some calls took."""
    taken = []
    for _ in range(repeats):
        started = time.perf_counter()
        call()
        taken.append(time.perf_counter() - started)
    return taken


def main() -> None:
    """Reads the arguments and writes the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=SIZES, choices=list(MODEL_PRESETS))
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--images", type=int, default=10, help="In each round.")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()

    pixels = np.random.default_rng(0).integers(0, 256, (*PICTURE, 3), dtype=np.uint8)
    rows: list[dict[str, Any]] = []
    timed = []
    for name in arguments.models:
        # at 256 px, the size that sizes are compared at, and at the model's own
        for side in sorted({256, as_size(MODEL_PRESETS[name].sam_size)[0]}):
            model = dsunet.create_model(name, None, sam_size=side)
            segmenter = dsunet.Segmenter(model, device="cpu")
            images = views(model)
            row = {
                "model": name,
                "side": side,
                "parameters": sum(p.numel() for p in model.parameters()),
                "gflop": round(flops_of(model_config(name, sam_size=side)) / 1e9, 4),
            }
            rows.append(row)
            timed.append((row, segmenter, images, {"network": [], "whole": []}))

    for number in range(arguments.rounds + 1):
        for _, segmenter, images, seconds in timed:
            with torch.inference_mode():
                network = seconds_of(
                    lambda s=segmenter, x=images: s.model(*x, outputs="fine"), arguments.images
                )
            whole = seconds_of(lambda s=segmenter: s(pixels), arguments.images)
            if number:  # the first round warms up
                seconds["network"] += network
                seconds["whole"] += whole

    for row, _, _, seconds in timed:
        for what, taken in seconds.items():
            row[f"{what}_ms"] = round(1000 * statistics.median(taken), 2)
            row[f"{what}_images_per_second"] = round(1 / statistics.median(taken), 2)
            row[f"{what}_images_per_second_quartiles"] = [
                round(1 / t, 2) for t in statistics.quantiles(taken, n=4)[::-2]
            ]
        print(row)
    record = {
        **circumstances(),
        "threads": torch.get_num_threads(),
        "picture": PICTURE,
        "calls": arguments.rounds * arguments.images,
        "rows": rows,
    }
    write_json(arguments.output, record)


if __name__ == "__main__":
    main()
