"""Memory and time of predicting very many images of mixed sizes, with the nano model.

    python benchmarks/predict_folder.py DIR --count 10000 --json benchmarks/predict.json

The resident memory is read after every hundredth image; the model's share of the time says whether
reading and writing keep it waiting. Before that, blocks of images are predicted in turns by the
command's way (threads beside the model) and by a plain loop (read, segment, write).
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import dsunet
from dsunet.data.views import Views
from dsunet.predict import Job, plan_outputs, predict_files
from dsunet.predict.files import spare_cores
from dsunet.support.files import write_png


class Timed(dsunet.Segmenter):
    """Adds up the time in the model."""

    seconds = 0.0

    def probabilities(self, views: Sequence[Views]) -> list[np.ndarray]:
        """As always, but timed."""
        started = time.perf_counter()
        result = super().probabilities(views)
        self.seconds += time.perf_counter() - started
        return result


def write_images(sources: list[Path], folder: Path, distinct: int) -> list[Path]:
    """Pictures of mixed sizes and formats: mostly of 100 to 900 px a side, some of 2400."""
    rng = random.Random(0)
    files = []
    for number in range(distinct):
        with Image.open(sources[number % len(sources)]) as image:
            longest = 2400 if number % 50 == 0 else rng.randrange(100, 900)
            scale = longest / max(image.size)
            width, height = (max(1, round(side * scale)) for side in image.size)
            file = folder / f"{number:05d}.{rng.choice(('jpg', 'png', 'webp', 'tif'))}"
            image.convert("RGB").resize((width, height)).save(file)
            files.append(file)
    return files


def plain(segmenter: dsunet.Segmenter, jobs: list[Job], output: Path) -> None:
    """One image after the other, each read, segmented and written before the next."""
    for job in jobs:
        write_png(output / job.name, Image.fromarray(segmenter(job.image).map()))


def resident_mib() -> float:
    """Resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 2**20, 1)


def main() -> None:
    """Reads the arguments and writes the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="Folder of images.")
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--distinct", type=int, default=400)
    parser.add_argument("--blocks", type=int, default=5)
    parser.add_argument("--workers", type=int, help="Threads; as the command chooses if not given.")
    parser.add_argument("--json", type=Path, required=True)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    segmenter = Timed(dsunet.create_model("dsunet-nano", weights=None), device="cpu")
    with tempfile.TemporaryDirectory() as place:
        inputs, linked = Path(place, "distinct"), Path(place, "in")
        inputs.mkdir()
        linked.mkdir()
        files = write_images(sorted(arguments.folder.iterdir()), inputs, arguments.distinct)
        for number in range(arguments.count):
            file = files[number % len(files)]
            os.link(file, linked / f"{number:06d}{file.suffix}")
        jobs = plan_outputs([linked], Path(place, "out"))
        predict_files(segmenter, jobs[:20], Path(place, "warm"))
        threaded = functools.partial(predict_files, workers=arguments.workers)
        ours: list[float] = []
        loops: list[float] = []
        for block in range(arguments.blocks):
            part = jobs[block * 60 : block * 60 + 60]
            for times, way in ((ours, threaded), (loops, plain)):
                started = time.perf_counter()
                way(
                    segmenter,
                    part,
                    Path(place, f"block-{block}-{'ours' if times is ours else 'plain'}"),
                )
                times.append(time.perf_counter() - started)
        memory: list[float] = []
        segmenter.seconds = 0.0
        started = time.perf_counter()
        report = predict_files(
            segmenter,
            jobs,
            Path(place, "out"),
            workers=arguments.workers,
            progress=lambda done, total: memory.append(resident_mib()) if done % 100 == 0 else None,
        )
        seconds = time.perf_counter() - started
    tenth = max(1, len(memory) // 10)
    record = {
        "images": report.written,
        "failures": len(report.failures),
        "threads": torch.get_num_threads(),
        "workers": spare_cores(segmenter.engine.threads)
        if arguments.workers is None
        else arguments.workers,
        "images_per_second": round(report.written / seconds, 2),
        "share_of_time_in_the_model": round(segmenter.seconds / seconds, 3),
        "plain_loop_over_ours": round(statistics.median(loops) / statistics.median(ours), 3),
        "seconds_per_block_ours": [round(t, 2) for t in ours],
        "seconds_per_block_plain": [round(t, 2) for t in loops],
        "resident_mib_first_tenth": statistics.median(memory[:tenth]),
        "resident_mib_last_tenth": statistics.median(memory[-tenth:]),
        "resident_mib_highest": max(memory),
        "resident_mib": memory,
    }
    arguments.json.write_text(json.dumps(record, indent=2) + "\n")
    print({key: value for key, value in record.items() if key != "resident_mib"})


if __name__ == "__main__":
    main()
