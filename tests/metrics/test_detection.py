"""Whether there is an object in a picture: scores, AUROC, misses, against values worked out."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from dsunet.metrics import Measures
from dsunet.metrics.detection import Detection, auroc, describe_detection, score_of_map


def test_a_score_is_the_mean_of_the_highest_thousandth() -> None:
    map_ = np.zeros((50, 60), np.uint8)  # 3,000 pixels, of which 3 count
    assert score_of_map(map_) == 0
    map_[4, 4] = 255
    assert score_of_map(map_) == pytest.approx(1 / 3)
    map_[4, 5:7] = 204, 51
    assert score_of_map(map_) == pytest.approx((1 + 0.8 + 0.2) / 3)
    map_[10:20] = 255
    assert score_of_map(map_) == 1
    assert score_of_map(np.full((3, 3), 102, np.uint8)) == pytest.approx(0.4)  # of one at least


SCORES = st.lists(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.7, 1.0]), min_size=1, max_size=30)


@given(SCORES, SCORES)
def test_auroc_is_that_of_scikit_learn(objects: list[float], empties: list[float]) -> None:
    truth = [1] * len(objects) + [0] * len(empties)
    expected = roc_auc_score(truth, [*objects, *empties])
    assert auroc(objects, empties) == pytest.approx(expected, abs=1e-12)


def test_pictures_of_one_kind_have_no_auroc() -> None:
    assert math.isnan(auroc([0.5], []))
    assert math.isnan(auroc([], [0.5]))


def test_measures_tell_the_two_kinds_apart() -> None:
    mask, empty = np.zeros((10, 10), np.uint8), np.zeros((10, 10), np.uint8)
    mask[:, :5] = 255
    faint, loud = np.full_like(mask, 60), np.full_like(mask, 90)
    loud[0, 0] = 200
    measures = Measures()
    measures.update(mask, mask)  # found as it is: score 1, Dice 1
    measures.update(faint, mask)  # missed: score 60 / 255
    measures.update(empty, empty)  # silent: 0
    measures.update(loud, empty)  # an alarm: 200 / 255
    found = measures.detection()
    assert found == Detection(2, 1, 2, 1, auroc([1, 60 / 255], [0, 200 / 255]))
    assert found.auroc == 0.75
    assert found.miss_rate == 0.5
    summary = measures.summary()
    assert summary["miss_rate"] == 0.5
    assert summary["AUROC"] == 0.75
    assert summary["Dice_all"] == pytest.approx((1 + 0 + 1 + 0) / 4)
    assert describe_detection(found) == (
        "1 of 2 images with an object (50.0 %) have nothing at the threshold; scores of images "
        "tell the two kinds apart with an AUROC of 0.7500"
    )


def test_ignored_pixels_have_no_part_in_a_score() -> None:
    mask, map_, ignored = (np.zeros((10, 10), np.uint8) for _ in range(3))
    map_[0, 0], map_[5, 5], ignored[0, 0] = 255, 51, 1
    measures = Measures()
    measures.update(map_, mask, ignored)
    measures.update(np.full_like(mask, 30), np.full_like(mask, 255))
    assert measures.detection().alarmed == 0
    assert measures.detection().auroc == 0  # 30 / 255 below 51 / 255
