"""The measures are PySODMetrics' to the last digit, and folders are checked before they count."""

from __future__ import annotations

import csv
import json
import warnings
from pathlib import Path

import numpy as np
import py_sod_metrics
import pytest
from PIL import Image

import dsunet
from dsunet.data.synthetic import synthetic_pair
from dsunet.errors import DataError, ImageError
from dsunet.metrics import Measures, evaluate_folders


def save(array: np.ndarray, path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(array).save(path)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Noisy maps of eight masks, one mask empty and one full."""
    rng = np.random.default_rng(0)
    for number in range(8):
        mask = np.array(synthetic_pair(number, 60 + number)[1])
        if number == 3:
            mask[:] = 0
        if number == 5:
            mask[:] = 255
        noisy = 0.6 * mask + rng.uniform(0, 100, mask.shape)
        save(noisy.clip(0, 255).astype(np.uint8), tmp_path / "maps" / f"{number}.png")
        save(mask, tmp_path / "masks" / f"{number}.png")
    return tmp_path / "maps", tmp_path / "masks"


def directly(maps: Path, masks: Path) -> dict[str, float]:
    """PySODMetrics as its README uses it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        f = py_sod_metrics.Fmeasure()
    s, e, m = py_sod_metrics.Smeasure(), py_sod_metrics.Emeasure(), py_sod_metrics.MAE()
    for file in sorted(maps.iterdir()):
        map_ = np.asarray(Image.open(file))
        mask = np.asarray(Image.open(masks / file.name))
        for measure in (f, s, e, m):
            measure.step(pred=map_, gt=mask)
    return {
        "S": float(s.get_results()["sm"]),
        "F": float(f.get_results()["fm"]["adp"]),
        "E": float(e.get_results()["em"]["curve"].mean()),
        "MAE": float(m.get_results()["mae"]),
    }


def test_equal_to_pysodmetrics(folders: tuple[Path, Path]) -> None:
    scores = dsunet.evaluate(*folders)
    assert scores == {**directly(*folders), "images": 8}


def test_perfect_and_opposite_maps() -> None:
    mask = np.array(synthetic_pair(0, 64)[1])
    perfect, opposite = Measures(), Measures()
    perfect.update(mask, mask)
    opposite.update(255 - mask, mask)
    assert perfect.compute()["MAE"] == 0
    assert perfect.compute()["S"] == pytest.approx(1)
    assert perfect.compute()["F"] == pytest.approx(1)
    assert opposite.compute()["MAE"] == 1
    assert opposite.compute()["F"] == 0


def test_files(folders: tuple[Path, Path], tmp_path: Path) -> None:
    result = evaluate_folders(*folders)
    result.write_json(tmp_path / "scores.json")
    result.write_csv(tmp_path / "scores.csv")
    content = json.loads((tmp_path / "scores.json").read_text())
    assert content["images"] == 8
    assert content["S"] == result.scores["S"]
    assert content["empty_masks"] == ["3"]
    with open(tmp_path / "scores.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows] == [*"01234567", "mean"]
    assert float(rows[-1]["MAE"]) == result.scores["MAE"]
    assert np.mean([float(row["S"]) for row in rows[:-1]]) == pytest.approx(result.scores["S"])


def test_maps_of_another_size_are_resized_and_said_so(folders: tuple[Path, Path]) -> None:
    maps, masks = folders
    before = dsunet.evaluate(maps, masks)
    with Image.open(maps / "0.png") as image:
        doubled = image.resize((120, 120), Image.Resampling.NEAREST)
    doubled.save(maps / "0.png")
    result = evaluate_folders(maps, masks)
    assert result.resized == ["0"]
    assert result.scores["MAE"] == pytest.approx(before["MAE"], abs=0.02)


def test_missing_and_extra_files_are_listed(folders: tuple[Path, Path]) -> None:
    maps, masks = folders
    (maps / "2.png").unlink()
    save(np.zeros((4, 4), np.uint8), maps / "extra.png")
    with pytest.raises(DataError, match=r"1 only in .*maps \(extra\); 1 only in .*masks \(2\)"):
        dsunet.evaluate(maps, masks)


def test_a_stem_twice(folders: tuple[Path, Path]) -> None:
    save(np.zeros((4, 4), np.uint8), folders[0] / "2.bmp")
    with pytest.raises(DataError, match=r"twice \(.*2\.bmp and .*2\.png"):
        dsunet.evaluate(*folders)


def test_a_list_of_names(folders: tuple[Path, Path]) -> None:
    maps, masks = folders
    (maps / "7.png").unlink()
    result = evaluate_folders(maps, masks, names=["1", "4"])
    assert list(result.per_image) == ["1", "4"]
    (maps.parent / "list.txt").write_text("1\n4\n")
    assert dsunet.evaluate(maps, masks, names=maps.parent / "list.txt") == result.to_dict()
    with pytest.raises(DataError, match=r"maps lacks 1 of the 2 names in the list \(7\)"):
        evaluate_folders(maps, masks, names=["1", "7"])


def test_unreadable_map(folders: tuple[Path, Path]) -> None:
    (folders[0] / "4.png").write_bytes(b"no image")
    with pytest.raises(ImageError, match=r"1 maps cannot be .*4\.png: not a readable image"):
        dsunet.evaluate(*folders)
    result = evaluate_folders(*folders)
    assert list(result.failures) == ["4"]
    assert len(result.per_image) == 7
    for file in folders[0].iterdir():
        file.write_bytes(b"no image")
    with pytest.raises(ImageError, match="no map could be measured"):
        evaluate_folders(*folders)
