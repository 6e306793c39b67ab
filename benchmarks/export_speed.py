r"""Exported files beside the network they were made of: milliseconds a picture, memory, start.

    python benchmarks/export_speed.py --files lite.onnx lite-float16.onnx lite-int8.onnx \
        --output benchmarks/export-speed.json
    python benchmarks/export_speed.py --model whole.safetensors --torch-int8 --engines onnx \
        --images 1 --rounds 5 --starts 1 --later 1 --files large.onnx large-int8.onnx \
        --output benchmarks/export-speed-large.json

FILES are what `dsunet export dsunet-lite` wrote with each `--precision`; onnxruntime and OpenVINO
run each of them. What the reports beside them say of S (with `--verify-data`) is put down, too. One
picture after the other, from its pixels to the map at its own size, as `dsunet predict` takes them,
and the network alone; the engines take turns, so that whatever else the machine does meets all of
them. Medians, and the ratio to torch in float32 of every round, whose median and range are given.
`start` is a new process that imports dsunet, opens the model and makes the first map, `memory` its
peak then and after `--later` more pictures; medians of `--starts`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

import dsunet
from dsunet.support.files import sha256_of, write_json
from measuring import circumstances

PICTURE = (300, 400)
F32 = torch.float32
CHILD = r"""
import json, pathlib, re, time
import numpy as np
started = time.perf_counter()
import dsunet
segmenter = dsunet.Segmenter({model!r}, "cpu", {precision!r}, engine={engine!r}, int8={int8!r})
picture = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
segmenter(picture)
start = time.perf_counter() - started
def peak():  # of this program; getrusage knows that of the one that started it, too
    status = pathlib.Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s*(\d+)", status)[1]) / 1e6
first = peak()
for _ in range({more}):
    segmenter(picture)
print(json.dumps([start, first, peak()]))
"""


class Way(NamedTuple):
    """How a model is opened."""

    model: str
    precision: str = "auto"
    engine: str = "torch"
    int8: bool = False

    def segmenter(self) -> dsunet.Segmenter:
        """The model, open."""
        return dsunet.Segmenter(
            self.model, "cpu", self.precision, engine=self.engine, int8=self.int8
        )


def started(way: Way, more: int, times: int) -> dict[str, float]:
    """Seconds of a start, and peak memory in GB, of a process of its own; medians."""
    command = [sys.executable, "-c", CHILD.format(**way._asdict(), more=more)]
    runs = [json.loads(subprocess.check_output(command, text=True)) for _ in range(times)]
    seconds, first, last = (statistics.median(values) for values in zip(*runs, strict=True))
    return {
        "start_seconds": round(seconds, 2),
        "memory_gb": round(first, 3),
        "memory_later_gb": round(last, 3),
    }


def network_of(segmenter: dsunet.Segmenter, pixels: np.ndarray) -> Any:
    """A call of the network alone, on a view that is there."""
    views = [
        view[None] for view in segmenter.prepare(Image.fromarray(pixels))[:2] if view is not None
    ]
    if segmenter.engine.runtime != "torch":
        return lambda: segmenter.model(*views)

    def run() -> None:
        with torch.inference_mode(), torch.autocast("cpu", segmenter.dtype, segmenter.dtype != F32):
            segmenter.model(*views, outputs="fine")

    return run


def milliseconds(call: Any, calls: int) -> float:
    """The median of some calls."""
    seconds = []
    for _ in range(calls):
        begun = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - begun)
    return 1e3 * statistics.median(seconds)


def main() -> None:
    """Measures and writes the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=Path, nargs="+", required=True)
    parser.add_argument("--model", default="dsunet-lite", help="What they were made of.")
    parser.add_argument("--torch-int8", action="store_true", help="Torch with 8-bit encoders, too.")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--starts", type=int, default=3)
    parser.add_argument("--later", type=int, default=100)
    parser.add_argument("--engines", default="onnx,openvino", help="That run the files.")
    parser.add_argument("--images", type=int, default=10, help="In a round, one by one.")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()

    given = {
        "torch, float32": Way(arguments.model, "float32"),
        "torch, bfloat16": Way(arguments.model, "bfloat16"),
    }
    if arguments.torch_int8:
        given["torch, int8"] = Way(arguments.model, "float32", int8=True)
    files: dict[str, Any] = {}
    for file in arguments.files:
        report = json.loads(file.with_suffix(".json").read_text())
        if report["sha256"] != sha256_of(file):
            raise SystemExit(f"{file.with_suffix('.json')} is not the report of {file}")
        for engine in arguments.engines.split(","):
            runtime = {"onnx": "onnxruntime", "openvino": "OpenVINO"}[engine]
            given[f"{runtime}, {report['precision']}"] = Way(str(file), engine=engine)
        files[report["precision"]] = {
            "sha256": report["sha256"],
            "bytes": report["bytes"],
            "gate": report["compared"]["gate"],
            "S": report["compared"]["S"],
        }
    segmenters = {name: way.segmenter() for name, way in given.items()}
    pixels = np.random.default_rng(0).integers(0, 256, (*PICTURE, 3), dtype=np.uint8)
    whole: dict[str, list[float]] = {name: [] for name in given}
    alone: dict[str, list[float]] = {name: [] for name in given}
    networks = {name: network_of(segmenter, pixels) for name, segmenter in segmenters.items()}
    for number in range(arguments.rounds + 1):
        for name, segmenter in segmenters.items():
            calls = (partial(segmenter, pixels), networks[name])
            times = tuple(milliseconds(call, arguments.images) for call in calls)
            if number:  # the first round warms up
                for kept, taken in zip((whole, alone), times, strict=True):
                    kept[name].append(taken)
    base = whole["torch, float32"]
    rows: dict[str, Any] = {}
    for name in given:
        ratios = [b / own for b, own in zip(base, whole[name], strict=True)]
        rows[name] = {
            "ms": round(statistics.median(whole[name]), 1),
            "network_ms": round(statistics.median(alone[name]), 1),
            "times_as_fast": round(statistics.median(ratios), 2),
            "from": round(min(ratios), 2),
            "to": round(max(ratios), 2),
            **started(given[name], arguments.later, arguments.starts),
        }
        runtime, _, precision = name.partition(", ")
        if precision == "int8":
            for what, times in (("", whole), (", network alone", alone)):
                pairs = zip(times[f"{runtime}, float32"], times[name], strict=True)
                ratio = statistics.median(b / own for b, own in pairs)
                rows[name][f"times_as_fast_as_its_float32{what}"] = round(ratio, 2)
        print(name, rows[name], flush=True)
    write_json(
        arguments.output,
        {
            "circumstances": circumstances(),
            "threads": torch.get_num_threads(),
            "picture": PICTURE,
            "view": segmenters["torch, float32"].view,
            "rounds": arguments.rounds,
            "images": arguments.images,
            "files": files,
            "engines": rows,
        },
    )


if __name__ == "__main__":
    main()
