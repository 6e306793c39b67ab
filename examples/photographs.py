"""Writes four free photographs that scikit-image carries, and whose they are.

python examples/photographs.py FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

# The terms are those that scikit-image names.
PHOTOGRAPHS = {
    "astronaut": "Eileen Collins; NASA, public domain",
    "chelsea": "the cat Chelsea; Stéfan van der Walt, CC0",
    "coffee": "a cup of coffee at Pikolo Espresso Bar; Rachel Michetti, CC0",
    "rocket": "the Falcon 9 that carried DSCOVR; SpaceX, public domain",
}


def main(folder: Path) -> None:
    """Writes the photographs and `LICENCES.txt`."""
    from PIL import Image
    from skimage import data

    folder.mkdir(parents=True, exist_ok=True)
    for name in PHOTOGRAPHS:
        Image.fromarray(getattr(data, name)()).save(folder / f"{name}.png")
    lines = [f"{name}.png: {terms}" for name, terms in PHOTOGRAPHS.items()]
    (folder / "LICENCES.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
