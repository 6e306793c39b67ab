"""How long writing a large cut-out takes, and how much memory making an overlay, beside plain ways.

    python benchmarks/outputs_speed.py --output benchmarks/outputs-speed.json

The pictures are scikit-image's photographs, scaled up to 12 megapixels (Lanczos), as they are and
with grain (normal noise of 3 levels), as a camera's pictures have it and enlarged ones have not;
what is cut out is what `dsunet-lite` finds. Seconds are those of the processor, in one thread, and
of encoding alone: the picture is made before. The plain way is Pillow's own level of compression,
with the colours of the background left under an opacity of 0. Both take turns, and both files are
decoded: what can be seen needs to be the same, and what cannot to be black in ours.

Memory is the most that a process of its own had while it made an overlay (VmHWM in
/proc/self/status, reset before), less what it had with picture and map in memory and everything
imported: Linux alone. The plain way works on the whole picture in float32; its overlay needs to be
the very same.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import skimage.data
import torch
from PIL import Image, ImageFilter

from dsunet.predict import Segmenter
from dsunet.predict.encoding import encode
from dsunet.predict.pictures import Segmentation
from dsunet.support.files import PNG_LEVEL, write_json
from dsunet.visualize.overlay import COLOUR
from measuring import circumstances

SIZES = {"coffee": (4248, 2832), "rocket": (4248, 2832)}
GRAIN = 3.0
"""Standard deviation of the noise, in levels of 0..255."""
MAIN = "coffee, with grain"
WAYS = ("plain", "dsunet")


def photographs() -> dict[str, Image.Image]:
    """By their names: two as they are scaled up, and one with grain."""
    pictures = {
        name: Image.fromarray(getattr(skimage.data, name)()).resize(size, Image.Resampling.LANCZOS)
        for name, size in SIZES.items()
    }
    values = np.asarray(pictures["coffee"]).astype(np.float32)
    values += np.random.default_rng(0).normal(0, GRAIN, values.shape).astype(np.float32)
    return {MAIN: Image.fromarray(values.clip(0, 255).round().astype(np.uint8)), **pictures}


def plain_file(picture: Image.Image) -> bytes:
    """A PNG as Pillow writes it by itself."""
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def seconds_of(task: Callable[[], bytes]) -> tuple[float, bytes]:
    """Of the processor, and what came out."""
    start = time.process_time()
    made = task()
    return time.process_time() - start, made


def compare_files(plain: bytes, ours: bytes) -> None:
    """Stops unless both look the same, and nothing hidden is in ours."""
    one, other = (np.asarray(Image.open(io.BytesIO(each))) for each in (plain, ours))
    seen = one[..., 3] > 0
    if not np.array_equal(one[..., 3], other[..., 3]) or not np.array_equal(one[seen], other[seen]):
        raise SystemExit("the files do not look the same")
    if other[~seen].any():
        raise SystemExit("a colour is left where nothing is to be seen")


def encoding_of(found: Segmentation, repeats: int) -> dict[str, Any]:
    """Seconds and bytes of a cut-out's file, both ways in turns."""
    ours = found.cutout()
    plain = found.image.copy()
    plain.putalpha(ours.getchannel("A"))
    taken: dict[str, list[float]] = {way: [] for way in WAYS}
    files = {}
    for _ in range(repeats):
        for way, task in (("plain", lambda: plain_file(plain)), ("dsunet", lambda: encode(ours))):
            seconds, files[way] = seconds_of(task)
            taken[way].append(seconds)
    compare_files(files["plain"], files["dsunet"])
    medians = {way: statistics.median(each) for way, each in taken.items()}
    return {
        "pixels": list(ours.size),
        "transparent": round(float((np.asarray(ours)[..., 3] == 0).mean()), 3),
        "seconds": {way: round(each, 3) for way, each in medians.items()},
        "all_seconds": {way: [round(one, 3) for one in each] for way, each in taken.items()},
        "file_bytes": {way: len(each) for way, each in files.items()},
        "share_of_time": round(medians["dsunet"] / medians["plain"], 3),
        "share_of_bytes": round(len(files["dsunet"]) / len(files["plain"]), 3),
    }


def plain_overlay(image: Image.Image, probability: np.ndarray) -> Image.Image:
    """The overlay made of the whole picture at once."""
    pixels = np.asarray(image)
    mask = probability >= 0.5
    tinted = np.float32(0.6) * pixels + 0.4 * np.array(COLOUR, dtype=np.float32)
    result = np.where(mask[..., None], tinted.round().astype(np.uint8), pixels)
    radius = max(1, min(mask.shape) // 150)
    grown = Image.fromarray(mask.view(np.uint8) * np.uint8(255)).filter(ImageFilter.BoxBlur(radius))
    result[(np.asarray(grown) > 0) & ~mask] = COLOUR
    return Image.fromarray(result)


def status(name: str) -> int:
    """Bytes by a line of /proc/self/status."""
    found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


def peak_of(way: str, folder: Path) -> int:
    """Bytes that an overlay takes for a while beside picture and map, in this process."""
    with Image.open(folder / "picture.png") as file:
        image = file.convert("RGB")
    probability = np.load(folder / "map.npy")
    small = Image.new("RGB", (64, 64))
    plain_overlay(small, np.ones((64, 64), np.float32))
    Segmentation(small, np.ones((64, 64), np.float32)).overlay()  # everything is imported now
    Path("/proc/self/clear_refs").write_text("5")
    before = status("VmRSS")
    if way == "plain":
        made = plain_overlay(image, probability)
    else:
        made = Segmentation(image, probability).overlay()
    peak = status("VmHWM") - before
    if made.tobytes() != plain_overlay(image, probability).tobytes():
        raise SystemExit("the overlays are not the same")
    return peak


def memory_of(found: Segmentation, repeats: int) -> dict[str, Any]:
    """Bytes a pixel of an overlay, each time in a new process."""
    taken: dict[str, list[float]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        found.image.save(folder / "picture.png", compress_level=0)
        np.save(folder / "map.npy", found.probability)
        for _ in range(repeats):
            for way in WAYS:
                call = [sys.executable, __file__, "--peak", way, "--folder", temporary]
                done = subprocess.run(call, capture_output=True, text=True, check=True)
                taken[way].append(json.loads(done.stdout) / found.probability.size)
    medians = {way: round(statistics.median(each), 2) for way, each in taken.items()}
    return {
        "bytes_a_pixel": medians,
        "all": {way: [round(one, 2) for one in each] for way, each in taken.items()},
        "share": round(medians["dsunet"] / medians["plain"], 3),
    }


def main() -> None:
    """Measures, prints and writes the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--peak", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peak:
        print(peak_of(arguments.peak, arguments.folder))
        return
    torch.set_num_threads(1)
    segmenter = Segmenter(device="cpu")
    found = {name: segmenter(picture) for name, picture in photographs().items()}
    cutouts = {}
    for name, each in found.items():
        cutouts[name] = encoding_of(each, arguments.repeats)
        print(name, cutouts[name], flush=True)
    overlay = memory_of(found[MAIN], arguments.repeats)
    print("overlay", overlay)
    if arguments.output:
        record = {
            "circumstances": circumstances(),
            "pillow": Image.__version__,
            "png_level": PNG_LEVEL,
            "repeats": arguments.repeats,
            "cutouts": cutouts,
            "overlay": {"picture": MAIN, **overlay},
        }
        write_json(arguments.output, record)


if __name__ == "__main__":
    main()
