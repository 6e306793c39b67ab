"""`dsunet train --data` with labels instead of masks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import dsunet
from dsunet.cli import main
from dsunet.data.synthetic import write_synthetic
from dsunet.training import TrainResult

OUTLINES = {"part": [8, 8, 40, 8, 40, 40, 8, 40], "hole": [12, 12, 20, 12, 20, 20, 12, 20]}


@pytest.fixture
def labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """COCO's JSON of three pictures with a part and a hole in it each; the pictures lie apart."""
    monkeypatch.chdir(tmp_path)
    write_synthetic("drawn", 3, 64)
    Path("drawn/images").rename("pictures")
    numbers = {name: number for number, name in enumerate(OUTLINES, 1)}
    content = {
        "images": [
            {"id": i, "file_name": picture.name, "width": 64, "height": 64}
            for i, picture in enumerate(sorted(Path("pictures").iterdir()))
        ],
        "annotations": [
            {"id": 10 * i + number, "image_id": i, "category_id": number, "segmentation": [outline]}
            for i in range(3)
            for number, outline in enumerate(OUTLINES.values(), 1)
        ],
        "categories": [{"id": number, "name": name} for name, number in numbers.items()],
    }
    file = tmp_path / "annotations.json"
    file.write_text(json.dumps(content))
    return file


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What trainings are asked for; they do nothing."""
    asked: list[tuple[Any, ...]] = []

    def train(*given: Any, **_: Any) -> TrainResult:
        asked.append(given)
        return TrainResult(Path(given[0]), 1, {}, 1, Path("weights"))

    monkeypatch.setattr(dsunet, "train", train)
    return asked


QUIET = ("--model", "dsunet-nano", "--report", "false")


def run(*flags: str) -> int:
    return main(["train", *QUIET, "--output", "run", *flags])


def test_a_file_of_labels(labels: Path, trained: list[tuple[Any, ...]]) -> None:
    flags = ("--data", "annotations.json", "--images", "pictures")
    assert run(*flags) == 0
    (_, model, data, *_), *_ = trained
    assert (data.data, data.images, data.ignore_value) == ("run-data", None, None)
    assert model.classes == ()
    masks = sorted(Path("run-data/masks").iterdir())
    assert len(masks) == 3
    with Image.open(masks[0]) as mask:
        assert np.asarray(mask).sum() == 255 * 32 * 32
    assert run(*flags, "--resume") == 0  # which finds them there
    assert trained[1][2] == data


def test_copies_of_an_earlier_import_are_not_meant(
    labels: Path, trained: list[tuple[Any, ...]]
) -> None:
    for output in ("run", "other"):  # beside the pictures, both looked for below this folder
        assert main(["train", "--data", "annotations.json", "--output", output, *QUIET]) == 0
    assert [data.data for _, _, data, *_ in trained] == ["run-data", "other-data"]


def test_pixels_that_do_not_count(labels: Path, trained: list[tuple[Any, ...]]) -> None:
    """They are told of to the training, also when their masks are there already."""
    labels.unlink()
    for picture in Path("pictures").iterdir():
        shapes = [
            {"label": label, "shape_type": "rectangle", "points": points}
            for label, points in (("part", [[8, 8], [40, 40]]), ("__ignore__", [[0, 0], [4, 4]]))
        ]
        content = {"shapes": shapes, "imagePath": picture.name, "imageWidth": 64, "imageHeight": 64}
        picture.with_suffix(".json").write_text(json.dumps(content))
    for further in ([], ["--resume"]):
        assert run("--data", "pictures", *further) == 0
    assert [data.ignore_value for _, _, data, *_ in trained] == ["128", "128"]


def test_classes_of_labels(labels: Path, trained: list[tuple[Any, ...]]) -> None:
    assert run("--data", str(labels), "--images", "pictures", "--classes", "hole,part") == 0
    [(_, model, data, *_)] = trained
    assert data.class_table == "run-data/classes.csv"
    assert model.classes == ()  # the table names them
    with Image.open(sorted(Path("run-data/masks").iterdir())[0]) as mask:
        numbers = np.asarray(mask)
    # as the labels number them: the part is 1, and the hole, which is smaller, on top
    assert [(numbers == value).sum() for value in (1, 2)] == [32 * 32 - 8 * 8, 8 * 8]


def test_classes_as_a_list_of_a_file(labels: Path, trained: list[tuple[Any, ...]]) -> None:
    Path("own.yaml").write_text("classes: [hole, part]\nimages: pictures\n")
    assert run("--config", "own.yaml", "--data", "annotations.json") == 0
    assert Path("run-data/classes.csv").is_file()


def test_an_export_that_calls_its_labels_as_imports_do(
    labels: Path, trained: list[tuple[Any, ...]]
) -> None:
    """As FiftyOne does, of the folder above it."""
    Path("all/export").mkdir(parents=True)
    labels.rename("all/export/labels.json")
    Path("pictures").rename("all/export/data")
    assert run("--data", "all") == 0
    assert len(list(Path("run-data/masks").iterdir())) == 3


def test_the_folder_that_one_is_in(
    labels: Path, trained: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("here").mkdir()
    monkeypatch.chdir("here")
    assert main(["train", "--data", str(labels), *QUIET, "--output", "."]) == 0
    assert Path(trained[0][2].data) == labels.parent / "here-data"


def test_a_mask_that_is_missing_is_no_reason_to_take_labels(
    labels: Path, trained: list[tuple[Any, ...]]
) -> None:
    Path("pictures").rename("drawn/images")
    labels.rename("drawn/annotations.json")
    next(Path("drawn/masks").iterdir()).unlink()
    assert run("--data", "drawn") == 0
    assert trained[0][2].data == "drawn"  # where the training says what is missing


def test_a_folder_of_labels(labels: Path, trained: list[tuple[Any, ...]]) -> None:
    labels.rename("pictures/annotations.json")
    assert run("--data", "pictures") == 0
    assert trained[0][2].data == "run-data"


def test_images_and_masks_are_left_alone(labels: Path, trained: list[tuple[Any, ...]]) -> None:
    Path("pictures").rename("drawn/images")
    labels.rename("drawn/annotations.json")
    assert run("--data", "drawn") == 0
    assert trained[0][2].data == "drawn"
    assert not Path("run-data").exists()


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--devices", "2", "--batch-size", "2"], "one process imports; make images and masks"),
        (["--object-values", "1"], "--object-values is about masks; make images and masks first"),
        (["--ignore-value", "255"], "--ignore-value is about masks; make images and masks first"),
        (["--mask-suffix", "_m"], "--mask-suffix is about masks; make images and masks first"),
        (["--classes", "bolt"], "bolt"),
    ],
)
def test_what_does_not_go_with_labels(
    flags: list[str],
    line: str,
    labels: Path,
    trained: list[tuple[Any, ...]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run("--data", str(labels), "--images", "pictures", *flags) in (1, 2)
    shown = capsys.readouterr().err
    assert line in shown
    assert len(shown.strip().splitlines()) == 1
    assert not trained
