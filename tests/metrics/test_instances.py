"""Objects found, missed and invented: by hand, and as public implementations have it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pyaupro._reference import compute_pro
from pycocotools import mask as coco
from pycocotools.cocoeval import COCOeval
from scipy import ndimage
from sklearn.metrics import auc
from torchmetrics.functional.detection import panoptic_quality

from dsunet.cli import main
from dsunet.metrics import Truth, evaluate_folders
from dsunet.metrics.instances import ImageObjects, match_objects, object_scores

SIZE = (12, 20)


def boxed(*boxes: tuple[int, int, int, int], value: int = 255) -> np.ndarray:
    """12×20 uint8 with boxes: left, top, width and height."""
    levels = np.zeros(SIZE, np.uint8)
    for left, top, width, height in boxes:
        levels[top : top + height, left : left + width] = value
    return levels


def matched(levels: np.ndarray, mask: np.ndarray, least: int = 0) -> ImageObjects:
    return match_objects(levels, Truth(mask), 0.5, least)


def blobs(seed: int, size: tuple[int, int] = (60, 80)) -> tuple[np.ndarray, np.ndarray]:
    """A map, and a mask that is like it here and there."""
    rng = np.random.default_rng(seed)
    shared, own = (ndimage.gaussian_filter(rng.normal(size=size), 2.5) for _ in range(2))
    mask = shared > 0.1
    levels = (255 / (1 + np.exp(-12 * (shared + 0.35 * own - 0.1)))).astype(np.uint8)
    return levels, mask.astype(np.uint8) * 255


def test_by_hand() -> None:
    """One found, one found too small, one missed, two invented."""
    mask = boxed((1, 1, 4, 4), (8, 1, 4, 4), (15, 8, 3, 3))
    levels = boxed((1, 1, 4, 3), (8, 1, 4, 1), (1, 9, 2, 1))
    one = matched(levels, mask)
    assert (one.found, one.missed, one.invented) == ((16,), (16, 9), (4, 2))
    scores = object_scores([one], 0.5)
    assert scores.precision == pytest.approx(1 / 3)
    assert scores.recall == pytest.approx(1 / 3)
    assert scores.f1 == pytest.approx(2 / 6)
    fewer = matched(levels, mask, least=3)
    assert fewer.invented == (4,)
    assert matched(levels, mask, least=13).found == ()  # an object that is left out finds nothing


def test_half_is_enough() -> None:
    whole = boxed((2, 2, 8, 4))
    one = matched(boxed((2, 2, 4, 4)), whole)
    assert (one.found, one.missed, one.invented) == ((32,), (), ())
    less = boxed((2, 2, 4, 4))
    less[2, 2] = 0
    one = matched(less, whole)
    assert (one.found, one.missed, one.invented) == ((), (32,), (15,))


def test_nobody_has_two_partners() -> None:
    """Small regions at random, of which many have just half in common."""
    rng = np.random.default_rng(0)
    halves = 0
    for _ in range(300):
        mask, levels = (rng.random((2, 6, 8)) < 0.3).astype(np.uint8) * 255
        one = matched(levels, mask)
        count = ndimage.label(levels, np.ones((3, 3)))[1]
        assert len(one.found) + len(one.invented) == count
        truth, own = (ndimage.label(each, np.ones((3, 3)))[0] for each in (mask, levels))
        halves += just_half(truth, own)
    assert halves > 20


def just_half(truth: np.ndarray, own: np.ndarray) -> int:
    """How many pairs of numbered regions have an IoU of 0.5, not more and not less."""
    return sum(
        2 * int(np.sum((truth == i) & (own == j))) == int(np.sum((truth == i) | (own == j)))
        for i in range(1, truth.max() + 1)
        for j in range(1, own.max() + 1)
    )


def test_nothing_to_find_and_nothing_found() -> None:
    empty = matched(boxed((1, 1, 2, 2)), boxed())
    assert (empty.found, empty.missed, empty.invented) == ((), (), (4,))
    scores = object_scores([empty], 0.5)
    assert scores.precision == 0
    assert math.isnan(scores.recall)
    assert math.isnan(scores.pro)
    assert scores.to_dict()["recall"] is None
    silent = object_scores([matched(boxed(), boxed((1, 1, 2, 2)))], 0.5)
    assert math.isnan(silent.precision)
    assert (silent.recall, silent.f1, silent.pro) == (0, 0, pytest.approx(0.15))
    none = object_scores([matched(boxed(), boxed())], 0.5)
    assert all(math.isnan(value) for value in (none.precision, none.recall, none.f1))


def test_ignored_pixels_count_neither_way() -> None:
    ignored = boxed((0, 6, 20, 6)).astype(bool)
    truth = Truth(boxed((1, 1, 4, 4), (1, 8, 4, 4)), ignored)
    one = match_objects(boxed((1, 1, 4, 4), (10, 8, 4, 4)), truth, 0.5)
    assert (one.found, one.missed, one.invented) == ((16,), (), ())
    assert one.background.sum() == 6 * 20 - 16


def test_pro_by_hand() -> None:
    """A small and a large region weigh the same."""
    mask = boxed((0, 0, 2, 2), (5, 0, 10, 4))
    levels = boxed((0, 0, 2, 2)) // 255 * 250  # the small one alone
    # 0.5 without a false positive, then straight to all of it at a rate of 1
    at_limit = 0.5 + 0.5 * 0.3
    expected = (0.5 + at_limit) / 2
    assert object_scores([matched(levels, mask)], 0.5).pro == pytest.approx(expected)
    assert object_scores([matched(mask, mask)], 0.5).pro == pytest.approx(1)


@pytest.mark.parametrize("seed", range(4))
def test_pro_is_mvtecs(seed: int) -> None:
    """Their evaluation code, as the package pyaupro has it; one picture has no object."""
    maps, masks = zip(*(blobs(seed + n) for n in range(0, 40, 10)), strict=True)
    masks = (*masks[:-1], np.zeros_like(masks[-1]))
    rates, overlaps = compute_pro(list(maps), [(mask > 0).astype(np.uint8) for mask in masks])
    # as theirs, and unlike the package, the area ends on the line to the next point
    x = np.linspace(0, 0.3, 300_001)
    theirs = auc(x, np.interp(x, rates, overlaps)) / 0.3
    every = [match_objects(map_, Truth(mask), 0.5) for map_, mask in zip(maps, masks, strict=True)]
    assert object_scores(every, 0.5).pro == pytest.approx(theirs, abs=1e-5)
    assert 0.2 < theirs < 0.99


@pytest.mark.parametrize("seed", range(6))
def test_matches_are_cocos_and_f1_is_panoptic_recognition(seed: int) -> None:
    """Both public implementations match by themselves."""
    levels, mask = blobs(seed)
    one = matched(levels, mask)
    assert one.found
    assert one.missed
    assert one.invented
    truth, own = (ndimage.label(each, np.ones((3, 3)))[0] for each in (mask > 0, levels >= 128))
    theirs = coco_matches(truth, own)
    assert theirs == (len(one.found), len(one.missed), len(one.invented))
    quality = panoptic_quality(
        *(torch.tensor(np.stack((each > 0, each), -1))[None].int() for each in (own, truth)),
        things={1},
        stuffs={0},
        return_sq_and_rq=True,
        return_per_class=True,
    )
    # which wants more than half, where COCO takes just half, too
    halves = just_half(truth, own)
    both = truth.max() + own.max()
    assert object_scores([one], 0.5).f1 == pytest.approx(float(quality[0, 2]) + 2 * halves / both)


def coco_matches(truth: np.ndarray, own: np.ndarray) -> tuple[int, int, int]:
    """Found, missed and invented objects at an IoU of 0.5, by COCO's evaluation."""
    judged = COCOeval(iouType="segm")
    judged.params.iouThrs = np.array([0.5])
    judged.params.imgIds, judged.params.catIds = [1], [1]

    def entries(labels: np.ndarray) -> list[dict[str, Any]]:
        return [
            {
                "id": number,
                "segmentation": coco.encode(np.asfortranarray(labels == number).view(np.uint8)),
                "area": float((labels == number).sum()),
                "iscrowd": 0,
                "ignore": 0,
                "score": 1.0,
            }
            for number in range(1, labels.max() + 1)
        ]

    judged._gts[1, 1], judged._dts[1, 1] = entries(truth), entries(own)
    judged.ious = {(1, 1): judged.computeIoU(1, 1)}
    found = judged.evaluateImg(1, 1, [0, 1e9], 1000)
    hits = int((found["dtMatches"][0] > 0).sum())
    return hits, len(found["gtIds"]) - hits, len(found["dtIds"]) - hits


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    maps, masks = tmp_path / "maps", tmp_path / "masks"
    maps.mkdir()
    masks.mkdir()
    for name, (levels, mask) in {
        "a": (boxed((1, 1, 4, 3), (15, 9, 2, 1)), boxed((1, 1, 4, 4), (8, 1, 4, 4))),
        "b": (boxed((3, 3, 5, 5)), boxed((3, 3, 5, 5))),
        "empty": (boxed((9, 9, 3, 3)), boxed()),
    }.items():
        Image.fromarray(levels).save(maps / f"{name}.png")
        Image.fromarray(mask).save(masks / f"{name}.png")
    return maps, masks


def test_evaluate_objects(
    folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    maps, masks = map(str, folders)
    files = ["--json", str(tmp_path / "s.json"), "--csv", str(tmp_path / "s.csv")]
    call = ["evaluate", "--predictions", maps, "--masks", masks, *files]
    assert main(call) == 0
    plain, before = capsys.readouterr().out, (tmp_path / "s.csv").read_text()
    assert "PRO" not in plain
    assert "objects" not in json.loads((tmp_path / "s.json").read_text())
    assert main([*call, "--objects"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert said.startswith(" ".join(plain.split()))
    assert "2 of 3 objects found (IoU from 0.5); 2 more are none" in said
    assert "found: 16 to 25 px, median 20.5" in said
    assert "missed: 16 px" in said
    content = json.loads((tmp_path / "s.json").read_text())["objects"]
    assert content["precision"] == pytest.approx(0.5)
    assert content["recall"] == pytest.approx(2 / 3)
    assert content["F1"] == pytest.approx(4 / 7)
    assert (content["found"], content["missed"], content["invented"]) == (2, 1, 2)
    assert content["pixels"]["found"] == {"least": 16, "median": 20.5, "largest": 25}
    assert content["per_image"]["a"] == {"found": 1, "missed": 1, "invented": 1}
    assert content["per_image"]["empty"] == {"found": 0, "missed": 0, "invented": 1}
    table = [line.split(",") for line in (tmp_path / "s.csv").read_text().splitlines()]
    assert table[0][-3:] == ["found", "missed", "invented"]
    assert [row[-3:] for row in table[1:]] == [
        ["1", "1", "1"],
        ["1", "0", "0"],
        ["0", "0", "1"],
        ["2", "1", "2"],
    ]
    assert [row[:-3] for row in table] == [line.split(",") for line in before.splitlines()]
    assert main([*call, "--objects", "--min-area", "3"]) == 0
    assert "1 more are none" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--min-area", "3"], "--min-area is about objects: give --objects, too"),
        (["--objects", "--min-area", "-1"], "--min-area is -1, but needs at least 0"),
        (["--objects", "--protocol", "benchmark"], "objects are those of maps as they are"),
    ],
)
def test_flags_that_do_not_go_together(
    folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str], flags: list[str], line: str
) -> None:
    maps, masks = map(str, folders)
    assert main(["evaluate", "--predictions", maps, "--masks", masks, *flags]) == 1
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1
    assert line in said[0]


def test_maps_of_another_size_are_resized_first(folders: tuple[Path, Path]) -> None:
    maps, masks = folders
    with Image.open(maps / "b.png") as levels:
        levels.resize((40, 24), Image.Resampling.NEAREST).save(maps / "b.png")
    result = evaluate_folders(maps, masks, objects=True)
    assert result.resized == ["b"]
    assert result.objects is not None
    assert len(result.objects.found) == 2
