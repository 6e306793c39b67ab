"""The folder of awkward files is predicted: every good one, and a reason for every bad one."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import awkward
import dsunet
from dsunet.cli import main
from helpers import nano


def corners(picture: Image.Image) -> np.ndarray:
    """Four pixels, one well inside each corner block."""
    pixels = np.asarray(picture.convert("RGB")).astype(int)
    return pixels[[8, 8, 32, 32], [10, 50, 50, 10]]


def test_every_file_gives_a_mask_or_a_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad, several = awkward.make(tmp_path / "in")
    assert len(good) + len(bad) >= 30
    dsunet.save(nano(), tmp_path / "w.safetensors")
    status = main(
        ["predict", str(tmp_path / "in"), "--weights", str(tmp_path / "w.safetensors")]
        + ["--output", str(tmp_path / "out"), "--save", "probability,cutout", "--device", "cpu"]
    )
    shown = capsys.readouterr()
    assert status == 1
    assert f"{len(good)} of {len(good) + len(bad)} images written" in shown.out
    assert f"{len(several)} files have several pages or frames" in shown.out
    assert f"{len(bad)} images failed" in shown.err
    assert "Traceback" not in shown.err

    for name, size in good.items():
        stem = Path(name).stem
        with Image.open(tmp_path / "out" / "probability" / f"{stem}.png") as map_:
            assert map_.size == size, name
        with Image.open(tmp_path / "out" / "cutout" / f"{stem}.png") as cutout:
            seen = corners(cutout)
        grey = "grey" in name
        expected = corners(Image.fromarray(awkward.greys()) if grey else awkward.upright())
        lossy = "palette" in name or "cmyk" in name or name.endswith(("jpg", "gif", "JPG"))
        np.testing.assert_allclose(seen, expected, atol=30 if lossy else 1, err_msg=name)

    with open(
        tmp_path / "out" / "failures.csv", newline="", encoding="utf-8", errors="surrogateescape"
    ) as file:
        reasons = {Path(row["image"]).name: row["reason"] for row in csv.DictReader(file)}
    assert reasons.keys() == bad.keys()
    for name, reason in bad.items():
        assert re.search(reason, reasons[name]), f"{name}: {reasons[name]}"
        assert "\n" not in reasons[name]
