"""Small objects in large pictures, by tiles and as a whole; and the memory that huge ones take.

    python benchmarks/tiles.py small --work WORK --output benchmarks/tiles.json
    python benchmarks/tiles.py tile --data DIR --work WORK --output benchmarks/tiles.json
    python benchmarks/tiles.py memory --work WORK --output benchmarks/tiles.json

`small` is 80 pictures of `dsunet generate`, 2,000 px a side with objects of 12 px; `tile` is the
magnetic tiles of DIR (`images/` and `masks/`), at their own size. For each way, dsunet-lite is
trained from the weights that come with it for as many epochs as fit into the same minutes of one
processor, by what two epochs took of it. Held-out pictures are measured after the last epoch,
through files. `memory` predicts pictures of 2,000 and of 20,000 px a side, made on the spot and
removed, each in a process of its own. A part leaves the others in the record as they are.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
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
from dsunet.data.images import read_map
from dsunet.data.pairs import read_names
from dsunet.data.synthetic import scattered_pair, write_synthetic
from dsunet.metrics import evaluate_folders
from dsunet.predict import Options, plan_outputs, predict_files
from dsunet.support.files import write_json, write_png
from measuring import circumstances

COMMON = (
    "--model dsunet-lite --weights default --lr 5e-4 --encoder-lr 2e-4 --warmup-epochs 1 "
    "--clip-grad-norm 2 --batch-size 8 --val-fraction 0.25 --workers 0 --device cpu"
)
WAYS = {
    "small": {
        "whole, view 256": "--sam-size 256",
        "whole, view 512": "--sam-size 512",
        "tiles of 256, view 256": "--sam-size 256 --tile 256",
    },
    "tile": {
        "whole, view 256": "--sam-size 256",
        "tiles of 160, view 256": "--sam-size 256 --tile 160",
    },
}
GENERATED = {"count": 80, "size": 2000, "object_size": 12}
CONTEXT: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "mean with the whole": lambda tiles, whole: (tiles + whole) / 2,
    "geometric mean with the whole": lambda tiles, whole: np.sqrt(tiles * whole),
    "vetoed by the whole below 0.05": lambda tiles, whole: np.where(whole < 0.05, 0, tiles),
}


def train(data: Path, flags: str, epochs: int, run: Path) -> float:
    """Trains, unless that is done; gives the seconds of processor time that it took."""
    note = run / "processor.json"
    if not note.exists():
        command = [sys.executable, "-m", "dsunet.cli", "train", "--data", str(data)]
        command += shlex.split(f"{COMMON} {flags} --epochs {epochs} --val-every {epochs}")
        env = {**os.environ, "OMP_NUM_THREADS": "1"}
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([*command, "--output", str(run)], check=True, env=env)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        taken = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        note.write_text(json.dumps(round(taken, 1)))
    return float(json.loads(note.read_text()))


def scores(maps: Path, data: Path, names: list[str]) -> dict[str, Any]:
    """Of maps in a folder: pixels, and objects at an IoU of 0.5."""
    result = evaluate_folders(maps, data / "masks", names, objects=True)
    assert result.objects is not None
    measures = {key: round(value, 4) for key, value in result.means.items()}
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


def compare(part: str, data: Path, minutes: float, work: Path) -> dict[str, Any]:
    """Every way of a part, and tiles together with the whole."""
    rows: dict[str, Any] = {}
    for number, (way, flags) in enumerate(WAYS[part].items()):
        run, maps = (work / f"{part}-{number}-{what}" for what in ("run", "maps"))
        two, four = (train(data, flags, n, work / f"{part}-{number}-{n}") for n in (2, 4))
        each = (four - two) / 2
        epochs = max(2, round(60 * minutes / each))
        whole = train(data, flags, epochs, run)
        names = read_names(run / "val.txt")
        shutil.rmtree(maps, ignore_errors=True)
        seconds = predict(run, data, names, maps)
        rows[way] = {
            "command": f"dsunet train --data DIR {COMMON} {flags} --epochs {epochs} --output RUN",
            "epochs": epochs,
            "minutes": round(each * epochs / 60, 1),
            "minutes_with_start_and_validation": round(whole / 60, 1),
            "seconds_a_picture": round(seconds, 2),
            **scores(maps, data, names),
        }
        print(way, json.dumps(rows[way]), flush=True)
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
    return {"held_out": len(names), "ways": rows, "context": context}


def peak_of(picture: Path, flags: str, work: Path) -> dict[str, Any]:
    """What `dsunet predict` takes for one picture: most memory, and processor time."""
    shutil.rmtree(work / "predicted", ignore_errors=True)
    command = [sys.executable, "-m", "dsunet.cli", "predict", str(picture), *shlex.split(flags)]
    command += ["--device", "cpu", "--output", str(work / "predicted")]
    process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{shlex.join(command)} ended with {status}")
    seconds = round(usage.ru_utime + usage.ru_stime, 1)
    return {"peak_mb": round(usage.ru_maxrss / 1e3), "processor_seconds": seconds}


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
    parser.add_argument("--work", type=Path, required=True, help="Runs and pictures go here.")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    part, work, data = arguments.part, arguments.work, arguments.data
    work.mkdir(parents=True, exist_ok=True)
    if part == "small":
        data = work / "generated"
        if not data.exists():
            write_synthetic(data, **GENERATED)
    made = memory(work) if part == "memory" else compare(part, data, arguments.minutes, work)
    record = json.loads(arguments.output.read_bytes()) if arguments.output.exists() else {}
    write_json(arguments.output, {**record, part: {"circumstances": circumstances(), **made}})


if __name__ == "__main__":
    main()
