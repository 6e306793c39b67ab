"""A folder without images/ and masks/ is described, with what to do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from dsunet.cli import main
from dsunet.data.pairing import find_pairs
from dsunet.errors import DataError


def lay_out(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix in (".jpg", ".png"):
            Image.new("L", (8, 8)).save(path)
        elif path.name.startswith("labelme"):
            path.write_text(json.dumps({"shapes": [], "imagePath": "a.jpg"}))
        elif path.suffix == ".json":
            path.write_text(json.dumps({"images": [], "annotations": [], "categories": []}))
        elif path.suffix == ".xml":
            path.write_text("<annotations></annotations>")
        else:
            path.write_text("names: [a]\n")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ("img/a.jpg", "img/b.jpg", "labels/a.png", "labels/b.png"),
            r"but images in img/ and masks in labels/, as it seems: give --images \S+img and "
            r"--masks \S+labels",
        ),
        (
            ("images/a.jpg", "ground_truth/a.png"),
            r"holds no masks/, but images in images/ and masks in ground_truth/",
        ),
        (
            ("a.jpg", "gt/a.png"),
            r"holds images in it and masks in gt/, as it seems: .*--masks \S+gt",
        ),
        (("train/images/a.jpg", "train/labels/a.txt", "data.yaml"), "labels of the format yolo"),
        (("train/a.jpg", "train/b.jpg", "train/coco.json"), r"coco \(train/coco\.json\)"),
        (("pictures/a.jpg", "instances.json"), r"labels of the format coco \(instances\.json\): "),
        (("a.jpg", "labelme.json"), "labels of the format labelme"),
        (("images/a.jpg", "annotations.xml"), r"labels of the format cvat \(annotations\.xml\)"),
        (("images/a.jpg", "labels/a.txt", "data.yaml"), "labels of the format yolo"),
        (("JPEGImages/a.jpg", "SegmentationClass/a.png"), "labels of the format voc"),
        (("test/crack/0.png", "ground_truth/crack/0_mask.png"), "labels of the format mvtec"),
        (("one/a.jpg", "one/b.jpg", "two/c.jpg"), "but 2 images in one/, 1 images in two/; needed"),
        (("notes.txt",), "and no image at all; needed are images/ and masks/"),
    ],
)
@pytest.mark.parametrize("command", ["check", "plan"])
def test_what_is_seen(
    tmp_path: Path,
    names: tuple[str, ...],
    message: str,
    command: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    lay_out(tmp_path / "in", *names)
    place = str(tmp_path / "in")
    arguments = {"check": ["data", "check", place], "plan": ["plan", place]}
    assert main(arguments[command]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert __import__("re").search(message, line), line
    assert "DUTS" not in line


def test_training_says_the_same_where_there_are_no_labels(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lay_out(tmp_path / "in", "images/a.jpg", "ground_truth/a.png")
    assert main(["train", "--data", str(tmp_path / "in"), "--output", str(tmp_path / "run")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "holds no masks/, but images in images/ and masks in ground_truth/" in line


def test_files_of_labels(tmp_path: Path) -> None:
    lay_out(tmp_path, "x.json", "y.xml", "labelme.json")
    for name, kind in (("x.json", "coco"), ("y.xml", "cvat"), ("labelme.json", "labelme")):
        with pytest.raises(DataError, match=f"labels of the format {kind}: dsunet data import"):
            find_pairs(tmp_path / name)
    (tmp_path / "v.json").write_text('{"_via_settings": {}}')
    with pytest.raises(DataError, match="labels of the VGG Image Annotator; export them as COCO"):
        find_pairs(tmp_path / "v.json")
