r"""Exported files beside the network they were made of: milliseconds a picture, memory, start.

    python benchmarks/export_speed.py --files lite.onnx lite-float16.onnx lite-int8.onnx \
        --output benchmarks/export-speed.json

FILES are what `dsunet export dsunet-lite` wrote with each `--precision`; what the reports beside
them say of S (with `--verify-data`) is put down, too. One picture after the other, from its pixels
to the map at its own size, as `dsunet predict` takes them; the engines take turns, so that whatever
else the machine does meets all of them. Medians, and the ratio to torch in float32 of every round,
whose median and range are given. `start` is a new process that imports dsunet, opens the model and
makes the first map, `memory` its peak then and after 100 more pictures.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

import dsunet
from dsunet.support.files import sha256_of, write_json
from measuring import circumstances

PICTURE = (300, 400)
IMAGES = 10
CHILD = """
import json, resource, sys, time
import numpy as np
started = time.perf_counter()
import dsunet
segmenter = dsunet.Segmenter({model!r}, "cpu", {precision!r})
picture = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
segmenter(picture)
start = time.perf_counter() - started
first = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for _ in range(100):
    segmenter(picture)
last = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps([start, first / 1e6, last / 1e6]))
"""


def started(model: str, precision: str) -> dict[str, float]:
    """Seconds of a start, and peak memory in GB, of a process of its own; medians of three."""
    command = [sys.executable, "-c", CHILD.format(model=model, precision=precision)]
    runs = [json.loads(subprocess.check_output(command, text=True)) for _ in range(3)]
    seconds, first, last = (statistics.median(values) for values in zip(*runs, strict=True))
    return {
        "start_seconds": round(seconds, 2),
        "memory_gb": round(first, 3),
        "memory_after_100_gb": round(last, 3),
    }


def main() -> None:
    """Measures and writes the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=Path, nargs="+", required=True)
    parser.add_argument("--model", default="dsunet-lite", help="What they were made of.")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()

    given = {
        "torch, float32": (arguments.model, "float32"),
        "torch, bfloat16": (arguments.model, "bfloat16"),
    }
    files: dict[str, Any] = {}
    for file in arguments.files:
        report = json.loads(file.with_suffix(".json").read_text())
        if report["sha256"] != sha256_of(file):
            raise SystemExit(f"{file.with_suffix('.json')} is not the report of {file}")
        given[f"onnxruntime, {report['precision']}"] = (str(file), "auto")
        files[report["precision"]] = {
            "sha256": report["sha256"],
            "bytes": report["bytes"],
            "gate": report["compared"]["gate"],
            "S": report["compared"]["S"],
        }
    segmenters = {name: dsunet.Segmenter(m, "cpu", p) for name, (m, p) in given.items()}
    pixels = np.random.default_rng(0).integers(0, 256, (*PICTURE, 3), dtype=np.uint8)
    rounds: dict[str, list[float]] = {name: [] for name in given}
    for number in range(arguments.rounds + 1):
        for name, segmenter in segmenters.items():
            seconds = []
            for _ in range(IMAGES):
                begun = time.perf_counter()
                segmenter(pixels)
                seconds.append(time.perf_counter() - begun)
            if number:  # the first round warms up
                rounds[name].append(1e3 * statistics.median(seconds))
    base = rounds["torch, float32"]
    rows: dict[str, Any] = {}
    for name, milliseconds in rounds.items():
        ratios = [b / own for b, own in zip(base, milliseconds, strict=True)]
        rows[name] = {
            "ms": round(statistics.median(milliseconds), 1),
            "times_as_fast": round(statistics.median(ratios), 2),
            "from": round(min(ratios), 2),
            "to": round(max(ratios), 2),
            **started(*given[name]),
        }
        print(name, rows[name], flush=True)
    write_json(
        arguments.output,
        {
            "circumstances": circumstances(),
            "threads": torch.get_num_threads(),
            "picture": PICTURE,
            "view": segmenters["torch, float32"].view,
            "rounds": arguments.rounds,
            "files": files,
            "engines": rows,
        },
    )


if __name__ == "__main__":
    main()
