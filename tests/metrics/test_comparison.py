"""Several methods' folders in one pass: as each alone, over the images that all can be read for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dsunet.data.synthetic import synthetic_pair
from dsunet.errors import DataError, ImageError
from dsunet.metrics import ALL_MEASURES, CURVES, ObjectFacts, compare_folders, evaluate_folders

COUNT = 6


def save(array: np.ndarray, path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(array).save(path)


def make(root: Path, count: int = COUNT) -> dict[str, Path]:
    """Masks, and two methods' maps of them."""
    rng = np.random.default_rng(0)
    for number in range(count):
        mask = np.array(synthetic_pair(number, 40)[1])
        save(mask, root / "masks" / f"{number:02d}.png")
        for method, share in (("good", 0.8), ("poor", 0.4)):
            map_ = share * mask + rng.uniform(0, 255 * (1 - share), mask.shape)
            save(map_.astype(np.uint8), root / method / f"{number:02d}.png")
    return {method: root / method for method in ("good", "poor")}


def test_as_each_method_alone(tmp_path: Path) -> None:
    methods, masks = make(tmp_path), tmp_path / "masks"
    result = compare_folders(methods, masks)
    assert list(result.evaluations) == ["good", "poor"]
    assert result.names == [f"{number:02d}" for number in range(COUNT)]
    for method, evaluation in result.evaluations.items():
        alone = evaluate_folders(methods[method], masks, measures=tuple(ALL_MEASURES))
        assert evaluation == alone
        assert list(evaluation.scores) == list(ALL_MEASURES)
        for name in CURVES:
            assert np.array_equal(evaluation.curves[name], alone.curves[name])
    good, poor = result.evaluations.values()
    assert good.scores["S"] > poor.scores["S"]
    assert good.scores["MAE"] < poor.scores["MAE"]


def test_processes_change_nothing(tmp_path: Path) -> None:
    methods = make(tmp_path, 34)
    seen: list[tuple[int, int]] = []
    alone = compare_folders(methods, tmp_path / "masks")
    shared = compare_folders(
        methods, tmp_path / "masks", progress=lambda *n: seen.append(n), workers=2
    )
    assert shared == alone
    for method, evaluation in alone.evaluations.items():
        for name, curve in evaluation.curves.items():
            assert np.array_equal(shared.evaluations[method].curves[name], curve)
    assert seen == [(n, 34) for n in range(1, 35)]


def test_a_broken_map_counts_for_no_method(tmp_path: Path) -> None:
    methods, masks = make(tmp_path), tmp_path / "masks"
    (methods["poor"] / "02.png").write_bytes(b"no image")
    result = compare_folders(methods, masks, measures=["S", "Fmax"])
    others = [name for name in (f"{number:02d}" for number in range(COUNT)) if name != "02"]
    assert result.names == list(result.objects) == others
    assert result.left_out == ["02"]
    good, poor = result.evaluations.values()
    assert list(poor.failures) == ["02"]
    assert "02.png: not a readable image" in poor.failures["02"]
    assert good.failures == {}
    for method, evaluation in result.evaluations.items():
        assert list(evaluation.per_image) == others
        fewer = evaluate_folders(methods[method], masks, others, measures=["S", "Fmax"])
        assert evaluation.scores == fewer.scores
    (masks / "03.png").write_bytes(b"no mask")
    result = compare_folders(methods, masks, measures=["S"])
    assert result.left_out == ["02", "03"]
    assert [list(one.failures) for one in result.evaluations.values()] == [["03"], ["02", "03"]]


def test_nothing_can_be_measured(tmp_path: Path) -> None:
    methods = make(tmp_path)
    for number, file in enumerate(sorted(tmp_path.glob("*/*.png"))):
        if file.parent.name != "masks" and (file.parent.name == "good") == bool(number % 2):
            file.write_bytes(b"no image")
    with pytest.raises(ImageError, match="no image could be measured with every method; the first"):
        compare_folders(methods, tmp_path / "masks")


def test_what_lacks_is_named_for_every_method(tmp_path: Path) -> None:
    methods, masks = make(tmp_path), tmp_path / "masks"
    (methods["good"] / "01.png").unlink()
    save(np.zeros((4, 4), np.uint8), methods["poor"] / "extra.png")
    with pytest.raises(DataError, match=r"masks \(01\).*1 only in .*poor \(extra\)"):
        compare_folders(methods, masks)
    assert compare_folders(methods, masks, ["00", "05"]).names == ["00", "05"]
    with pytest.raises(DataError, match=r"good lacks 1 of the 2 names in the list \(01\)"):
        compare_folders(methods, masks, ["00", "01"])
    with pytest.raises(ValueError, match="no method is given"):
        compare_folders({}, masks)
    with pytest.raises(ValueError, match="there is no measure X"):
        compare_folders(methods, masks, measures=["X"])


def test_objects_are_described(tmp_path: Path) -> None:
    mask = np.zeros((20, 30), np.uint8)
    mask[2:5, 2:6] = 255  # 12 pixels, and one that touches them by a corner
    mask[5, 6] = 255
    mask[10, 10:20] = 129  # 10 more; 128 is background
    mask[15, 15] = 128
    save(mask, tmp_path / "masks" / "a.png")
    save(np.zeros((20, 30), np.uint8), tmp_path / "masks" / "b.png")
    for stem in "ab":
        save(mask, tmp_path / "maps" / f"{stem}.png")
    methods = {"one": tmp_path / "maps"}
    with pytest.raises(DataError, match="129"):
        compare_folders(methods, tmp_path / "masks")
    result = compare_folders(methods, tmp_path / "masks", protocol="benchmark")
    assert result.objects["a"] == ObjectFacts(23 / 600, 2, 20, 30)
    assert result.objects["b"] == ObjectFacts(0, 0, 20, 30)
    assert result.evaluations["one"].empty == ["b"]


def test_other_sizes_are_flagged_per_method(tmp_path: Path) -> None:
    methods, masks = make(tmp_path), tmp_path / "masks"
    save(np.zeros((20, 20), np.uint8), methods["poor"] / "00.png")
    good, poor = compare_folders(methods, masks).evaluations.values()
    assert (good.resized, poor.resized) == ([], ["00"])


def test_files_hold_what_was_asked_for(tmp_path: Path) -> None:
    methods, masks = make(tmp_path), tmp_path / "masks"
    result = evaluate_folders(methods["good"], masks, measures=["Fw", "MAE"])
    result.write_csv(tmp_path / "scores.csv")
    lines = (tmp_path / "scores.csv").read_text().splitlines()
    assert lines[0] == "image,Fw,MAE"
    assert lines[-1] == f"mean,{result.scores['Fw']!r},{result.scores['MAE']!r}"
    counts = {"images": COUNT, "without_object": 0, "false_alarms": 0}
    assert result.to_dict() == {**result.scores, **counts}
