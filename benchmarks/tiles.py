"""Small objects in large pictures, by tiles and as a whole; and the memory that huge ones take.

    python benchmarks/tiles.py small --work WORK --output benchmarks/tiles.json
    python benchmarks/tiles.py tile --data DIR --work WORK --output benchmarks/tiles.json
    python benchmarks/tiles.py memory --work WORK --output benchmarks/tiles.json

`small` is 40 pictures of `dsunet generate`, 2,000 px a side with objects of 12 px; `tile` is the
magnetic tiles of DIR (`images/` and `masks/`), at their own size. For each way, dsunet-lite is
trained on three quarters, from the weights that come with it, for as many epochs as fit into the
same minutes of one processor, by what an image takes of it. The others are measured, through files.
`memory` predicts pictures of 2,000 and of 20,000 px a side, made on the spot and
removed, each in a process of its own, by onnxruntime. A part leaves the others as they are.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import dsunet
from dsunet.benchmarking.steps import example_batch, training_step
from dsunet.config import DataConfig, TrainConfig, model_config
from dsunet.config.tiling import Tiling
from dsunet.data import Pair, PairDataset, find_pairs
from dsunet.data.images import read_map
from dsunet.data.synthetic import scattered_pair, write_synthetic
from dsunet.metrics import evaluate_folders
from dsunet.predict import Options, plan_outputs, predict_files
from dsunet.running.place import Place
from dsunet.support.files import write_json, write_png
from measuring import circumstances

RECIPE = {"lr": 5e-4, "encoder_lr": 2e-4, "warmup_epochs": 0, "clip_grad_norm": 2.0}
BATCH = 8
WAYS: dict[str, dict[str, dict[str, int]]] = {
    "small": {
        "whole, view 256": {"view": 256},
        "tiles of 256, view 256": {"view": 256, "tile": 256},
    },
    "tile": {
        "whole, view 256": {"view": 256},
        "tiles of 160, view 256": {"view": 256, "tile": 160, "crops": 1},
    },
}
GENERATED = {"count": 40, "size": 2000, "object_size": 12}
CONTEXT: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "mean with the whole": lambda tiles, whole: (tiles + whole) / 2,
    "geometric mean with the whole": lambda tiles, whole: np.sqrt(tiles * whole),
    "vetoed by the whole below 0.05": lambda tiles, whole: np.where(whole < 0.05, 0, tiles),
}


def split(data: Path) -> tuple[list[str], list[str]]:
    """Names to train on, and every fourth, which is held out."""
    names = sorted(pair.name for pair in find_pairs(data))
    return [name for i, name in enumerate(names) if i % 4], names[::4]


def item_seconds(pairs: list[Pair], way: dict[str, int], tiling: Tiling | None) -> float:
    """Processor time of one image: reading it, and its share of a step."""
    size = (way["view"], way["view"])
    dataset = PairDataset(pairs, size, None, flips=(0.5, 0.5), tiling=tiling)
    network = dsunet.create_model("dsunet-lite", sam_size=way["view"]).train()
    place = Place.chosen("cpu", "float32")
    step = training_step(network, example_batch((size, None), BATCH, place.device), place)
    step()
    started = time.process_time()
    for index in range(8):
        dataset[0, index]
    step()
    return (time.process_time() - started) / 8


def train(data: Path, names: list[str], way: dict[str, int], minutes: float, run: Path) -> Any:
    """Trains for about so many minutes of one processor, unless that is done; gives its costs."""
    note = run / "told.json"
    if note.exists():
        return json.loads(note.read_bytes())
    listed = run.with_suffix(".txt")
    listed.write_text("".join(f"{name}\n" for name in names))
    tiles = {}
    if "tile" in way:
        tiles = {"tile": way["tile"], "tile_crops": way.get("crops", 4)}
    settings = DataConfig(str(data), train_list=str(listed), workers=0, check="headers", **tiles)
    pairs = [pair for pair in find_pairs(data) if pair.name in set(names)]
    items = len(pairs) * (settings.tile_crops if settings.tiling else 1)
    each = item_seconds(pairs, way, settings.tiling)
    epochs = max(2, round(60 * minutes / each / items))
    recipe = TrainConfig(epochs=epochs, batch_size=BATCH, device="cpu", **RECIPE)
    started = time.process_time()
    shutil.rmtree(run, ignore_errors=True)
    model = model_config("dsunet-lite", sam_size=way["view"])
    dsunet.train(run, model, settings, recipe, on_line=lambda line: print(line, flush=True))
    taken = round((time.process_time() - started) / 60, 1)
    told = {"epochs": epochs, "images": epochs * items, "processor_minutes": taken}
    write_json(note, told)
    return told


def scores(maps: Path, data: Path, names: list[str], threshold: float = 0.5) -> dict[str, Any]:
    """Of maps in a folder: pixels, and objects at an IoU of 0.5."""
    result = evaluate_folders(maps, data / "masks", names, objects=True, threshold=threshold)
    assert result.objects is not None
    measures = {key: round(value, 4) for key, value in result.scores.items()}
    objects = result.objects.to_dict()
    kept = ("precision", "recall", "F1", "PRO", "found", "missed", "invented")
    told = {k: round(v, 4) if isinstance(v, float) else v for k, v in objects.items() if k in kept}
    return {"measures": measures, "objects": told}


def predict(run: Path, data: Path, names: list[str], output: Path) -> float:
    """Writes maps; gives the seconds of processor time of a picture."""
    segmenter = dsunet.Segmenter(run / "last.safetensors", "cpu")
    jobs = plan_outputs([str(data / "images")], output, ("probability",), names)
    started = time.process_time()
    predict_files(segmenter, jobs, output, Options(), workers=0)
    return (time.process_time() - started) / len(jobs)


def done(part: str, number: int, data: Path, minutes: float, work: Path) -> dict[str, Any]:
    """What a way came to; trained and predicted, unless that is done."""
    run, maps = (work / f"{part}-{number}-{what}" for what in ("run", "maps"))
    note = work / f"{part}-{number}.json"
    if not note.exists():
        way = list(WAYS[part].values())[number]
        training, names = split(data)
        told = train(data, training, way, minutes, run)
        shutil.rmtree(maps, ignore_errors=True)
        told["seconds_a_picture"] = round(predict(run, data, names, maps), 2)
        write_json(note, {"way": way, **told, **scores(maps, data, names)})
    row: dict[str, Any] = json.loads(note.read_bytes())
    print(json.dumps(row), flush=True)
    return row


def compare(part: str, data: Path, minutes: float, work: Path) -> dict[str, Any]:
    """Every way of a part, and tiles together with the whole."""
    ways = enumerate(WAYS[part])
    rows = {name: done(part, number, data, minutes, work) for number, name in ways}
    training, names = split(data)
    for number, row in enumerate(rows.values()):
        row["at_0.9"] = scores(work / f"{part}-{number}-maps", data, names, 0.9)
    whole, tiles = work / f"{part}-0-maps", work / f"{part}-{len(WAYS[part]) - 1}-maps"
    context = {}
    for what, together in CONTEXT.items():
        blended = work / f"{part}-context"
        shutil.rmtree(blended, ignore_errors=True)
        blended.mkdir()
        for name in names:
            both = (read_map(folder / f"{name}.png") / 255 for folder in (tiles, whole))
            made = np.round(together(*both) * 255).astype(np.uint8)
            write_png(blended / f"{name}.png", Image.fromarray(made))
        context[what] = scores(blended, data, names)
        print(what, json.dumps(context[what]), flush=True)
    pairs = {"training": len(training), "held_out": len(names)}
    settings = {"batch_size": BATCH, **RECIPE}
    return {"pairs": pairs, "settings": settings, "ways": rows, "context": context}


def peak_of(picture: Path, flags: str, work: Path) -> dict[str, Any]:
    """What `dsunet predict` takes for one picture: most memory, and processor time."""
    shutil.rmtree(work / "predicted", ignore_errors=True)
    command = [sys.executable, "-m", "dsunet.cli", "predict", str(picture), *shlex.split(flags)]
    command += ["--engine", "onnx", "--output", str(work / "predicted")]
    process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})
    peak, ended = 0.0, 0
    while not ended:
        time.sleep(0.05)
        told = Path(f"/proc/{process.pid}/status").read_text()
        if found := re.search(r"VmHWM:\s+(\d+) kB", told):  # not of one that has ended
            peak = int(found[1]) / 1e3
        ended, status, usage = os.wait4(process.pid, os.WNOHANG)
    if status:
        raise SystemExit(f"{shlex.join(command)} ended with {status}")
    seconds = round(usage.ru_utime + usage.ru_stime, 1)
    return {"peak_mb": round(peak), "processor_seconds": seconds}


def memory(work: Path) -> dict[str, Any]:
    """The same picture once, and ten by ten times, as JPEG and as TIFF."""
    from dsunet.data.strips import vips

    package = vips()
    whole, _ = scattered_pair(0, 2000, 0, 12)
    once = package.Image.new_from_array(np.asarray(whole))
    rows: dict[str, Any] = {}
    for times in (1, 10):
        many, side = once.replicate(times, times), 2000 * times
        for suffix in ("jpg", "tif"):
            picture = work / f"huge.{suffix}"
            if suffix == "jpg":
                many.jpegsave(str(picture), Q=90)
            else:
                many.tiffsave(str(picture), compression="lzw")
            for tile in (1024, 0) if suffix == "tif" else (1024,):
                flags = f"--tile {tile} --max-pixels {side * side}"
                name = f"{side}×{side}.{suffix}, " + (f"tiles of {tile}" if tile else "whole")
                size = round(picture.stat().st_size / 1e6, 1)
                rows[name] = {"file_mb": size, "flags": flags, **peak_of(picture, flags, work)}
                print(name, rows[name], flush=True)
            picture.unlink()
    return {"pictures": rows}


def main() -> None:
    """Does a part and puts it into the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=("small", "tile", "memory"))
    parser.add_argument("--data", type=Path, help="Of tile.")
    parser.add_argument("--minutes", type=float, default=4.0, help="Of each training.")
    parser.add_argument("--only", type=int, help="One way, by its number; a call without ends it.")
    parser.add_argument("--work", type=Path, required=True, help="Runs and pictures go here.")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    part, work, data = arguments.part, arguments.work, arguments.data
    work.mkdir(parents=True, exist_ok=True)
    if part == "small":
        data = work / "generated"
        if not data.exists():
            write_synthetic(data, **GENERATED)
    if arguments.only is not None:
        done(part, arguments.only, data, arguments.minutes, work)
        return
    made = memory(work) if part == "memory" else compare(part, data, arguments.minutes, work)
    record = json.loads(arguments.output.read_bytes()) if arguments.output.exists() else {}
    write_json(arguments.output, {**record, part: {"circumstances": circumstances(), **made}})


if __name__ == "__main__":
    main()
