"""Draws the demo's picture: test images, truth, prediction and overlay, with each one's S-measure.

python examples/draw_demo.py FOLDER   (what examples/demo.sh made)
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from PIL import Image

from dsunet.visualize import panel

# Which places in the ranking by S-measure are shown: neither the best nor the worst alone.
SHARES = (0.8, 0.5, 0.2)
FOLDERS = ("test/images", "test/masks", "predictions/probability", "predictions/overlay")


def main(folder: Path) -> None:
    """Writes `demo.png`: salient objects on the left, camouflaged ones on the right."""
    scores = json.loads((folder / "scores.json").read_text())["per_image"]
    rows, captions = [], []
    for share in SHARES:
        row, texts = [], []
        for kind in ("salient", "camouflaged"):
            ranked = [name for name in scores if name.startswith(kind)]
            ranked.sort(key=lambda name: scores[name]["S"])
            name = ranked[int(share * len(ranked))]
            texts.append(f"{kind}: S-measure {scores[name]['S']:.3f}")
            for place in FOLDERS:
                suffix = "jpg" if place == "test/images" else "png"
                row.append(Image.open(folder / place / f"{name}.{suffix}"))
        rows.append(row)
        captions.append(texts)
    titles = ("image", "truth", "prediction", "overlay") * 2
    panel(rows, titles, captions, cell=150).save(folder / "demo.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
