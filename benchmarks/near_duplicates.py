"""How well near-duplicates are found: planted copies, and unrelated sets, by the check's own rule.

python benchmarks/near_duplicates.py SHARED/data --json benchmarks/near-duplicates.json
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from PIL import Image, ImageEnhance, ImageOps

from dsunet.data import Pair, find_pairs
from dsunet.data.checks.duplicates import CORRELATION, HASH_BITS, Signature, near_duplicates
from dsunet.data.checks.look import check_split, look_at
from dsunet.data.split import Split
from measuring import circumstances

SETS = (
    "duts-tr-256.tar",
    "duts-te-200",
    "camo-tr-499",
    "camo-te-124",
    "sd-saliency-300",
    "magnetic-tile-160",
    "cvc-clinicdb-204",
)


def crop(image: Image.Image, share: float) -> Image.Image:
    """Cuts a share of the sides off, all around."""
    width, height = image.size
    x, y = round(share * width), round(share * height)
    return image.crop((x, y, width - x, height - y))


def bars(image: Image.Image, x: float, y: float, colour: str) -> Image.Image:
    """Adds bars left and right, and above and below, each a share of the side."""
    width, height = round(x * image.width), round(y * image.height)
    return ImageOps.expand(image, (width, height, width, height), colour)


def square(image: Image.Image, side: int, colour: str) -> Image.Image:
    """Fits the image into a square with bars."""
    return ImageOps.pad(image, (side, side), color=colour)


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "none": lambda image: image,
    "half size": lambda image: image.resize((image.width // 2, image.height // 2)),
    "stretched by 1.3": lambda image: image.resize((image.width, round(1.3 * image.height))),
    "brighter by 1.3": lambda image: ImageEnhance.Brightness(image).enhance(1.3),
    "black bars above and below, 20 %": lambda image: bars(image, 0, 0.2, "black"),
    "white bars above and below, 20 %": lambda image: bars(image, 0, 0.2, "white"),
    "black bars left and right, 20 %": lambda image: bars(image, 0.2, 0, "black"),
    "white bars left and right, 20 %": lambda image: bars(image, 0.2, 0, "white"),
    "black bars above and below, 3 %": lambda image: bars(image, 0, 0.03, "black"),
    "olive frame, 10 %": lambda image: bars(image, 0.1, 0.1, "olive"),
    "white square of 160 px": lambda image: square(image, 160, "white"),
    "3 % cropped": lambda image: crop(image, 0.03),
    "6 % cropped": lambda image: crop(image, 0.06),
}


def signatures(pairs: list[Pair]) -> list[Signature]:
    """What the check notes of every image."""
    looks = look_at(pairs, full=True, compare=True)
    return [look.signature for look in looks if look.signature is not None]


def planted(pairs: list[Pair], known: list[Signature], quality: int) -> dict[str, float]:
    """The share of changed copies for which the check names the original."""
    shares = {}
    for name, change in CHANGES.items():
        with tempfile.TemporaryDirectory() as place:
            copies = []
            for pair in pairs:
                with Image.open(pair.image) as image:
                    data = io.BytesIO()
                    change(image.convert("RGB")).save(data, "JPEG", quality=quality)
                copy = Path(place, f"{pair.name}.jpg")
                copy.write_bytes(data.getvalue())
                copies.append(Pair(pair.name, copy, pair.mask))
            found = near_duplicates(known, signatures(copies))
            right = sum(Path(str(a)).stem == Path(str(b)).stem for a, b, *_ in found)
            shares[name] = right / len(pairs)
    return shares


def main() -> None:
    """Reads the arguments and writes the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="Folder of the data sets.")
    parser.add_argument("--json", type=Path, required=True)
    arguments = parser.parse_args()
    pairs = {name: find_pairs(arguments.data / name) for name in SETS}
    seconds = {}
    for name, validation in (("without comparing", []), ("comparing", pairs["duts-te-200"])):
        started = time.perf_counter()
        check_split(Split(pairs[SETS[0]], validation, []))
        seconds[name] = round(time.perf_counter() - started, 1)
    known = {name: signatures(each) for name, each in pairs.items()}
    record = {
        **circumstances(),
        "rule": f"at most {HASH_BITS} of 64 bits, correlation at least {CORRELATION}",
        "seconds_to_check_duts_tr": seconds,
        "unrelated": {
            f"{b} in {a}": len(list(near_duplicates(known[a], known[b])))
            for a, b in itertools.combinations(SETS, 2)
        },
        "share_of_planted_copies_found": {
            f"{name}, JPEG quality {quality}": planted(pairs[name], known[name], quality)
            for name in ("duts-te-200", "camo-te-124")
            for quality in (90, 30)
        },
    }
    arguments.json.write_text(json.dumps(record, indent=2) + "\n")
    print(json.dumps(record, indent=2))


if __name__ == "__main__":
    main()
