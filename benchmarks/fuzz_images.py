"""Breaks real image files in many ways, and sees what prediction and masks make of them.

    python benchmarks/fuzz_images.py DIR ... --cases 10000 --json benchmarks/fuzz.json

Every case has to give a map of the image's size, or one of dsunet's own errors, in bounded time and
memory. Any other exception, or a crash, ends the run.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import resource
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import tifffile
import torch
from PIL import Image

import dsunet
from dsunet.data.images import decode, read_map, read_mask
from dsunet.errors import ImageError

Mutation = Callable[[bytearray, random.Random], bytearray]


def variants(picture: Image.Image) -> dict[str, bytes]:
    """A picture in every format that is read, by ending."""
    small = picture.convert("RGB")
    small.thumbnail((96, 96))
    exif = Image.Exif()
    exif[0x0112] = 6
    deep = Image.fromarray(np.asarray(small.convert("L")).astype(np.uint16) * 257)
    pages = {"save_all": True, "append_images": [small.transpose(Image.Transpose.ROTATE_180)]}
    ways: dict[str, tuple[Image.Image, str, dict[str, object]]] = {
        "a.jpg": (small, "JPEG", {"exif": exif}),
        "b.jpg": (small, "JPEG", {"progressive": True}),
        "c.png": (small, "PNG", {}),
        "d.png": (small.quantize(32), "PNG", {}),
        "e.png": (deep, "PNG", {}),
        "f.png": (small.convert("RGBA"), "PNG", {}),
        "g.tif": (small, "TIFF", {"exif": exif}),
        "h.tif": (small, "TIFF", {"compression": "tiff_lzw"}),
        "i.tif": (small, "TIFF", {"compression": "jpeg"}),
        "j.tif": (small, "TIFF", pages),
        "k.tif": (deep, "TIFF", {}),
        "l.bmp": (small, "BMP", {}),
        "m.gif": (small, "GIF", pages),
        "n.webp": (small, "WEBP", {}),
        "o.webp": (small, "WEBP", pages),
        "p.jp2": (small, "JPEG2000", {}),
        "q.ppm": (small, "PPM", {}),
        "r.avif": (small, "AVIF", {}),
    }
    Image.init()
    result = {}
    for name, (image, format_, options) in ways.items():
        if format_ in Image.SAVE:
            file = io.BytesIO()
            image.save(file, format_, **options)
            result[name] = file.getvalue()
    return result | by_tifffile(np.asarray(small))


def by_tifffile(values: np.ndarray) -> dict[str, bytes]:
    """TIFFs that Pillow does not write, or does not read rightly."""
    ways: dict[str, tuple[np.ndarray, dict[str, str]]] = {
        "s.tif": (np.moveaxis(values, 2, 0), {"photometric": "minisblack", "planar": "separate"}),
        "t.tif": (
            np.moveaxis(values.astype(np.uint16) * 257, 2, 0),
            {"photometric": "rgb", "planar": "separate"},
        ),
        "u.tif": (values.astype(np.uint16) * 257, {"photometric": "rgb", "planar": "contig"}),
        "v.tif": (values[..., 0].astype(np.uint16) * 257, {"photometric": "miniswhite"}),
    }
    result = {}
    for name, (array, options) in ways.items():
        file = io.BytesIO()
        tifffile.imwrite(
            file,
            array,
            photometric=options["photometric"],
            planarconfig=options.get("planar"),
        )
        result[name] = file.getvalue()
    return result


def flip_bits(data: bytearray, rng: random.Random) -> bytearray:
    """One to 32 bits, anywhere."""
    for _ in range(rng.choice((1, 2, 8, 32))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return data


def cut(data: bytearray, rng: random.Random) -> bytearray:
    """The end is lost."""
    return data[: rng.randrange(len(data))]


def edit_header(data: bytearray, rng: random.Random) -> bytearray:
    """Telling values somewhere at the start, where sizes and offsets are."""
    values = (b"\0", b"\xff", b"\x7f\xff", b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x80\0\0\0")
    for _ in range(rng.choice((1, 2, 4))):
        value = rng.choice(values)
        at = rng.randrange(max(1, min(len(data), 128) - len(value)))
        data[at : at + len(value)] = value
    return data


def edit_end(data: bytearray, rng: random.Random) -> bytearray:
    """The same at the end, where TIFF keeps its directory."""
    return bytearray(reversed(edit_header(bytearray(reversed(data)), rng)))


def drop(data: bytearray, rng: random.Random) -> bytearray:
    """A piece is missing."""
    start = rng.randrange(len(data))
    del data[start : start + rng.randrange(1, 200)]
    return data


def double(data: bytearray, rng: random.Random) -> bytearray:
    """A piece stands twice."""
    start = rng.randrange(len(data))
    piece = data[start : start + rng.randrange(1, 200)]
    data[start:start] = piece
    return data


def blank(data: bytearray, rng: random.Random) -> bytearray:
    """A block of zeros, as a failing disk leaves it."""
    start = rng.randrange(len(data))
    end = min(len(data), start + rng.randrange(1, 512))
    data[start:end] = bytes(end - start)
    return data


MUTATIONS: tuple[Mutation, ...] = (flip_bits, cut, edit_header, edit_end, drop, double, blank)


def cases(sources: list[bytes], count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Broken files, each with its name: every mutation of every format, from one picture or other.

    Args:
        sources: Whole image files.
        count: How many cases.
        seed: The same seed gives the same cases.
    """
    rng = random.Random(seed)
    made: dict[int, dict[str, bytes]] = {}
    for number in range(count):
        index = rng.randrange(len(sources))
        if index not in made:
            made[index] = variants(Image.open(io.BytesIO(sources[index])))
        files = sorted(made[index].items())
        name, data = files[number % len(files)]
        mutation = MUTATIONS[number // len(files) % len(MUTATIONS)]
        yield f"{mutation.__name__}-{name}", bytes(mutation(bytearray(data), rng))


def judge(path: Path, segmenter: dsunet.Segmenter) -> str:
    """Segments a file, and reads it as mask and as map: `map`, or `error` if it cannot be read.

    Raises:
        AssertionError: A result has another size than the image.
    """
    try:
        decoded = decode(path)
        size = decoded.seen_size()
        result = segmenter(path)
    except ImageError:
        outcome = "error"
    else:
        outcome = "map"
        assert result.probability.shape == size[::-1], f"{result.probability.shape} for {size}"
        assert np.isfinite(result.probability).all()
    for read in (read_mask, read_map):
        try:
            array = np.asarray(read(path))
        except ImageError:
            continue
        assert outcome == "map" or array.ndim == 2
        assert array.dtype == np.uint8
    return outcome


def main() -> None:
    """Reads the arguments and writes the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", type=Path, nargs="+", help="Folders of images.")
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, required=True)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", module=r"PIL\.")
    torch.manual_seed(0)
    model = dsunet.create_model("dsunet-nano", weights=None, sam_size=128, dino_size=112)
    segmenter = dsunet.Segmenter(model, device="cpu")
    files = [file for folder in arguments.folders for file in sorted(folder.glob("*.jpg"))]
    sources = [file.read_bytes() for file in random.Random(0).sample(files, min(40, len(files)))]
    segmenter(Image.open(io.BytesIO(sources[0])))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcomes: Counter[str] = Counter()
    times: list[tuple[float, str]] = []
    with tempfile.TemporaryDirectory() as place:
        for number, (name, data) in enumerate(cases(sources, arguments.cases, arguments.seed)):
            path = Path(place, name)
            path.write_bytes(data)
            started = time.perf_counter()
            outcomes[f"{name.split('-')[0]}: {judge(path, segmenter)}"] += 1
            times.append((time.perf_counter() - started, name))
            path.unlink()
            if number % 1000 == 999:
                print(f"{number + 1} cases", flush=True)
    slowest, name = max(times)
    record = {
        "cases": arguments.cases,
        "pictures": len(sources),
        "outcomes": dict(sorted(outcomes.items())),
        "median_seconds": round(sorted(times)[len(times) // 2][0], 4),
        "slowest_seconds": round(slowest, 3),
        "slowest_case": name,
        "memory_before_mib": before // 1024,
        "memory_peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    arguments.json.write_text(json.dumps(record, indent=2) + "\n")
    print(json.dumps(record, indent=2))


if __name__ == "__main__":
    main()
