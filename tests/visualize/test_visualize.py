"""Pictures have the size and the parts that they should have."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from dsunet.visualize import panel
from dsunet.visualize.curves import plot_curves
from dsunet.visualize.panel import CAPTION, GAP, HEADER, _shorten


def test_panel_lays_pictures_out() -> None:
    red, map_ = Image.new("RGB", (50, 100), "red"), np.full((80, 80), 0.5, np.float32)
    sheet = panel([(red, map_), (red, map_)], ("a", "b"), ("first", ("one", "two")), cell=60)
    assert sheet.size == (2 * 60 + 3 * GAP, HEADER + 2 * (60 + GAP + CAPTION) + GAP)
    assert sheet.getpixel((GAP + 30, HEADER + 30)) == (255, 0, 0)
    assert sheet.getpixel((GAP + 2, HEADER + 30)) == (255, 255, 255)  # narrow: centred
    assert sheet.getpixel((2 * GAP + 60 + 30, HEADER + 30)) == (128, 128, 128)


def test_long_captions_are_cut() -> None:
    draw = ImageDraw.Draw(Image.new("RGB", (10, 10)))
    font = ImageFont.load_default(size=13)
    line = _shorten(draw, "a very long name of a file " * 9, 200, font)
    assert line.endswith("…")
    assert draw.textlength(line, font=font) <= 200
    assert _shorten(draw, "short", 200, font) == "short"


@pytest.mark.parametrize("measured", [True, False])
def test_curves(tmp_path: Path, measured: bool) -> None:
    rows = ["epoch,loss,S,F,E,MAE,lr,seconds"]
    values = "0.5,0.4,0.6,0.1" if measured else ",,,"
    rows += [f"{epoch},{3 / epoch},{values},0.001,2" for epoch in range(1, 5)]
    (tmp_path / "metrics.csv").write_text("\n".join(rows) + "\n")
    plot_curves(tmp_path / "metrics.csv", tmp_path / "curves.png")
    with Image.open(tmp_path / "curves.png") as image:
        assert (image.width > 800) == measured
