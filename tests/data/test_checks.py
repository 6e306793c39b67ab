"""The check of a data set finds every kind of trouble, all at once, before training."""

from __future__ import annotations

import io
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dsunet.cli import main
from dsunet.config import DataConfig
from dsunet.data import PairDataset, check_data, find_pairs
from dsunet.data.checks.look import KINDS, DataReport, check_split
from dsunet.data.pairs import read_pair
from dsunet.data.split import split_data
from dsunet.data.synthetic import synthetic_pair, write_synthetic
from dsunet.errors import DataError
from dsunet.visualize import data_sheet


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_synthetic(tmp_path / "set", 12, 64, seed=3)
    return tmp_path / "set"


def kinds(report: DataReport) -> dict[str, int]:
    return dict(Counter(finding.kind for finding in report.findings))


def turned(path: Path, size: tuple[int, int], orientation: int = 6) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture, _ = synthetic_pair(0, 64)
    picture.resize(size).save(path, exif=exif, quality=95)


def test_a_good_set_has_no_findings(folder: Path) -> None:
    for check in ("full", "headers"):
        report = check_data(DataConfig(str(folder), val_fraction=0.25, check=check))
        assert report.findings == []
        assert (report.training, report.validation) == (9, 3)
        report.raise_for_errors()


def trouble(folder: Path) -> dict[str, int]:
    """Breaks a set of twelve pairs in every way; returns what is to be found."""
    images, masks = folder / "images", folder / "masks"
    data = (images / "salient_00000.jpg").read_bytes()
    (images / "salient_00000.jpg").write_bytes(data[: len(data) // 2])
    (masks / "salient_00002.png").unlink()
    (images / "camouflaged_00001.jpg").unlink()
    Image.new("L", (9, 9), 255).save(masks / "salient_00004.png")
    Image.new("L", (64, 64), 3).save(masks / "salient_00006.png")
    Image.new("L", (64, 64), 0).save(masks / "salient_00008.png")
    Image.new("L", (64, 64), 255).save(masks / "salient_00010.png")
    Image.fromarray(np.tile(np.arange(64, dtype=np.uint8) * 4, (64, 1))).save(
        masks / "camouflaged_00003.png"
    )
    turned(images / "camouflaged_00005.jpg", (96, 64))
    Image.new("L", (96, 64), 200).save(masks / "camouflaged_00005.png")
    turned(images / "camouflaged_00007.jpg", (64, 64))
    (images / "camouflaged_00009.gif").write_bytes((images / "salient_00004.jpg").read_bytes())
    frames = [Image.new("RGB", (64, 64), colour) for colour in ("red", "blue")]
    (images / "camouflaged_00011.jpg").unlink()
    frames[0].save(images / "camouflaged_00011.gif", save_all=True, append_images=frames[1:])
    return {
        "duplicate": 1,  # camouflaged_00009 twice
        "orphan_image": 1,
        "orphan_mask": 1,
        "unreadable": 1,
        "size": 1,
        "mask_values": 2,  # the one of 3 and the one of 200
        "empty_mask": 1,
        "full_mask": 2,  # the small one and the one of 255
        "grey_mask": 1,  # the ramp
        "raw_orientation": 1,
        "square_turned": 1,
        "frames": 1,
    }


def test_all_is_found_at_once(folder: Path) -> None:
    expected = trouble(folder)
    report = check_data(DataConfig(str(folder)))
    assert kinds(report) == expected
    assert all(finding.kind in KINDS for finding in report.findings)
    lines = report.lines()
    assert lines[0] == "error: 1 files that cannot be read (replace or remove them)"
    assert "salient_00000.jpg: not a readable image (image file is truncated" in lines[1]
    with pytest.raises(DataError, match=r"the data set has 7 errors: .*1 stems that occur twice"):
        report.raise_for_errors()


def test_headers_alone(folder: Path) -> None:
    """Quicker; what only pixels can tell is not found."""
    expected = trouble(folder)
    found = kinds(check_data(DataConfig(str(folder), check="headers")))
    for kind in ("unreadable", "mask_values", "empty_mask", "full_mask", "grey_mask"):
        expected.pop(kind)
    assert found == expected


def test_names_with_line_breaks_and_mislabelled_files(folder: Path) -> None:
    for place, suffix in (("images", "jpg"), ("masks", "png")):
        source = folder / place / f"salient_00000.{suffix}"
        source.rename(folder / place / f"two\nlines.{suffix}")
    (folder / "images" / "salient_00002.jpg").rename(folder / "images" / "salient_00002.png")
    report = check_data(DataConfig(str(folder)))
    assert kinds(report) == {"name": 1, "mislabelled": 1}
    assert all("\n" not in line for line in report.lines())
    with pytest.raises(DataError, match="1 names with line breaks"):
        find_pairs(folder)


def test_long_lists_are_cut(folder: Path) -> None:
    for mask in sorted((folder / "masks").iterdir())[:8]:
        Image.new("L", (64, 64)).save(mask)
    report = check_data(DataConfig(str(folder)))
    lines = report.lines(limit=3)
    assert len(lines) == 8  # what the masks' values are comes last
    assert lines[0].startswith("warning: 8 masks without any object")
    assert lines[4].strip() == "… and 5 more"


@pytest.mark.parametrize("change", ["same", "quality", "smaller", "brighter"])
def test_near_duplicates_between_training_and_validation(
    folder: Path, tmp_path: Path, change: str
) -> None:
    write_synthetic(tmp_path / "val", 6, 64, seed=9)
    picture = Image.open(folder / "images" / "salient_00004.jpg")
    if change == "smaller":
        picture = picture.resize((50, 50))
    if change == "brighter":
        picture = picture.point(lambda value: min(255, int(value * 1.15)))
    quality = 40 if change == "quality" else 95
    picture.save(tmp_path / "val" / "images" / "salient_00000.jpg", quality=quality)
    Image.new("L", picture.size, 255).save(tmp_path / "val" / "masks" / "salient_00000.png")
    report = check_data(DataConfig(str(folder), val=str(tmp_path / "val")))
    found = [f for f in report.findings if f.kind == "near_duplicate"]
    assert [tuple(Path(file).name for file in f.files) for f in found] == [
        ("salient_00000.jpg", "salient_00004.jpg")
    ]


def test_a_mask_that_fits_the_stored_orientation(tmp_path: Path) -> None:
    """Image and mask are used as they are stored, and lie on each other."""
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    stored = Image.new("RGB", (60, 40), "blue")
    stored.paste("red", (0, 0, 20, 10))
    exif = Image.Exif()
    exif[0x0112] = 6
    mask = Image.new("L", (60, 40))
    mask.paste(255, (0, 0, 20, 10))
    for ending in ("jpg", "tif"):
        for file in (tmp_path / "images").iterdir():
            file.unlink()
        stored.save(tmp_path / "images" / f"a.{ending}", exif=exif)
        mask.save(tmp_path / "masks" / "a.png")
        image, target, upright, _ = read_pair(find_pairs(tmp_path)[0])
        assert not upright, ending
        assert image.size == target.size == (60, 40)
        np.testing.assert_allclose(np.asarray(image)[5, 10], (255, 0, 0), atol=6)
        np.testing.assert_allclose(np.asarray(image)[35, 50], (0, 0, 255), atol=6)
    mask.transpose(Image.Transpose.ROTATE_270).save(tmp_path / "masks" / "a.png")
    image, target, upright, _ = read_pair(find_pairs(tmp_path)[0])
    assert upright
    assert image.size == target.size == (40, 60)
    np.testing.assert_allclose(np.asarray(image)[5, 35], (255, 0, 0), atol=6)
    assert np.asarray(target)[5, 35] == 255
    # a mask with an orientation of its own is turned by it
    mask.save(tmp_path / "masks" / "a.png", exif=exif)
    image, target, upright, _ = read_pair(find_pairs(tmp_path)[0])
    assert upright
    assert np.asarray(target)[5, 35] == 255


def test_decomposed_and_composed_names_are_one(tmp_path: Path) -> None:
    """As macOS and others write an é."""
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    picture, mask = synthetic_pair(0, 64)
    picture.save(tmp_path / "images" / "cafe\u0301.jpg")
    mask.save(tmp_path / "masks" / "caf\u00e9.png")
    assert [pair.name for pair in find_pairs(tmp_path)] == ["caf\u00e9"]


def test_the_fingerprint_notices_changes(folder: Path) -> None:
    config = DataConfig(str(folder), val_fraction=0.25)
    before = split_data(config, 0).fingerprint()
    assert split_data(config, 0).fingerprint() == before
    (folder / "images" / "alone.jpg").write_bytes(b"")
    assert split_data(config, 0).fingerprint() != before
    (folder / "images" / "alone.jpg").unlink()
    picture, _ = synthetic_pair(5, 80)
    picture.save(folder / "images" / "salient_00000.jpg")
    assert split_data(config, 0).fingerprint() != before


def test_progress(folder: Path) -> None:
    seen: list[tuple[int, int]] = []
    check_split(split_data(DataConfig(str(folder)), 0), progress=lambda *n: seen.append(n))
    assert seen == [(n, 12) for n in range(1, 13)]


def test_sheet_shows_what_the_model_sees(folder: Path) -> None:
    dataset = PairDataset(find_pairs(folder), (128, 128), None, flips=(1, 0))
    sheet = np.asarray(data_sheet(dataset, [0, 3]))
    cell = 220
    image = sheet[30 : 30 + cell, 8 : 8 + cell].astype(int)
    view = sheet[30 : 30 + cell, 8 + 2 * (cell + 8) : 8 + 2 * (cell + 8) + cell].astype(int)
    # the view is flipped left and right; both were resized, so a few levels differ
    assert np.abs(view[:, ::-1] - image).mean() < 4
    assert np.abs(view - image).mean() > 12


class TestCommand:
    def test_a_good_set(
        self, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        sheet, findings = tmp_path / "deep" / "sheet.png", tmp_path / "findings.json"
        command = ["data", "check", str(folder), "--val-fraction", "0.25"]
        assert main([*command, "--sheet", str(sheet), "--json", str(findings), "--rows", "3"]) == 0
        assert "9 training and 3 validation pairs checked in" in capsys.readouterr().out
        with Image.open(sheet) as image:
            image.load()
            assert image.height == 30 + 3 * (220 + 8 + 24) + 8
        content = json.loads(findings.read_text())
        assert content["errors"] == content["warnings"] == 0

    def test_trouble(
        self, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        trouble(folder)
        findings = tmp_path / "findings.json"
        sheet = str(tmp_path / "sheet.png")
        status = main(["data", "check", str(folder), "--json", str(findings), "--sheet", sheet])
        shown = capsys.readouterr()
        assert status == 1
        assert "error: 1 images without a mask" in shown.out
        assert "7 errors" in shown.out
        content = json.loads(findings.read_text())
        assert content["errors"] == 7
        orphans = [f for f in content["findings"] if f["kind"] == "orphan_image"]
        assert [Path(f["files"][0]).name for f in orphans] == ["salient_00002.jpg"]
        assert Path(sheet).is_file()

    def test_images_and_masks_apart(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        places = ["--images", str(folder / "images"), "--masks", str(folder / "masks")]
        assert main(["data", "check", *places]) == 0
        assert main(["data", "check"]) == 1
        assert "no training data: give --data DIR" in capsys.readouterr().err


def test_without_the_hashing_package(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "imagehash", None)
    report = check_data(DataConfig(str(folder), val_fraction=0.25))
    assert kinds(report) == {"not_compared": 1}
    assert "pip install 'dsunet[evaluate]'" in report.lines()[1]


def test_a_tar_is_checked_in_place(folder: Path, tmp_path: Path) -> None:
    import tarfile

    (folder / "images" / "salient_00000.jpg").write_bytes(b"broken")
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        tar.add(folder / "images", "images")
        tar.add(folder / "masks", "masks")
    report = check_data(DataConfig(str(tmp_path / "a.tar")))
    assert kinds(report) == {"unreadable": 1}
    text = io.StringIO()
    print(*report.lines(), file=text)
    assert "a.tar:images/salient_00000.jpg: not a readable image" in text.getvalue()


def test_orphans_are_named_when_they_leave_nothing_to_split(folder: Path) -> None:
    """Masks are called otherwise than images, and by no pattern."""
    for mask in list((folder / "masks").iterdir()):
        mask.rename(mask.with_stem(mask.stem[::-1]))
    message = r"0 pairs cannot be split by 0\.2.*; there are 12 images without a mask \('camou"
    with pytest.raises(DataError, match=message):
        split_data(DataConfig(str(folder), val_fraction=0.2), 0)
    with pytest.raises(DataError, match="12 images without a mask"):
        find_pairs(folder)


def test_a_training_list_says_which_files_count(folder: Path, tmp_path: Path) -> None:
    (folder / "images" / "alone.jpg").write_bytes(b"")
    (tmp_path / "list.txt").write_text("salient_00000\nsalient_00002\n")
    report = check_data(DataConfig(str(folder), train_list=str(tmp_path / "list.txt")))
    assert report.training == 2
    assert report.findings == []


def test_what_is_not_used_is_told_of(folder: Path) -> None:
    (folder / "images" / "more").mkdir()
    (folder / "images" / "a.tga").write_bytes(b"")
    (folder / "masks" / "Thumbs.db").write_bytes(b"")
    report = check_data(DataConfig(str(folder)))
    assert kinds(report) == {"unused": 3}


def test_dangling_links_are_listed(folder: Path) -> None:
    for name, suffix in (("images", "jpg"), ("masks", "png")):
        (folder / name / f"z.{suffix}").symlink_to("nowhere")
    split = split_data(DataConfig(str(folder)), 0)
    assert split.fingerprint()
    assert kinds(check_split(split)) == {"unreadable": 2}
