"""Writes free photographs that scikit-image carries, and whose they are.

python examples/photographs.py FOLDER [NAME ...]   (all of them, or those named)
"""

from __future__ import annotations

import sys
from pathlib import Path

# The terms are those that scikit-image names.
PHOTOGRAPHS = {
    "astronaut": "Eileen Collins; NASA, public domain",
    "camera": "a photographer at work; Lav Varshney, CC0",
    "chelsea": "the cat Chelsea; Stéfan van der Walt, CC0",
    "coffee": "a cup of coffee at Pikolo Espresso Bar; Rachel Michetti, CC0",
    "rocket": "the Falcon 9 that carried DSCOVR; SpaceX, public domain",
}


def main(folder: Path, *names: str) -> None:
    """Writes the photographs and `LICENCES.txt`."""
    if unknown := [name for name in names if name not in PHOTOGRAPHS]:
        sys.exit(f"there is no photograph {unknown[0]}; there are {', '.join(PHOTOGRAPHS)}")
    from PIL import Image
    from skimage import data

    folder.mkdir(parents=True, exist_ok=True)
    written = names or tuple(PHOTOGRAPHS)
    for name in written:
        Image.fromarray(getattr(data, name)()).save(folder / f"{name}.png")
    lines = [f"{name}.png: {PHOTOGRAPHS[name]}" for name in written]
    (folder / "LICENCES.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
