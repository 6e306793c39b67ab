"""The README of the field cases, line by line, as a user would try them."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dsunet.cli import main


@pytest.fixture
def check(field_cases: Path, capsys: pytest.CaptureFixture[str]):  # type: ignore[no-untyped-def]
    """Runs `dsunet data check` on a case; gives status and all that is said."""

    def run(case: str, *flags: str) -> tuple[int, str]:
        place = ["--images", f"{field_cases / case}/all", "--masks", f"{field_cases / case}/all"]
        given = place if case == "one-folder" else [str(field_cases / case)]
        status = main(["data", "check", *given, *flags])
        said = capsys.readouterr()
        return status, said.out + said.err

    return run


def test_masks_ignore_255(check) -> None:  # type: ignore[no-untyped-def]
    status, said = check("masks-ignore-255")
    assert status == 1
    assert "--object-values" in said
    assert "--ignore-value" in said
    status, said = check("masks-ignore-255", "--object-values", "1", "--ignore-value", "255")
    assert status == 0, said


def test_masks_green(check) -> None:  # type: ignore[no-untyped-def]
    status, said = check("masks-green")
    assert status == 0
    assert "#00ff00" in said


@pytest.mark.parametrize("flags", [["--object-values", "#00ff00"], ["--object-values=#00ff00"]])
def test_a_colour_may_be_told(flags: list[str], check) -> None:  # type: ignore[no-untyped-def]
    status, said = check("masks-green", *flags)
    assert status == 0
    assert "object: #00ff00, as told" in said
    status, said = check("masks-green", "--object-values", "#ff0000", "--ignore-value", "#0000ff")
    assert status == 1
    assert "no mask holds #ff0000 or #0000ff" in said


def test_masks_inverted(check) -> None:  # type: ignore[no-untyped-def]
    status, said = check("masks-inverted")
    assert status == 0
    assert "share of object" in said
    assert "--invert" in said
    assert "--invert" not in check("masks-inverted", "--invert")[1]


@pytest.mark.parametrize("case", ["masks-suffix", "one-folder"])
def test_names_of_masks_are_found_and_said(case: str, check) -> None:  # type: ignore[no-untyped-def]
    status, said = check(case)
    assert status == 0
    suffix = "_mask" if case == "masks-suffix" else "_segmentation"
    assert f"masks end in {suffix}" in said
    assert "6 training" in said


def test_normals_without_mask(check) -> None:  # type: ignore[no-untyped-def]
    status, said = check("normals-without-mask")
    assert status == 1
    assert "--missing-masks empty" in said
    status, said = check("normals-without-mask", "--missing-masks", "empty")
    assert status == 0, said


def test_split_below(check) -> None:  # type: ignore[no-untyped-def]
    status, said = check("split-below")
    assert status == 0
    assert "val" in said


def test_twins(field_cases: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert main(["predict", str(field_cases / "twins"), "--output", str(out)]) == 0
    names = sorted(path.name for path in out.glob("*.png"))
    assert names == ["IMG_0001.jpg.png", "IMG_0001.png.png", "IMG_0002.png"]
    assert "share their stem" in capsys.readouterr().out


def test_twelve_bit(check) -> None:  # type: ignore[no-untyped-def]
    """That few levels are used is told, and how to stretch them; so told, all is well."""
    status, said = check("twelve-bit")
    assert status == 0
    assert "use few of their levels" in said
    assert re.search(r"s00.tif has values from \d+ to \d{4}, of 0 to 65535", said)
    assert "--intensity percentile, or LOW,HIGH" in said
    for told in ("percentile", "0,4095"):
        status, said = check("twelve-bit", "--intensity", told)
        assert status == 0
        assert "few of their levels" not in said


def test_tiny_object(check) -> None:  # type: ignore[no-untyped-def]
    status, said = check("tiny-object")
    assert status == 0
    assert "view of 448 px" in said


def test_half_transparent(field_cases: Path, tmp_path: Path) -> None:
    image = field_cases / "half-transparent" / "object-at-alpha-127.png"
    for kind in ("cutout", "probability"):
        flags = ["--save", kind, "--refine", "false", "--output", str(tmp_path / f"{kind}.png")]
        assert main(["predict", str(image), *flags]) == 0
    with Image.open(tmp_path / "cutout.png") as cut, Image.open(image) as before:
        found, given = np.asarray(cut).astype(int), np.asarray(before)
    with Image.open(tmp_path / "probability.png") as map_:
        expected = np.asarray(map_).astype(int) * given[..., 3] / 255
    assert np.abs(found[..., 3] - expected).max() <= 1
    seen = found[..., 3] > 0
    assert (found[seen][:, :3] == given[seen][:, :3]).all()
    assert not found[~seen].any()
    # as they are made by default, with refined edges
    assert (
        main(["predict", str(image), "--save", "cutout", "--output", str(tmp_path / "r.png")]) == 0
    )
    with Image.open(tmp_path / "r.png") as refined:
        values = np.asarray(refined)
    seen = values[..., 3] > 0
    assert seen.any()
    assert (values[..., 3] <= given[..., 3]).all()
    own = seen & (given[..., 3] < 255)
    assert (values[own][:, :3] == given[own][:, :3]).all()


def test_coco(field_cases: Path, tmp_path: Path) -> None:
    coco = field_cases / "coco"
    flags = ["--images", str(coco / "images"), "--output", str(tmp_path / "data")]
    assert main(["data", "import", str(coco / "annotations.json"), *flags]) == 0
    for mask in sorted((tmp_path / "data" / "masks").iterdir()):
        with Image.open(mask) as drawn:
            values = np.asarray(drawn)
        assert set(np.unique(values)) == {0, 255}
        assert values[21:49, 21:49].all()
        assert not values[:19].any()
    assert main(["data", "check", str(tmp_path / "data")]) == 0
