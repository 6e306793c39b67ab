"""Exported files by onnxruntime-web, in Node, beside onnxruntime: milliseconds a picture.

    npm install onnxruntime-web            in FOLDER
    python benchmarks/browser_speed.py --modules FOLDER --files lite.onnx lite-int8.onnx \
        --output benchmarks/browser-speed.json

One 400×300 picture after the other, from its pixels to the map at its own size: by
`examples/browser/segment.mjs` in WebAssembly, whose views and maps JavaScript makes, and by
`dsunet.Segmenter` on one thread, in turns. Node has no other threads for WebAssembly than a page
without cross-origin isolation: one. Medians over all rounds, and the size of what a page fetches.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

PICTURE = (300, 400)
MODULE = Path(__file__).resolve().parents[1] / "examples" / "browser" / "segment.mjs"
SCRIPT = r"""
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";
import { readFileSync } from "node:fs";
const [module, folder, pixels, height, width, ...files] = process.argv.slice(2);
const ort = createRequire(pathToFileURL(`${folder}/`))("onnxruntime-web");
ort.env.wasm.numThreads = 1;
const { segment } = await import(pathToFileURL(module));
const picture = { data: readFileSync(pixels), width: Number(width), height: Number(height) };
const sessions = {};
for (const file of files) {
  const started = performance.now();
  sessions[file] = await ort.InferenceSession.create(file);
  await segment(ort, sessions[file], picture);
  console.log(performance.now() - started);
}
for await (const file of createInterface({ input: process.stdin })) {
  const started = performance.now();
  await segment(ort, sessions[file], picture);
  console.log(performance.now() - started);
}
"""


def main() -> None:
    """Measures and writes the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--modules", type=Path, required=True)
    parser.add_argument("--files", type=Path, nargs="+", required=True)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    import dsunet

    folder = arguments.modules.resolve()
    files = [str(file.resolve()) for file in arguments.files]
    pixels = np.random.default_rng(0).integers(0, 256, (*PICTURE, 3), dtype=np.uint8)
    raw, script = folder / "picture.raw", folder / "browser_speed.mjs"
    raw.write_bytes(np.dstack([pixels, np.full(PICTURE, 255, np.uint8)]).tobytes())
    script.write_text(SCRIPT)
    node = subprocess.Popen(
        ["node", script, MODULE, folder, raw, *map(str, PICTURE), *files],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert node.stdin is not None
    assert node.stdout is not None
    starts = {file: float(node.stdout.readline()) for file in files}
    segmenters = {file: dsunet.Segmenter(file) for file in files}
    for segmenter in segmenters.values():
        segmenter(pixels)
    web: dict[str, list[float]] = {file: [] for file in files}
    native: dict[str, list[float]] = {file: [] for file in files}
    for _ in range(arguments.rounds):
        for file in files:
            print(file, file=node.stdin, flush=True)
            web[file].append(float(node.stdout.readline()))
            started = time.perf_counter()
            segmenters[file](pixels)
            native[file].append(1e3 * (time.perf_counter() - started))
    node.stdin.close()
    node.wait()
    from dsunet.support.files import write_json
    from measuring import circumstances  # which imports torch: only now

    package = folder / "node_modules" / "onnxruntime-web"
    wasm = package / "dist" / "ort-wasm-simd-threaded.wasm"
    rows = {
        Path(file).name: {
            "bytes": Path(file).stat().st_size,
            "start_ms": round(starts[file]),
            "web_ms": round(statistics.median(web[file]), 1),
            "onnxruntime_ms": round(statistics.median(native[file]), 1),
        }
        for file in files
    }
    print(json.dumps(rows, indent=2), file=sys.stderr)
    write_json(
        arguments.output,
        {
            "circumstances": circumstances(),
            "onnxruntime-web": json.loads((package / "package.json").read_text())["version"],
            "node": subprocess.check_output(["node", "--version"], text=True).strip(),
            "wasm_bytes": wasm.stat().st_size,
            "picture": PICTURE,
            "rounds": arguments.rounds,
            "files": rows,
        },
    )


if __name__ == "__main__":
    main()
