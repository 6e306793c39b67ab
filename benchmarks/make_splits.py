"""Writes the lists that split the two data sets of the training benchmarks.

    python benchmarks/make_splits.py --steel DIR --polyps DIR

Steel: the last 20 images of each of the three kinds of defect, counted by number, validate.
Polyps: the first 160 frames train and the last 44 validate, because neighbouring frames are alike.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

HERE = Path(__file__).parent


def numbered(folder: Path, prefix: str = "") -> list[str]:
    """Stems of the images that start with `prefix`, by the number they end in."""
    stems = [file.stem for file in (folder / "images").iterdir() if file.stem.startswith(prefix)]
    return sorted(stems, key=lambda stem: int(re.findall(r"\d+", stem)[-1]))


def main() -> None:
    """Reads the folders and writes `val.txt` for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steel", type=Path, required=True)
    parser.add_argument("--polyps", type=Path, required=True)
    arguments = parser.parse_args()
    steel = [
        name for kind in ("In_", "Pa_", "Sc_") for name in numbered(arguments.steel, kind)[-20:]
    ]
    (HERE / "steel" / "val.txt").write_text("\n".join(steel) + "\n")
    polyps = numbered(arguments.polyps)[160:]
    (HERE / "polyps" / "val.txt").write_text("\n".join(polyps) + "\n")


if __name__ == "__main__":
    main()
