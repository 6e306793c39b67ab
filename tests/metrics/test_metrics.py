"""The measures are PySODMetrics' to the last digit, and folders are checked before they count."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import py_sod_metrics
import pytest
from PIL import Image

import dsunet
from dsunet.cli import main
from dsunet.data.synthetic import synthetic_pair
from dsunet.errors import DataError, DsunetError, ImageError
from dsunet.metrics import Measures, evaluate_folders
from dsunet.support.processes import in_processes
from kill_training import remaining


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
    scores = dsunet.evaluate(*folders, protocol="benchmark")
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
    assert rows[3]["S"] == ""  # without an object
    own = [float(row["S"]) for row in rows[:-1] if row["S"]]
    assert np.mean(own) == pytest.approx(result.scores["S"])


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


def many(folder: Path, count: int) -> tuple[Path, Path]:
    rng = np.random.default_rng(1)
    for number in range(count):
        mask = np.array(synthetic_pair(number, 48)[1])
        noisy = 0.7 * mask + rng.uniform(0, 76, mask.shape)
        save(noisy.astype(np.uint8), folder / "maps" / f"{number:03d}.png")
        save(mask, folder / "masks" / f"{number:03d}.png")
    return folder / "maps", folder / "masks"


def test_processes_change_nothing(tmp_path: Path) -> None:
    maps, masks = many(tmp_path, 40)
    (maps / "007.png").write_bytes(b"broken")
    save(np.zeros((48, 48), np.uint8), masks / "011.png")
    seen: list[tuple[int, int]] = []
    alone = evaluate_folders(maps, masks)
    shared = evaluate_folders(maps, masks, progress=lambda *n: seen.append(n), workers=2)
    assert shared == alone
    assert list(shared.failures) == ["007"]
    assert shared.empty == ["011"]
    assert seen == [(n, 40) for n in range(1, 41)]


def test_a_process_that_dies(tmp_path: Path) -> None:
    with pytest.raises(DsunetError, match="a process died"):
        list(in_processes(os._exit, [3] * 40, workers=2))


def test_maps_across_their_mask_are_told_of(
    folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    maps, masks = folders
    save(np.zeros((30, 50), np.uint8), maps / "0.png")
    save(np.full((50, 30), 255, np.uint8), masks / "0.png")
    assert evaluate_folders(maps, masks).turned == ["0"]
    (maps / "1.png").write_bytes(b"broken")
    status = main(["evaluate", "--predictions", str(maps), "--masks", str(masks)])
    shown = capsys.readouterr()
    assert status == 1
    assert "1 maps lie across their mask (0)" in shown.out
    assert "1 maps had another size than their mask and were resized to it" in shown.out
    assert "predict them with --ignore-orientation" in shown.out
    assert "0 of 1 images without an object (0.0 %) have a false alarm" in shown.out
    assert "1.png: not a readable image" in shown.err
    assert "1 images could not be measured and do not count (1)" in shown.err


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_process_outlives_the_command(tmp_path: Path, number: signal.Signals) -> None:
    """Ctrl-C reaches the whole group, as from a terminal; other signals the command alone."""
    maps, masks = many(tmp_path, 100)
    for file in [*maps.iterdir(), *masks.iterdir()]:  # large ones, so that it takes a while
        with Image.open(file) as image:
            image.resize((1000, 1000)).save(file)
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "dsunet.cli", "evaluate", "--workers", "2"),
            *("--predictions", str(maps), "--masks", str(masks)),
        ],
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while remaining(process.pid, patience=0) < 4:  # the fork server and two workers, at least
        assert process.poll() is None
        time.sleep(0.01)
    time.sleep(0.5)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == (130 if number == signal.SIGINT else -number)
    if number == signal.SIGINT:
        assert errors == "dsunet evaluate: error: interrupted\n"
    assert remaining(process.pid) == 0
