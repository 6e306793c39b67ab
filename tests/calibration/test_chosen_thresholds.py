"""Thresholds chosen on maps whose best ones can be seen."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dsunet.calibration import Calibration, Observed, Wanted, choose, observe
from dsunet.calibration.thresholds import _Curve
from dsunet.errors import ConfigError, DataError
from dsunet.metrics.inputs import Truth


def seen(object_: int, around: int, *, empty: bool = False) -> Observed:
    """A map of two grey values, the first on the object (or on a few pixels, if there is none)."""
    mask, map_ = np.zeros((20, 20), np.uint8), np.full((20, 20), around, np.uint8)
    map_[:5] = object_
    if not empty:
        mask[:5] = 255
    return observe(map_, Truth(mask))


def chosen(*pictures: Observed, **wanted: object) -> Calibration:
    return choose(pictures, Wanted(**wanted))  # type: ignore[arg-type]


def test_the_best_overlap() -> None:
    found = chosen(seen(100, 60), seen(90, 20))
    # 61 to 90 are perfect; 90 is the nearest to the middle
    assert found.threshold == round(89.5 / 255, 3)
    assert found.interval[0] <= found.threshold <= found.interval[1]
    assert found.after.dice == 1
    assert found.before.dice == 0
    assert found.before.detection.missed == 2
    assert found.image_threshold is None
    assert "image_threshold" not in found.to_dict()
    assert found.to_dict()["pictures"] == {"with_object": 2, "without": 0}


@pytest.mark.parametrize("by", ["Dice", "IoU", "F"])
def test_the_mean_over_pictures_decides(by: str) -> None:
    # the second picture has whites around its object: the higher the better, but for the third
    found = chosen(seen(200, 10), seen(220, 120), seen(140, 10), by=by)
    assert found.threshold == round(128.5 / 255, 3) or found.threshold == round(127.5 / 255, 3)
    assert found.after.dice == 1


def test_a_wanted_recall() -> None:
    pictures = [seen(200, 0), seen(150, 0), seen(100, 0), seen(50, 0)]
    for recall, grey in ((1, 50), (0.76, 50), (0.75, 100), (0.5, 150), (0.1, 200), (0, 255)):
        found = chosen(*pictures, recall=recall)
        assert found.threshold == pytest.approx((grey - 0.5) / 255, abs=6e-4)
    with pytest.raises(DataError, match=r"no threshold comes to a recall of 0\.9: the lowest one"):
        chosen(seen(0, 0), seen(200, 0), recall=0.9)


def test_a_wanted_false_alarm_rate() -> None:
    empties = [seen(grey, 0, empty=True) for grey in (10, 100, 150, 200)]
    for rate, grey in ((1, 1), (0.75, 11), (0.5, 101), (0.3, 151), (0.25, 151), (0, 201)):
        found = chosen(*empties, false_alarm_rate=rate)
        assert found.threshold == pytest.approx((grey - 0.5) / 255, abs=6e-4)
        assert found.after.detection.alarmed <= rate * 4
        assert math.isnan(found.after.dice)
        assert "Dice" not in found.to_dict()["at_threshold"]
    with pytest.raises(DataError, match=r"at the highest one 0\.500 of the pictures"):
        chosen(seen(255, 0, empty=True), empties[0], false_alarm_rate=0.1)


def test_scores_tell_pictures_apart() -> None:
    objects = [seen(grey, 0) for grey in (250, 200, 150)]
    empties = [seen(grey, 0, empty=True) for grey in (40, 100, 160)]
    found = chosen(*objects, *empties)
    # three found of three and one alarm of three, or two found and none: the first is as good, and
    # nearer to the middle
    assert found.image_threshold == pytest.approx((100 + 150) / 2 / 255)
    assert found.abstaining is not None
    assert found.abstaining.detection[:4] == (3, 0, 3, 1)
    told = found.to_dict()
    assert told["AUROC"] == round(8 / 9, 4)
    assert told["image_interval"][0] <= told["image_threshold"] <= told["image_interval"][1]
    none = chosen(*objects, *empties, false_alarm_rate=0)
    assert none.image_threshold == pytest.approx((160 + 200) / 2 / 255)
    assert none.abstaining is not None
    assert none.abstaining.detection[:4] == (3, 1, 3, 0)
    all_ = chosen(*objects, *empties, recall=1)
    assert all_.image_threshold == pytest.approx((100 + 150) / 2 / 255)


def test_scores_that_are_all_white() -> None:
    found = chosen(seen(255, 0), seen(255, 0, empty=True), false_alarm_rate=1)
    assert found.image_threshold == 0
    none = chosen(seen(255, 0), seen(10, 0, empty=True), false_alarm_rate=0)
    assert none.image_threshold == pytest.approx(265 / 2 / 255)


def test_the_bootstrap_is_of_pictures() -> None:
    """A cut that hangs on one picture of many has an interval that says so."""
    alike = [seen(100, 60)] * 20
    assert chosen(*alike).interval == (round(99.5 / 255, 3),) * 2
    mixed = chosen(*[seen(100, 60)] * 10, *[seen(220, 130)] * 10)
    assert mixed.interval[1] - mixed.interval[0] > 0.1
    assert mixed == chosen(*[seen(100, 60)] * 10, *[seen(220, 130)] * 10)  # a function of the seed
    rows = np.array([[0, 0.2, 1, 0.9], [0, 1, 0.4, 0.9]])
    rows = np.hstack([rows, np.zeros((2, 252))])
    weights = np.array([[1, 1], [2, 0], [0, 2]], np.float64)
    assert _Curve(rows, None, None).cuts(weights).tolist() == [3, 2, 1]


def test_what_cannot_be_chosen() -> None:
    with pytest.raises(DataError, match="no picture has an object.*`false_alarm_rate`"):
        chosen(seen(10, 0, empty=True))
    with pytest.raises(DataError, match="needs pictures without an object, but every mask has one"):
        chosen(seen(10, 0), false_alarm_rate=0.1)
    with pytest.raises(ConfigError, match="excludes `false_alarm_rate`"):
        Wanted(recall=0.5, false_alarm_rate=0.1)
    with pytest.raises(ConfigError, match="recall is 1.5, but needs 0 to 1"):
        Wanted(recall=1.5)
    with pytest.raises(ConfigError, match="by is 'S'"):
        Wanted(by="S")  # type: ignore[arg-type]


def test_scores_that_tell_nothing() -> None:
    found = chosen(seen(50, 0), seen(200, 0, empty=True))
    assert found.image_threshold == 0
    assert found.abstaining is not None
    assert found.abstaining == found.after


def test_a_rate_that_only_scores_come_to() -> None:
    loud = seen(255, 0, empty=True)  # its highest pixels are white, but few
    few = Observed({}, 255, 0.4)
    found = chosen(seen(200, 0), seen(220, 0), few, false_alarm_rate=0)
    assert found.by_image_alone
    assert found.after.dice == 1
    assert found.after.detection.alarmed == 1
    assert found.image_threshold == pytest.approx((0.4 + 200 / 255) / 2)
    assert found.abstaining is not None
    assert found.abstaining.detection[:4] == (2, 0, 1, 0)
    assert found.to_dict()["by"] == "Dice"
    with pytest.raises(DataError, match="no threshold comes to a false-alarm rate"):
        chosen(loud, false_alarm_rate=0)
