"""What decoding large JPEGs as drafts saves, and how far it changes maps.

    python benchmarks/draft.py RUN DIR/images --output benchmarks/draft.json

Images of a folder are enlarged to 12 megapixels (4000×3000, bicubic, some grain, JPEG of quality
92) in a temporary folder, and predicted from there by `predict_files`, with and without `--draft`
in turns. Maps are compared at their 12 megapixels, in grey values of 0 to 255. Beside seconds of
wall time stand those of the process's CPU time, which other work on the machine changes less.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import dsunet
from dsunet.data.images import decode
from dsunet.predict import Options, plan_outputs, predict_files
from dsunet.support.files import write_json
from measuring import circumstances

SIZE = (4000, 3000)


def enlarge(sources: list[Path], folder: Path) -> list[Path]:
    """Writes 12-megapixel photographs; the grain keeps the files as large as a camera's."""
    rng = np.random.default_rng(0)
    files = []
    for source in sources:
        with Image.open(source) as image:
            large = image.convert("RGB").resize(SIZE, Image.Resampling.BICUBIC)
        grain = rng.normal(0, 6, (SIZE[1], SIZE[0], 1)).astype(np.int16)
        values = (np.asarray(large, dtype=np.int16) + grain).clip(0, 255).astype(np.uint8)
        files.append(folder / f"{source.stem}.jpg")
        Image.fromarray(values).save(files[-1], quality=92)
    return files


def seconds_to_decode(files: list[Path], preview: int | None) -> float:
    """Median CPU seconds of reading a file to RGB."""
    seconds = []
    for file in files:
        start = time.process_time()
        decode(file, preview=preview).as_image()
        seconds.append(time.process_time() - start)
    return round(statistics.median(seconds), 4)


def read(path: Path) -> np.ndarray:
    """A map's grey values."""
    with Image.open(path) as image:
        return np.asarray(image).astype(np.int16)


def main() -> None:
    """Reads the arguments and writes the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="A run's folder.")
    parser.add_argument("folder", type=Path, help="Folder of images.")
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    segmenter = dsunet.Segmenter(arguments.run, "cpu")
    results: dict[str, dict[str, list[float]]] = {
        way: {"seconds": [], "cpu_seconds": []} for way in ("whole", "draft")
    }
    far, moved = [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sources = sorted(arguments.folder.iterdir())[::20]
        files = enlarge(sources[: arguments.images], folder)
        decoding = {
            "whole": seconds_to_decode(files, None),
            "draft": seconds_to_decode(files, segmenter.largest_side),
        }
        for number, file in enumerate([files[0], *files]):
            for way, times in results.items():
                output = folder / way / str(number)
                start, used = time.perf_counter(), time.process_time()
                jobs = plan_outputs([file], output)
                predict_files(segmenter, jobs, output, Options(draft=way == "draft"))
                if number:  # the first one fills caches
                    times["seconds"].append(time.perf_counter() - start)
                    times["cpu_seconds"].append(time.process_time() - used)
            maps = [read(folder / way / str(number) / f"{file.stem}.png") for way in results]
            far.append(np.abs(maps[0] - maps[1]))
            moved.append(float(np.mean((maps[0] >= 128) != (maps[1] >= 128))))
            far[-1] = np.array([far[-1].mean(), far[-1].max()])
        megabytes = statistics.median(file.stat().st_size for file in files) / 1e6
    record = {
        **circumstances(),
        "images": len(files),
        "megabytes_a_file": round(megabytes, 1),
        "threads": arguments.threads,
        "largest_side_of_views": segmenter.largest_side,
        "cpu_seconds_to_decode": decoding,
        **{
            way: {key: round(statistics.median(each), 3) for key, each in times.items()}
            for way, times in results.items()
        },
        "mean_difference": round(float(np.mean([each[0] for each in far])), 3),
        "largest_difference": int(max(each[1] for each in far)),
        "pixels_that_change_sides_percent": round(100 * float(np.mean(moved)), 3),
    }
    print(record)
    if arguments.output:
        write_json(arguments.output, record)


if __name__ == "__main__":
    main()
