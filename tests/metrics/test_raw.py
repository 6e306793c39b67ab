"""Maps measured as they are: values worked out by hand, false alarms, ignored pixels."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import dsunet
from dsunet.cli import main
from dsunet.config import MaskReading
from dsunet.data.images import Labels
from dsunet.errors import ConfigError
from dsunet.metrics import (
    ALL_MEASURES,
    OWN_MEASURES,
    FalseAlarms,
    Measures,
    Truth,
    comparison,
    evaluate_folders,
    measure,
)
from dsunet.metrics.cuts import cut_of
from dsunet.running.maps import quantise

EVERY = tuple(ALL_MEASURES)
FAINT = 76  # 0.298


def left_half(value: int = 255, side: int = 4) -> np.ndarray:
    array = np.zeros((side, side), np.uint8)
    array[:, : side // 2] = value
    return array


def test_a_faint_map_by_hand() -> None:
    """What is 0.298 on the object and 0 elsewhere: perfect for the paper, and no object at 0.5."""
    v, n = FAINT / 255, 16
    found = measure(left_half(FAINT), left_half()).values
    assert tuple(found) == OWN_MEASURES == ("S", "F", "E", "MAE", "Dice", "IoU")
    # the centre, (1.5, 0.5), rounds to row 2 and column 0: the parts are 3 + 1 rows, 1 + 3 columns;
    # those on the left are all object and even, those on the right hold a third of it
    regions = 4 / 16 + 12 / 16 * 4 * v**2 / (1 + v**2) ** 2
    objects = (2 * v / (1 + v**2) + 1) / 2
    assert found["S"] == pytest.approx((objects + regions) / 2, abs=1e-12)
    # 76 thresholds find the object alone, 180 all or nothing, where each pixel is worth a quarter
    assert found["E"] == pytest.approx((76 + 180 / 4) / 256 * n / (n - 1), abs=1e-12)
    assert found["MAE"] == pytest.approx((1 - v) / 2, abs=1e-12)
    assert (found["Dice"], found["IoU"]) == (0, 0)
    assert found["F"] == pytest.approx(1)  # adaptive: it looks for a threshold of its own
    stretched = measure(left_half(FAINT), left_half(), OWN_MEASURES, "benchmark").values
    assert stretched["S"] == pytest.approx(1)
    assert stretched["MAE"] == 0
    assert (stretched["Dice"], stretched["IoU"]) == (0, 0)  # those are of the map as it is


@pytest.mark.parametrize("value", [0, 77, 127, 128, 255])
def test_constant_maps(value: int) -> None:
    mask = left_half()
    found = measure(np.full_like(mask, value), mask, EVERY).values
    assert found["MAE"] == pytest.approx(0.5)
    seen = value >= 128
    assert found["IoU"] == (0.5 if seen else 0)
    assert found["Dice"] == (pytest.approx(2 / 3) if seen else 0)
    # twice its mean is more than it has, but for the brightest; of nothing, nothing is object
    everything = 1.3 * 0.5 / (0.3 * 0.5 + 1)
    assert found["F"] == (pytest.approx(everything) if value == 255 else 0)
    assert all(math.isfinite(number) for number in found.values())


def test_curves_of_every_threshold() -> None:
    """Number i of a curve counts the values of 255 − i and more, to the very level."""
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    mask = np.where(ramp >= 100, 255, 0).astype(np.uint8)
    curves = measure(ramp, mask).curves
    assert curves["recall"][255 - 100] == curves["precision"][255 - 100] == 1
    assert curves["precision"][255 - 99] == 156 / 157
    assert curves["recall"][255 - 101] == 155 / 156
    for level in range(256):
        assert curves["recall"][255 - level] == min(1, (256 - level) / 156)


def test_overlap_is_that_of_the_threshold() -> None:
    mask = left_half()
    map_ = np.full((4, 4), 10, np.uint8)
    map_[0, 0], map_[1, 0], map_[0, 3] = 250, 130, 200
    at = {
        threshold: measure(map_, mask, ["Dice", "IoU"], threshold=threshold).values
        for threshold in (0.03, 0.5, 0.7, 0.9, 1.0)
    }
    assert at[0.03] == {"Dice": 16 / 24, "IoU": 8 / 16}
    assert at[0.5] == {"Dice": 4 / 11, "IoU": 2 / 9}
    assert at[0.7] == {"Dice": 2 / 10, "IoU": 1 / 9}
    assert at[0.9] == {"Dice": 2 / 9, "IoU": 1 / 8}
    assert at[1.0] == {"Dice": 0, "IoU": 0}


def test_cuts() -> None:
    assert [cut_of(t) for t in (0.001, 0.2, 0.5, 0.501, 0.998, 1.0)] == [1, 51, 128, 128, 255, 255]
    for level in range(1, 256):
        assert cut_of(level / 255) == cut_of(round((level - 0.5) / 255, 3)) == level


def test_overlap_is_that_of_what_predict_writes() -> None:
    rng = np.random.default_rng(0)
    probability = rng.random((200, 200), np.float32)
    mask = np.where(rng.random((200, 200)) < probability, 255, 0).astype(np.uint8)

    def by_hand(threshold: float) -> float:
        binary, truth = probability >= threshold, mask > 128
        return float(2 * (binary & truth).sum() / (binary.sum() + truth.sum()))

    map_ = quantise(probability)
    assert measure(map_, mask, ["Dice"]).values["Dice"] == by_hand(0.5)
    for threshold in (0.1, 0.3, 0.77):
        ours = measure(map_, mask, ["Dice"], threshold=threshold).values["Dice"]
        assert ours == pytest.approx(by_hand(threshold), abs=2 / 510)
    best = by_hand(99.5 / 255)  # the thresholds that are suggested cut both alike
    assert measure(map_, mask, ["Dice"], threshold=99.5 / 255).values["Dice"] == best


def test_pictures_without_an_object_are_apart() -> None:
    mask, empty = left_half(side=10), np.zeros((10, 10), np.uint8)
    one_pixel, dim = empty.copy(), np.full_like(empty, 127)
    one_pixel[3, 3] = 128
    alone, both = Measures(), Measures()
    for measures in (alone, both):
        measures.update(left_half(200, 10), mask)
    for map_ in (empty, one_pixel, dim):
        both.update(map_, empty)
    assert len(both) == 4
    assert both.compute() == alone.compute()
    for name, curve in alone.curves().items():
        assert np.array_equal(both.curves()[name], curve)
    mean = (0 + 128 / 255 / 100 + 127 / 255) / 3
    assert both.false_alarms() == pytest.approx(FalseAlarms(3, 1, 0.01 / 3, mean))
    assert alone.false_alarms()[:2] == (0, 0)
    assert both.summary() == {
        **alone.summary(),
        "false_alarm_rate": 1 / 3,
        "false_alarm_area": pytest.approx(0.01 / 3),
        "MAE_without_object": pytest.approx(mean),
        "miss_rate": 0,
        "AUROC": 1,
        "Dice_all": pytest.approx((1 + 2) / 4),
    }
    # the paper's protocol averages over all, and a dim map is white by it
    stretched = Measures(["S", "F"], "benchmark")
    stretched.update(left_half(200, 10), mask)
    stretched.update(one_pixel, empty)
    assert stretched.compute() == pytest.approx({"S": (1 + 0.99) / 2, "F": 0.5}, abs=1e-6)
    assert stretched.summary() == stretched.compute()


def test_a_set_of_pictures_without_objects() -> None:
    measures, empty = Measures(), np.zeros((10, 10), np.uint8)
    for value in (0, 255):
        measures.update(np.full_like(empty, value), empty)
    assert all(math.isnan(value) for value in measures.compute().values())
    assert measures.best_threshold() is None
    assert measures.summary() == {
        "false_alarm_rate": 0.5,
        "false_alarm_area": 0.5,
        "MAE_without_object": 0.5,
    }
    assert measure(empty, empty).values == {"MAE": 0}


def test_the_best_threshold() -> None:
    mask, measures = left_half(), Measures()
    map_ = left_half(80)
    map_[:, 2:] = 40
    measures.update(map_, mask)
    best = measures.best_threshold()
    assert best is not None
    # 41 to 80 are perfect; 80 is the nearest to the middle
    assert best == (round(79.5 / 255, 3), 1, 0, 0)
    assert measure(map_, mask, ["Dice"], threshold=best.threshold).values["Dice"] == 1
    measures.update(np.full_like(mask, 90), np.zeros_like(mask))
    again = measures.best_threshold()
    assert again is not None
    assert again.alarmed == 1
    binary = Measures()
    binary.update(mask, mask)
    assert binary.best_threshold() == (0.5, 1, 1, 0)
    # the mean over pictures, not over pixels: two pictures that want other thresholds
    two = Measures()
    two.update(left_half(200), mask)
    low = left_half(60)
    low[0, 3] = 50
    two.update(low, mask)
    assert two.best_threshold() == (round(59.5 / 255, 3), 1, 0.5, 0)


def test_wrong_settings() -> None:
    mask = left_half()
    with pytest.raises(ConfigError, match="protocol is 'paper', but needs one of raw, benchmark"):
        measure(mask, mask, protocol="paper")  # type: ignore[arg-type]
    for threshold in (0, -1, 1.5, math.nan):
        with pytest.raises(ConfigError, match="threshold is .*, but needs"):
            measure(mask, mask, threshold=threshold)
    with pytest.raises(ValueError, match=r"mask is \(4, 4\) and its ignored pixels \(4, 3\)"):
        Truth(mask, np.ones((4, 3), bool))


# -- ignored pixels


def scene(seed: int, height: int = 40, width: int = 50) -> tuple[np.ndarray, np.ndarray]:
    """A noisy map and its mask, whose object keeps away from the border."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((height, width), np.uint8)
    mask[12:26, 15:33] = 255
    mask[18:22, 20:24] = 0
    return (mask * 0.5 + rng.uniform(0, 120, mask.shape)).astype(np.uint8), mask


@pytest.mark.parametrize("protocol", ["raw", "benchmark"])
@pytest.mark.parametrize("kind", ["noise", "border", "through the object", "beside the object"])
def test_nothing_under_ignored_pixels_counts(protocol: str, kind: str) -> None:
    map_, mask = scene(1)
    rng = np.random.default_rng(2)
    ignored = np.zeros(mask.shape, bool)
    if kind == "noise":
        ignored = rng.random(mask.shape) < 0.2
    elif kind == "border":
        ignored[:, :6] = ignored[34:] = True
    elif kind == "through the object":
        ignored[15:20] = True
    else:
        ignored[10:28, 33:36] = True
    before = measure(map_, Truth(mask, ignored), EVERY, protocol)  # type: ignore[arg-type]
    assert len(before.values) == len(EVERY)
    whole = measure(map_, mask, EVERY, protocol)  # type: ignore[arg-type]
    assert before.values["MAE"] != whole.values["MAE"]
    for value, label in ((0, 255), (255, 0), (None, None)):
        other, labels = map_.copy(), mask.copy()
        count = int(ignored.sum())
        other[ignored] = rng.integers(0, 256, count) if value is None else value
        labels[ignored] = rng.choice([0, 255], count) if label is None else label
        after = measure(other, Truth(labels, ignored), EVERY, protocol)  # type: ignore[arg-type]
        assert after.values == before.values
        for name, curve in before.curves.items():
            assert np.array_equal(after.curves[name], curve)
        assert np.array_equal(after.dice, before.dice)


@pytest.mark.parametrize("protocol", ["raw", "benchmark"])
@pytest.mark.parametrize(
    "kept",
    [np.s_[:, 6:], np.s_[:34], np.s_[4:, :45], np.s_[5:33, 8:41]],
    ids=["left", "below", "above and right", "all around"],
)
def test_an_ignored_border_is_as_if_it_were_cut_off(
    protocol: str, kept: tuple[slice, slice]
) -> None:
    map_, mask = scene(3)
    ignored = np.ones(mask.shape, bool)
    ignored[kept] = False
    keys = [key for key in EVERY if key != "BIoU"]  # its width is a share of the whole diagonal
    found = measure(map_, Truth(mask, ignored), keys, protocol).values  # type: ignore[arg-type]
    cut = measure(map_[kept], mask[kept], keys, protocol).values  # type: ignore[arg-type]
    assert found == pytest.approx(cut, abs=1e-12)


def test_ignored_pixels_make_no_boundary() -> None:
    mask = np.zeros((100, 100), np.uint8)  # a boundary is three pixels wide
    mask[20:80, 20:80] = 255
    ignored = np.zeros((100, 100), bool)
    ignored[:, 50:] = True
    right = mask.copy()
    right[:, 50:] = 0
    assert Truth(right, ignored).boundary.sum() == 60 * 30 - 54 * 27
    assert not Truth(right, ignored).boundary[30:70, 40:].any()
    assert measure(right, Truth(mask, ignored), ["BIoU"]).values["BIoU"] == 1


def test_no_ignored_pixel_changes_nothing() -> None:
    map_, mask = scene(4)
    for ignored in (None, np.zeros(mask.shape, bool), np.zeros(mask.shape, np.uint8)):
        truth = Truth(mask, ignored)
        assert truth.counted is None
        assert measure(map_, truth, EVERY).values == measure(map_, mask, EVERY).values


def test_an_object_that_is_wholly_ignored_is_none() -> None:
    map_, mask = scene(5)
    one = measure(map_, Truth(mask, mask > 0))
    assert set(one.values) == {"MAE"}
    assert one.alarm is not None
    assert one.alarm.highest == map_[mask == 0].max()
    measures = Measures()
    measures.update(map_, mask, np.ones_like(mask))  # nothing counts
    assert len(measures) == 0


# -- folders and the command


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Maps of three pictures with an object, and of two without."""
    monkeypatch.chdir(tmp_path)
    for name in ("maps", "masks"):
        Path(name).mkdir()
    for number in range(5):
        map_, mask = scene(number)
        if number > 2:
            mask[:] = 0
            map_[:] = 100
        if number == 4:
            map_[:4] = 200
        Image.fromarray(map_).save(f"maps/{number}.png")
        Image.fromarray(mask).save(f"masks/{number}.png")
    return tmp_path


def test_evaluate(folders: Path) -> None:
    found = dsunet.evaluate("maps", "masks")
    few = dsunet.evaluate("maps", "masks", ["0", "1", "2"])
    assert {key: found[key] for key in OWN_MEASURES} == {key: few[key] for key in OWN_MEASURES}
    assert (found["images"], found["without_object"], found["false_alarms"]) == (5, 2, 1)
    assert found["false_alarm_area"] == pytest.approx(0.1 / 2)
    assert found["MAE_without_object"] == pytest.approx((100 + 110) / 2 / 255)
    assert set(few) == {*OWN_MEASURES, "images", "without_object", "false_alarms"}
    assert dsunet.evaluate("maps", "masks", threshold=0.3)["false_alarms"] == 2
    paper = dsunet.evaluate("maps", "masks", protocol="benchmark")
    assert set(paper) == {"S", "F", "E", "MAE", "images"}
    assert paper["F"] < found["F"]  # for two pictures it is 0


def test_the_command_tells_of_false_alarms_and_the_best_threshold(
    folders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = "evaluate --predictions maps --masks masks --json a.json --csv a.csv --workers 1"
    assert main(call.split()) == 0
    shown = capsys.readouterr().out
    assert "Dice ↑" in shown
    assert "maps are measured as they are; Dice and IoU at 0.5 (--threshold)" in shown
    assert "1 of 2 images without an object (50.0 %) have a false alarm" in shown
    content = json.loads(Path("a.json").read_text())
    best = content["best_threshold"]
    assert f"best threshold: {best['threshold']:g} (--threshold), with a mean Dice of" in shown
    assert best["Dice"] > best["Dice_in_use"] == pytest.approx(content["Dice"])
    assert main([*call.split(), "--threshold", str(best["threshold"])]) == 0
    assert json.loads(Path("a.json").read_text())["Dice"] == pytest.approx(best["Dice"])
    assert Path("a.csv").read_text().splitlines()[4].startswith("3,,,,0.39")
    assert main([*call.split(), "--protocol", "benchmark"]) == 0
    shown = capsys.readouterr().out
    assert "stretched to its full range first, as the paper does" in shown
    assert "2 masks are empty; F is 0 for them" in shown
    assert main([*call.split(), "--threshold", "0"]) == 1
    assert "threshold is 0.0, but needs (0, 1]" in capsys.readouterr().err


def test_the_command_says_when_there_is_nothing_to_measure(
    folders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("list.txt").write_text("3\n4\n")
    call = "evaluate --predictions maps --masks masks --list list.txt --json a.json --csv a.csv"
    assert main(call.split()) == 0
    shown = capsys.readouterr().out
    assert "no mask has an object: the measures cannot say anything of such a set" in shown
    assert "–" in shown
    assert "nan" not in shown
    assert "best threshold" not in shown
    content = json.loads(Path("a.json").read_text())
    assert content["S"] is None
    assert (content["false_alarms"], content["best_threshold"]) == (1, None)
    assert Path("a.csv").read_text().splitlines()[-1] == "mean,,,,,,"


def test_folders_leave_ignored_pixels_out(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As masks are read, so they are measured by."""
    border = np.zeros((40, 50), np.uint8)
    border[:, :6] = 255
    read, told = comparison.read_labels, MaskReading(object_values="255")

    def with_border(source: Path, reading: object) -> Labels:
        assert reading is told
        mask = read(source).mask
        nothing = source.stem == "2"
        return Labels(mask, Image.fromarray(np.full_like(border, 255) if nothing else border))

    monkeypatch.setattr(comparison, "read_labels", with_border)
    result = evaluate_folders("maps", "masks", reading=told)
    assert list(result.failures) == ["2"]
    assert "2.png: all its pixels are ignored" in result.failures["2"]
    for name in ("0", "1"):
        map_, mask = scene(int(name))
        expected = measure(map_[:, 6:], mask[:, 6:]).values
        assert result.per_image[name] == pytest.approx(expected, abs=1e-12)
    assert result.false_alarms.area == pytest.approx(0.1 / 2)
