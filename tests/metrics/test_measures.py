"""Every measure equals PySODMetrics' to the last digit, whatever the mask and the map."""

from __future__ import annotations

import functools
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator

import cv2
import numpy as np
import py_sod_metrics
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dsunet.data.synthetic import synthetic_pair
from dsunet.metrics import ALL_MEASURES, CURVES, MEASURES, Truth, weighted
from dsunet.metrics import Measures as AnyMeasures
from dsunet.metrics import boundary as boundaries
from dsunet.metrics import measure as any_measure
from dsunet.metrics.boundary import boundary, boundary_iou
from helpers import SHARED

EVERY = tuple(key for key in ALL_MEASURES if key not in ("Dice", "IoU"))  # those of a threshold
measure = functools.partial(any_measure, protocol="benchmark")
Measures = functools.partial(AnyMeasures, protocol="benchmark")
HANDLERS = {
    "Dice": py_sod_metrics.DICEHandler,
    "IoU": py_sod_metrics.IOUHandler,
    "precision": py_sod_metrics.PrecisionHandler,
    "recall": py_sod_metrics.RecallHandler,
    "F": py_sod_metrics.FmeasureHandler,
}
Pair = tuple[np.ndarray, np.ndarray]


class Reference:
    """PySODMetrics as its README uses it: both its classes of the F-measure, and all others."""

    def __init__(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it will be replaced by FmeasureV2 one day
            self.f = py_sod_metrics.Fmeasure()
        self.v2 = py_sod_metrics.FmeasureV2(
            {name: handler(True, True) for name, handler in HANDLERS.items()}
        )
        self.s, self.e, self.mae = (
            py_sod_metrics.Smeasure(),
            py_sod_metrics.Emeasure(),
            py_sod_metrics.MAE(),
        )
        self.fw = py_sod_metrics.WeightedFmeasure()

    def update(self, map_: np.ndarray, mask: np.ndarray) -> None:
        for each in (self.f, self.v2, self.s, self.e, self.mae, self.fw):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # NaN, see test_an_object_at_the_edge
                each.step(map_, mask)

    def curves(self) -> dict[str, np.ndarray]:
        v2, old = self.v2.get_results(), self.f.get_results()
        found = {name: v2[name]["dynamic"] for name in HANDLERS}
        assert np.array_equal(found["F"], old["fm"]["curve"])
        assert np.array_equal(found["precision"], old["pr"]["p"])
        return {**found, "E": self.e.get_results()["em"]["curve"]}

    def values(self) -> dict[str, float]:
        curves, adaptive = self.curves(), self.f.get_results()["fm"]["adp"]
        assert adaptive == self.v2.get_results()["F"]["adaptive"]
        return {
            "S": self.s.get_results()["sm"],
            "F": adaptive,
            "Fmax": curves["F"].max(),
            "Fmean": curves["F"].mean(),
            "Fw": self.fw.get_results()["wfm"],
            "E": curves["E"].mean(),
            "Emax": curves["E"].max(),
            "Eadp": self.e.get_results()["em"]["adp"],
            "MAE": self.mae.get_results()["mae"],
            "mDice": curves["Dice"].mean(),
            "mIoU": curves["IoU"].mean(),
            "Dicemax": curves["Dice"].max(),
            "IoUmax": curves["IoU"].max(),
        }


def check(pairs: list[Pair]) -> None:
    """All values and curves, of each pair and of all together."""
    ours, theirs = Measures(EVERY), Reference()
    for map_, mask in pairs:
        one, alone = measure(map_, mask, EVERY), Reference()
        alone.update(map_, mask)
        same(one.values, alone.values())
        same(one.curves, alone.curves())
        assert 0 <= one.values["BIoU"] <= 1
        ours.add(one)
        theirs.update(map_, mask)
    same(ours.compute(), theirs.values())
    same(ours.curves(), {name: theirs.curves()[name] for name in CURVES})


def same(ours: dict, theirs: dict) -> None:
    for name, value in theirs.items():
        if np.isnan(value).any():  # see test_an_object_at_the_edge
            assert name == "S"
            assert np.isfinite(ours[name])
        else:
            assert np.array_equal(ours[name], value), name


def blob(number: int, height: int, width: int) -> np.ndarray:
    mask = synthetic_pair(number, max(height, width, 32))[1].resize((width, height))
    return np.where(np.asarray(mask) > 128, 255, 0).astype(np.uint8)


def noisy(mask: np.ndarray, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    soft = cv2.GaussianBlur(mask, (0, 0), 3).reshape(mask.shape) * rng.uniform(0.3, 1)
    return (soft + rng.normal(20, 20, mask.shape)).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize(("height", "width"), [(90, 120), (61, 37), (128, 128), (17, 200)])
def test_objects(height: int, width: int) -> None:
    masks = [blob(number, height, width) for number in range(6)]
    check([(noisy(mask, seed), mask) for seed, mask in enumerate(masks)])


MAPS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "black": lambda mask: np.zeros_like(mask),
    "white": lambda mask: np.full_like(mask, 255),
    "grey": lambda mask: np.full_like(mask, 77),
    "perfect": lambda mask: mask.copy(),
    "opposite": lambda mask: 255 - mask,
    "two greys": lambda mask: np.where(mask > 0, 131, 130).astype(np.uint8),
    "every value": lambda mask: np.resize(np.arange(256, dtype=np.uint8), mask.shape),
}


@pytest.mark.parametrize("kind", MAPS)
def test_odd_maps_and_masks(kind: str) -> None:
    masks = [blob(1, 40, 50), np.zeros((40, 50), np.uint8), np.full((40, 50), 255, np.uint8)]
    masks += [np.zeros((40, 50), np.uint8) for _ in range(2)]
    masks[3][7, 9] = 255  # a single pixel
    masks[4][:20] = 129  # values above 128 count, 128 does not
    masks[4][20:] = 128
    check([(MAPS[kind](mask), mask) for mask in masks])


@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (2, 1), (1, 9), (9, 1), (2, 2), (3, 7)])
def test_tiny_images(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        mask = rng.choice([0, 255], shape).astype(np.uint8)
        check([(rng.integers(0, 256, shape, np.uint8), mask)])


@st.composite
def pairs(draw: st.DrawFn) -> Pair:
    height, width = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    share = draw(st.sampled_from([0, 0.002, 0.05, 0.5, 0.97, 1]))
    mask = np.where(rng.random((height, width)) < share, 255, 0).astype(np.uint8)
    if draw(st.booleans()):  # in one piece
        y, x = rng.integers(height), rng.integers(width)
        mask[:] = 0
        mask[y : y + rng.integers(1, 20), x : x + rng.integers(1, 20)] = 255
    low, high = sorted((draw(st.integers(0, 255)), draw(st.integers(0, 255))))
    return rng.integers(low, high + 1, (height, width)).astype(np.uint8), mask


@settings(max_examples=150, deadline=None)
@given(st.lists(pairs(), min_size=1, max_size=3))
@pytest.mark.slow
def test_any(some: list[Pair]) -> None:
    check(some)


@pytest.mark.slow
def test_real_masks() -> None:
    masks = [
        file
        for name in ("duts-te-200", "camo-te-124", "cvc-clinicdb-204", "magnetic-tile-160")
        for file in sorted((SHARED / "data" / name / "masks").glob("*.png"))[::20]
    ]
    if not masks:
        pytest.skip("no data sets beside the repository")
    truths = [np.asarray(Image.open(file)) for file in masks]
    check([(noisy(truth, seed), truth) for seed, truth in enumerate(truths)])


def test_an_object_at_the_edge() -> None:
    """Its centre leaves no pixel on one side: PySODMetrics says NaN, here that side weighs none."""
    mask = np.zeros((6, 8), np.uint8)
    mask[2:5, 7] = 255
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        reference = py_sod_metrics.Smeasure()
        reference.step(mask, mask)
    assert np.isnan(reference.get_results()["sm"])
    assert measure(mask, mask).values["S"] == pytest.approx(1)
    assert measure(255 - mask, mask).values["S"] == pytest.approx(0, abs=0.02)


def test_a_truth_serves_many_maps() -> None:
    mask = blob(3, 50, 60)
    truth = Truth(mask)
    for seed in range(3):
        map_ = noisy(mask, seed)
        again, once = measure(map_, truth, EVERY), measure(map_, mask, EVERY)
        assert again.values == once.values
        same(again.curves, once.curves)


@pytest.fixture
def _without_opencv() -> Iterator[None]:
    """As on a machine whose OpenCV rounds otherwise, and with an image too large for it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(weighted, "_opencv_agrees", lambda: False)
        patch.setattr(weighted, "LARGEST", 16)
        yield


@pytest.mark.usefixtures("_without_opencv")
def test_weighted_f_without_opencv() -> None:
    masks = [blob(number, 60, 50) for number in range(3)]
    check([(noisy(mask, seed), mask) for seed, mask in enumerate(masks)])


def test_opencv_is_used_where_it_agrees(monkeypatch: pytest.MonkeyPatch) -> None:
    weighted._opencv_agrees.cache_clear()
    monkeypatch.setattr(cv2, "filter2D", lambda errors, *_, **__: errors)
    assert not weighted._opencv_agrees()
    weighted._opencv_agrees.cache_clear()


def test_distances_up_to_the_largest_side() -> None:
    """The farthest that OpenCV is trusted with: along the diagonal, and from many pixels."""
    side = weighted.LARGEST
    for count in (1, 40):
        truth = np.zeros((side, side), bool)
        truth[tuple(np.random.default_rng(count).integers(0, side, (2, count)))] = True
        ours = weighted._distances(truth, ~truth)
        assert np.array_equal(ours, weighted.ndimage().distance_transform_edt(~truth)[~truth])


def test_histograms_of_huge_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are counted in pieces, here of two rows."""
    mask = blob(2, 31, 45)
    map_ = noisy(mask, 0)
    whole = measure(map_, mask, EVERY)
    monkeypatch.setattr("dsunet.metrics.inputs.EXACT", 90)
    pieces = measure(map_, mask, EVERY)
    assert pieces.values == whole.values
    same(pieces.curves, whole.curves)


def test_boundary_iou_by_hand() -> None:
    """One pixel wide on 20×20: 2 % of 28.3 is 0.57, but one is the least."""
    truth, map_ = np.zeros((20, 20), np.uint8), np.zeros((20, 20), np.uint8)
    truth[4:10, 4:10] = 255  # boundary: 36 − 16 = 20
    map_[4:10, 5:11] = 200  # the same, one to the right
    # in both: of rows 4 and 9, columns 5 to 9; of columns, none
    assert measure(map_, truth, ["BIoU"]).values["BIoU"] == 10 / 30
    assert measure(truth, truth, ["BIoU"]).values["BIoU"] == 1
    assert measure(255 - truth, truth, ["BIoU"]).values["BIoU"] == 0
    empty = np.zeros_like(truth)
    assert measure(empty, truth, ["BIoU"]).values["BIoU"] == 0
    assert measure(truth, empty, ["BIoU"]).values["BIoU"] == 0
    assert measure(empty, empty, ["BIoU"]).values["BIoU"] == 1
    # the threshold is half of the range, 0 to 200 here, and not above itself
    map_[:] = 0
    map_[4:10, 4:10] = 101
    map_[0, 0] = 200
    truth[0, 0] = 255
    assert measure(map_, truth, ["BIoU"]).values["BIoU"] == 1
    map_[4:10, 4:10] = 100
    assert measure(map_, truth, ["BIoU"]).values["BIoU"] == 1 / 21


def test_boundary_width() -> None:
    """300×400 has a diagonal of 500, so 10 pixels; the image's border is a boundary, too."""
    full = np.ones((300, 400), bool)
    expected = full.copy()
    expected[10:-10, 10:-10] = False
    assert np.array_equal(boundary(full), expected)
    assert boundary(full, width=0.002).sum() == 2 * 300 + 2 * 400 - 4
    assert boundary_iou(expected, boundary(full)) == 1
    assert boundaries.WIDTH == 0.02


def test_curves_and_keys() -> None:
    mask = blob(0, 40, 40)
    one = measure(noisy(mask, 0), mask)
    assert tuple(one.values) == MEASURES
    assert set(one.curves) == set(CURVES)
    assert all(curve.shape == (256,) for curve in one.curves.values())
    # the first threshold is the highest: fewest pixels found, the last finds all
    assert one.curves["recall"][0] < one.curves["recall"][-1] == 1
    assert one.curves["precision"][-1] == np.count_nonzero(mask) / mask.size
    with pytest.raises(ValueError, match="there is no measure G; choose among S, F, Fmax"):
        measure(mask, mask, ["S", "G"])
    with pytest.raises(ValueError, match="no measure is asked for"):
        Measures([])
    with pytest.raises(ValueError, match=r"\(40, 40\) and the mask \(40, 39\)"):
        measure(mask, mask[:, 1:])


def test_the_maximum_is_that_of_the_mean_curve() -> None:
    masks = [blob(number, 40, 40) for number in range(4)]
    maps = [noisy(mask, seed) for seed, mask in enumerate(masks)]
    measures = Measures(["Fmax"])
    for map_, mask in zip(maps, masks, strict=True):
        measures.update(map_, mask)
    own = [measure(*pair, ["Fmax"]).values["Fmax"] for pair in zip(maps, masks, strict=True)]
    assert len(measures) == 4
    assert measures.compute()["Fmax"] == measures.curves()["F"].max() < np.mean(own)


def test_a_list_of_measures_is_light() -> None:
    code = "import sys; from dsunet.metrics import ALL_MEASURES; print('numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_missing_packages_are_named() -> None:
    code = "import sys; sys.modules['cv2'] = None; from dsunet.metrics import measure"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "MissingPackageError: metrics need the packages opencv-python-headless" in done.stderr
    code = (
        "import sys; sys.modules['scipy'] = None; import numpy as np\n"
        "from dsunet.metrics import measure; mask = np.eye(9, dtype=np.uint8) * 255\n"
        "measure(mask, mask); measure(mask, mask, ['Fw'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "MissingPackageError: the weighted F-measure needs the package scipy" in done.stderr
