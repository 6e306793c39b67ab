"""Folders of predictions of several classes against folders of masks."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dsunet.cli import main
from dsunet.data.class_tables import reading_of_classes
from dsunet.errors import DataError, ImageError
from dsunet.metrics import measure
from dsunet.metrics.class_evaluation import OF_PICTURES, evaluate_classes

NAMES = ("a", "b", "c")


def write(folder: Path, **pictures: np.ndarray) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, index in pictures.items():
        Image.fromarray(index.astype(np.uint8)).save(folder / f"{name}.png")
    return folder


def two() -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Predictions and masks of two pictures; c is nowhere."""
    truth, found = np.zeros((2, 2, 20, 24), np.uint8)
    truth[0, 2:12, 2:12], found[0, 4:14, 2:12] = 1, 1  # 80 hits, 20 false alarms, 20 misses
    truth[1, :10, :10], truth[1, 10:, :10] = 1, 2
    found[1] = truth[1]
    truth[1, :, 20:], found[1, :, 20:] = 255, 1  # does not count
    names = ("p", "q")
    return dict(zip(names, found, strict=True)), dict(zip(names, truth, strict=True))


def test_measures_of_each_class_by_hand(tmp_path: Path) -> None:
    found, truth = two()
    predictions, masks = write(tmp_path / "p", **found), write(tmp_path / "m", **truth)
    result = evaluate_classes(predictions, masks, reading_of_classes(NAMES))
    assert result.scores["a"]["IoU"] == 180 / 220
    assert result.scores["a"]["Dice"] == 360 / 400
    assert result.scores["b"]["IoU"] == 1
    assert all(np.isnan(value) for value in result.scores["c"].values())
    assert result.with_class == {"a": 2, "b": 1, "c": 0}
    assert result.mean["IoU"] == pytest.approx((180 / 220 + 1) / 2)
    # of pictures: those of black-and-white maps, over the pictures with the class
    own = measure((found["p"] == 1) * np.uint8(255), (truth["p"] == 1) * np.uint8(255), OF_PICTURES)
    assert result.per_image["p"] == {"a": own.values}
    assert result.scores["a"]["S"] == np.mean([own.values["S"], result.per_image["q"]["a"]["S"]])
    assert result.per_image["q"]["b"]["MAE"] == 0


def test_a_class_that_is_found_where_it_is_not_has_zero(tmp_path: Path) -> None:
    found, truth = two()
    found["p"][0, 0] = 3
    result = evaluate_classes(
        write(tmp_path / "p", **found), write(tmp_path / "m", **truth), reading_of_classes(NAMES)
    )
    assert result.scores["c"]["IoU"] == 0
    assert np.isnan(result.scores["c"]["S"])


def test_a_folder_for_each_class_and_several_processes(tmp_path: Path) -> None:
    found, truth = two()
    predictions = write(tmp_path / "p", **found)
    for number, name in enumerate(NAMES[:2], 1):
        each = {stem: (index == number) * 255 for stem, index in truth.items()}
        write(tmp_path / "m" / name, **each)
    result = evaluate_classes(predictions, tmp_path / "m", reading_of_classes(NAMES[:2]))
    assert result.scores["b"]["IoU"] == 1
    assert result.scores["a"]["IoU"] == 180 / (220 + 80)  # nothing is told to be ignored


def test_one_broken_picture_does_not_lose_the_others(tmp_path: Path) -> None:
    found, truth = two()
    predictions, masks = write(tmp_path / "p", **found), write(tmp_path / "m", **truth)
    write(predictions, q=np.full((20, 24), 9))
    result = evaluate_classes(predictions, masks, reading_of_classes(NAMES))
    assert list(result.per_image) == ["p"]
    assert "it holds 9" in result.failures["q"]
    write(predictions, q=np.zeros((5, 5)))
    result = evaluate_classes(predictions, masks, reading_of_classes(NAMES))
    assert "5×5 and 24×20 px" in result.failures["q"]
    write(predictions, p=np.zeros((5, 5)))
    with pytest.raises(ImageError, match="no picture could be measured"):
        evaluate_classes(predictions, masks, reading_of_classes(NAMES))


def test_partners_and_lists(tmp_path: Path) -> None:
    found, truth = two()
    predictions = write(tmp_path / "p", p=found["p"])
    masks = write(tmp_path / "m", **truth)
    with pytest.raises(DataError, match="masks without an image"):
        evaluate_classes(predictions, masks, reading_of_classes(NAMES))
    result = evaluate_classes(predictions, masks, reading_of_classes(NAMES), ["p"])
    assert list(result.per_image) == ["p"]
    write(masks, p=np.zeros((20, 24)))
    with pytest.raises(DataError, match=r"no mask holds a class \(1 a, 2 b, 3 c\)"):
        evaluate_classes(predictions, masks, reading_of_classes(NAMES), ["p"])


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found, truth = two()
    predictions, masks = write(tmp_path / "p", **found), write(tmp_path / "m", **truth)
    given = ["evaluate", "--predictions", f"{predictions}", "--masks", f"{masks}", "--workers", "1"]
    files = ["--json", f"{tmp_path}/e.json", "--csv", f"{tmp_path}/e.csv"]
    assert main([*given, "--classes", "a,b,c", *files]) == 0
    said = capsys.readouterr().out
    assert "0.8182" in said
    assert "neither masks nor predictions hold c" in said
    told = json.loads((tmp_path / "e.json").read_bytes())
    assert told["classes"]["c"] == {
        **dict.fromkeys(("IoU", "Dice", "S", "F", "E", "MAE")),
        "images": 0,
    }
    with open(tmp_path / "e.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["class"] for row in rows] == ["a", "b", "c", "mean"]
    assert float(rows[3]["IoU"]) == told["mean"]["IoU"]
    (tmp_path / "t.csv").write_text("name,value\na,1\nb,2\n")
    assert main([*given, "--class-table", f"{tmp_path}/t.csv"]) == 0
    assert main([*given, "--classes", "a,b", "--threshold", "0.4"]) == 1
    assert "--threshold is for maps of one object" in capsys.readouterr().err
