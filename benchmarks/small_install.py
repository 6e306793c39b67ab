"""What `pip install dsunet` brings, and how soon the first mask is there.

    python benchmarks/small_install.py --output benchmarks/small-install.json

A wheel is built and installed into a new environment, with what it needs and nothing else; sizes
are those of all its files, with and without Python's compiled ones. Every prediction is a process
of its own, of the command line, whose whole time is taken: of a photograph of 400×300 pixels, and
of one of 12 megapixels, each a JPEG, each written as a map.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from PIL import Image

from dsunet.data.synthetic import synthetic_pair
from dsunet.support.files import write_json
from measuring import circumstances

ROOT = Path(__file__).parent.parent
PHOTOS = {"400×300": (400, 300), "12 megapixels": (4000, 3000)}


def installed(folder: Path) -> Path:
    """A new environment with the wheel of this checkout."""
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.check_call([*pip, "wheel", "--no-deps", "--wheel-dir", folder / "wheel", ROOT])
    [wheel] = (folder / "wheel").glob("dsunet-*.whl")
    environment = folder / "environment"
    subprocess.check_call([sys.executable, "-m", "venv", "--without-pip", environment])
    python = environment / "bin" / "python"
    subprocess.check_call([*pip, "--python", python, "install", wheel])
    return environment


def sizes(environment: Path) -> dict[str, Any]:
    """Megabytes of all files, and of the largest packages."""
    site = next(environment.glob("lib/python*/site-packages"))

    def size(files: list[Path]) -> float:
        return round(sum(f.stat().st_size for f in files if f.is_file()) / 1e6, 1)

    everything = list(site.rglob("*"))
    packages = {each.name: size([each, *each.rglob("*")]) for each in site.iterdir()}
    largest = sorted(packages.items(), key=lambda item: -item[1])[:8]
    return {
        "mb": size(everything),
        "mb_without_compiled": size([f for f in everything if f.suffix != ".pyc"]),
        "largest_mb": dict(largest),
    }


def main() -> None:
    """Installs, measures and writes the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        environment = installed(Path(folder))
        record: dict[str, Any] = {"circumstances": circumstances(), **sizes(environment)}
        small = synthetic_pair(0, 400)[0]
        for name, size in PHOTOS.items():
            photo = Path(folder, "photo.jpg")
            small.resize(size, Image.Resampling.BICUBIC).save(photo, quality=92)
            seconds = []
            for number in range(arguments.runs + 1):
                target = Path(folder, f"{number}.png")
                started = time.perf_counter()
                subprocess.check_call(
                    [environment / "bin" / "dsunet", "predict", photo, "--output", target],
                    stderr=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                )
                seconds.append(time.perf_counter() - started)
            record[f"seconds, {name}"] = {
                "median": round(statistics.median(seconds[1:]), 2),
                "from": round(min(seconds[1:]), 2),
                "to": round(max(seconds[1:]), 2),
            }
            print(name, record[f"seconds, {name}"], flush=True)
    write_json(arguments.output, record)


if __name__ == "__main__":
    main()
