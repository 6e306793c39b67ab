"""Draws the demo's picture: test images, truth, prediction and overlay, with each one's S-measure.

python examples/draw_demo.py FOLDER   (what examples/demo.sh made)
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from PIL import Image

from dsunet.visualize import panel


def main(folder: Path) -> None:
    """Writes `demo.png` into the demo's folder."""
    scores = json.loads((folder / "scores.json").read_text())["per_image"]
    rows, captions = [], []
    for kind in ("salient", "camouflaged"):
        # spread over the ranking, so that neither the best nor the worst alone are shown
        ranked = [name for name in scores if name.startswith(kind)]
        ranked.sort(key=lambda name: scores[name]["S"])
        for share in (0.2, 0.5, 0.8):
            name = ranked[int(share * len(ranked))]
            files = [
                folder / "test" / "images" / f"{name}.jpg",
                folder / "test" / "masks" / f"{name}.png",
                folder / "predictions" / "probability" / f"{name}.png",
                folder / "predictions" / "overlay" / f"{name}.png",
            ]
            rows.append([Image.open(file) for file in files])
            captions.append(f"{kind}: S-measure {scores[name]['S']:.3f}")
    titles = ("image", "truth", "prediction", "overlay")
    panel(rows, titles, captions, cell=180).save(folder / "demo.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
