"""Draws the demo's picture: photographs cut out, and test pictures before and after fine-tuning.

python examples/draw_demo.py FOLDER   (what examples/demo.sh made)
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from dsunet.visualize import panel

# Which places in the ranking by what fine-tuning brought are shown: neither the best nor the worst.
SHARES = (0.75, 0.25)
FOLDERS = ("test/images", "test/masks", "before", "after")
CELL, GAP = 147, 8
WIDTH = 8 * (CELL + GAP) + GAP
HEADING, BEHIND = 44, (214, 224, 232)


def cut_out(path: Path) -> Image.Image:
    """A picture with transparency on a plain ground."""
    with Image.open(path) as image:
        ground = Image.new("RGBA", image.size, (*BEHIND, 255))
        return Image.alpha_composite(ground, image.convert("RGBA")).convert("RGB")


def photographs(folder: Path) -> Image.Image:
    """Each photograph above what the network takes for its object."""
    paths = sorted((folder / "photographs").glob("*.png"))
    pictures = [Image.open(path) for path in paths]
    objects = [cut_out(folder / "photographs-masks" / "cutout" / path.name) for path in paths]
    shapes = [picture.width / picture.height for picture in pictures]
    height = int((WIDTH - GAP * (len(pictures) + 1)) / sum(shapes))
    sheet = Image.new("RGB", (WIDTH, 2 * (height + GAP) + GAP), "white")
    for row, images in enumerate((pictures, objects)):
        left = GAP
        for image, shape in zip(images, shapes, strict=True):
            small = image.resize((round(height * shape), height), Image.Resampling.LANCZOS)
            sheet.paste(small, (left, row * (height + GAP)))
            left += small.width + GAP
    return sheet


def fine_tuned(folder: Path) -> Image.Image:
    """Salient objects on the left and camouflaged ones on the right, each before and after."""
    scores = [
        {name: values["S"] for name, values in json.loads(path.read_text())["per_image"].items()}
        for path in (folder / "before.json", folder / "after.json")
    ]
    rows, captions = [], []
    for share in SHARES:
        row, texts = [], []
        for kind in ("salient", "camouflaged"):
            ranked = [name for name in scores[0] if name.startswith(kind)]
            ranked.sort(key=lambda name: scores[1][name] - scores[0][name])
            name = ranked[int(share * len(ranked))]
            texts.append(f"S-measure {scores[0][name]:.3f} before, {scores[1][name]:.3f} after")
            for place in FOLDERS:
                suffix = "jpg" if place == "test/images" else "png"
                row.append(Image.open(folder / place / f"{name}.{suffix}"))
        rows.append(row)
        captions.append(texts)
    return panel(rows, ("image", "truth", "before", "after") * 2, captions, cell=CELL)


def main(folder: Path) -> None:
    """Writes `demo.png`."""
    means = [json.loads((folder / f"{n}.json").read_text())["S"] for n in ("before", "after")]
    parts = {
        "Photographs, with the weights that come with dsunet, --flips and --zoom": photographs(
            folder
        ),
        "Pictures of another kind, before and after twelve epochs of fine-tuning on a CPU: mean "
        f"S-measure {means[0]:.3f} and {means[1]:.3f}": fine_tuned(folder),
    }
    height = sum(part.height + HEADING for part in parts.values())
    sheet = Image.new("RGB", (WIDTH, height), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=19)
    top = 0
    for heading, part in parts.items():
        draw.text((GAP, top + HEADING // 2), heading, fill="black", font=font, anchor="lm")
        sheet.paste(part, (0, top + HEADING))
        top += HEADING + part.height
    sheet.save(folder / "demo.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
