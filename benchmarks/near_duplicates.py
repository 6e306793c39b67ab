"""How well near-duplicates are found: planted copies, and unrelated sets, by the check's own rule.

python benchmarks/near_duplicates.py SHARED/data --json benchmarks/near-duplicates.json
"""

from __future__ import annotations

import argparse
import io
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from PIL import Image, ImageEnhance

from dsunet.data import Pair, find_pairs
from dsunet.data.check import CORRELATION, HASH_BITS, check_split
from dsunet.data.split import Split

UNRELATED = (
    ("duts-tr-256.tar", "duts-te-200"),
    ("duts-tr-256.tar", "camo-te-124"),
    ("camo-tr-499", "camo-te-124"),
)


def crop(image: Image.Image, share: float) -> Image.Image:
    """Cuts a share of the sides off, all around."""
    width, height = image.size
    x, y = round(share * width), round(share * height)
    return image.crop((x, y, width - x, height - y))


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "JPEG quality 30": lambda image: image,
    "half size": lambda image: image.resize((image.width // 2, image.height // 2)),
    "stretched by 1.3": lambda image: image.resize((image.width, round(1.3 * image.height))),
    "brighter by 1.3": lambda image: ImageEnhance.Brightness(image).enhance(1.3),
    "3 % cropped": lambda image: crop(image, 0.03),
    "6 % cropped": lambda image: crop(image, 0.06),
}


def found(training: list[Pair], validation: list[Pair]) -> list[tuple[str, ...]]:
    """The near-duplicates that the check names."""
    report = check_split(Split(training, validation, []))
    return [each.files for each in report.findings if each.kind == "near_duplicate"]


def main() -> None:
    """Reads the arguments and writes the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="Folder of the data sets.")
    parser.add_argument("--json", type=Path, required=True)
    arguments = parser.parse_args()
    started = time.perf_counter()
    check_split(Split(find_pairs(arguments.data / UNRELATED[0][0]), [], []))
    record: dict[str, object] = {
        "rule": f"at most {HASH_BITS} of 64 bits, correlation at least {CORRELATION}",
        "seconds_to_check_duts_tr": round(time.perf_counter() - started, 1),
        "unrelated": {
            f"{b} in {a}": len(
                found(find_pairs(arguments.data / a), find_pairs(arguments.data / b))
            )
            for a, b in UNRELATED
        },
    }
    originals = find_pairs(arguments.data / "duts-te-200")
    shares = {}
    for name, change in CHANGES.items():
        with tempfile.TemporaryDirectory() as place:
            copies = []
            for pair in originals:
                with Image.open(pair.image) as image:
                    data = io.BytesIO()
                    quality = 30 if name.startswith("JPEG") else 90
                    change(image.convert("RGB")).save(data, "JPEG", quality=quality)
                copy = Path(place, f"{pair.name}.jpg")
                copy.write_bytes(data.getvalue())
                copies.append(Pair(pair.name, copy, pair.mask))
            right = [f for f in found(originals, copies) if Path(f[0]).stem == Path(f[1]).stem]
            shares[name] = len(right) / len(originals)
    record["share_of_planted_copies_found"] = shares
    arguments.json.write_text(json.dumps(record, indent=2) + "\n")
    print(json.dumps(record, indent=2))


if __name__ == "__main__":
    main()
