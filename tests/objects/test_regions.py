"""Regions: values worked out by hand, and scikit-image's own."""

from __future__ import annotations

import math

import numpy as np
import pytest
from PIL import Image, ImageDraw
from pycocotools import mask as coco
from scipy import ndimage
from skimage.measure import label, regionprops

from dsunet.config.objects import PixelSize
from dsunet.objects import find_regions
from dsunet.objects.regions import runs_of


def drawn(*boxes: tuple[int, int, int, int], size: tuple[int, int] = (20, 30)) -> np.ndarray:
    """H×W bool with filled boxes: left, top, width and height."""
    mask = np.zeros(size, bool)
    for left, top, width, height in boxes:
        mask[top : top + height, left : left + width] = True
    return mask


def blobs(seed: int, size: tuple[int, int] = (90, 120)) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=size)
    return np.asarray(ndimage.gaussian_filter(noise, 3) > 0.09)


def test_a_rectangle_by_hand() -> None:
    scores = np.full((20, 30), 0.75)
    scores[5, 4] = 1.0
    (one,) = find_regions(drawn((4, 5, 12, 6)), scores)
    assert (one.pixels, one.area, one.box) == (72, 72.0, (4, 5, 12, 6))
    assert one.centroid == (9.5, 7.5)  # the middle of columns 4 to 15 and rows 5 to 10
    # from side to side of the outermost pixels: 12 along and 5 across, or 11 and 6
    assert one.longest_axis == pytest.approx(math.hypot(12, 5))
    assert one.perimeter == pytest.approx(2 * (11 + 5))  # through the middles of pixels
    # the second moments of n points in a row are (n² − 1) / 12
    assert one.major_axis == pytest.approx(4 * math.sqrt((12**2 - 1) / 12))
    assert one.minor_axis == pytest.approx(4 * math.sqrt((6**2 - 1) / 12))
    assert one.mean_score == pytest.approx((71 * 0.75 + 1) / 72)
    assert (one.max_score, one.holes, one.at_border) == (1.0, 0, False)


def test_corners_connect_and_sides_of_the_picture_are_told() -> None:
    mask = drawn((0, 3, 2, 2), (2, 5, 2, 2), (10, 0, 3, 3), (20, 8, 3, 3), (27, 17, 3, 3))
    found = find_regions(mask)
    assert [each.pixels for each in found] == [9, 8, 9, 9]
    assert [each.at_border for each in found] == [True, True, False, True]
    assert found[1].box == (0, 3, 4, 4)
    assert [each.mean_score for each in found] == [None] * 4


def test_holes_are_no_area() -> None:
    ring = drawn((2, 2, 9, 9))
    ring[4:6, 4:6] = ring[7:9, 7:9] = False
    (one,) = find_regions(ring)
    assert (one.pixels, one.holes) == (81 - 8, 2)
    (filled,) = find_regions(drawn((2, 2, 9, 9)))
    assert filled.perimeter is not None
    assert one.perimeter is not None
    assert one.perimeter > filled.perimeter


def test_the_least_area_is_kept_and_what_is_below_is_not() -> None:
    mask = drawn((1, 1, 2, 2), (6, 1, 5, 1), (14, 1, 3, 2))
    assert [each.pixels for each in find_regions(mask, least=5)] == [5, 6]
    assert find_regions(mask, least=7) == []
    assert find_regions(np.zeros((5, 5), bool)) == []


def test_units() -> None:
    (one,) = find_regions(drawn((4, 5, 12, 6)), pixel=PixelSize(0.5, 0.5, "mm"))
    assert (one.pixels, one.area, one.box) == (72, 18.0, (4, 5, 12, 6))
    assert one.centroid == (9.5, 7.5)
    assert one.longest_axis == pytest.approx(6.5)
    assert one.perimeter == pytest.approx(16)
    (wide,) = find_regions(drawn((4, 5, 12, 6)), pixel=PixelSize(2.0, 0.5, "mm"))
    assert (wide.area, wide.centroid, wide.perimeter) == (72.0, (9.5, 7.5), None)
    # 12 columns of 2 mm, 5 rows of 0.5
    assert wide.longest_axis == pytest.approx(math.hypot(24, 2.5))
    assert wide.major_axis == pytest.approx(2 * 4 * math.sqrt((12**2 - 1) / 12))


def test_units_of_any_size() -> None:
    """Of nanometres in metres, and of pixels that are a thousand times wider than high."""
    shape = blobs(3)
    plain = find_regions(shape)
    for side in (1e-9, 1e6):
        scaled = find_regions(shape, pixel=PixelSize(side, side, "m"))
        assert [each.longest_axis / side for each in scaled] == pytest.approx(
            [each.longest_axis for each in plain]
        )
    assert find_regions(shape, pixel=PixelSize(1.0, 1e-3, "m"))
    (dot,) = find_regions(drawn((3, 3, 1, 1)))
    assert (dot.longest_axis, dot.perimeter, dot.major_axis) == (1.0, 0.0, 0.0)


@pytest.mark.parametrize("side", [1.0, 0.25])
def test_regionprops_says_the_same(side: float) -> None:
    mask = blobs(1)
    scores = np.random.default_rng(2).random(mask.shape)
    found = find_regions(mask, scores, pixel=PixelSize(side, side, "mm"))
    theirs = regionprops(label(mask, connectivity=2), scores, spacing=(side, side))
    assert len(found) == len(theirs) > 10
    for one, other in zip(found, theirs, strict=True):
        assert one.area == other.area
        assert one.perimeter == pytest.approx(other.perimeter)
        assert one.mean_score == other.intensity_mean
        # theirs is of the hull drawn in pixels, whose corners may lie half a pixel off
        assert one.longest_axis == pytest.approx(other.feret_diameter_max, abs=0.75 * side)


@pytest.mark.parametrize("angle", [0, 17, 45, 80])
def test_the_longest_axis_of_a_line(angle: int) -> None:
    """Which every way of measuring cracks has to get right."""
    picture = Image.new("1", (200, 200))
    x, y = 70 * math.cos(math.radians(angle)), 70 * math.sin(math.radians(angle))
    ImageDraw.Draw(picture).line([(100 - x, 100 - y), (100 + x, 100 + y)], fill=1)
    found = find_regions(np.asarray(picture))
    assert [each.longest_axis for each in found] == [pytest.approx(140, abs=1.6)]


def test_an_object_that_fills_the_picture() -> None:
    (one,) = find_regions(drawn((0, 0, 300, 200), size=(200, 300)))
    assert one.longest_axis == pytest.approx(math.hypot(300, 199))
    assert one.at_border


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_runs_are_cocos(seed: int) -> None:
    mask = blobs(seed)
    mask[:, 0] = True  # from the first pixel on
    size = (mask.shape[0], mask.shape[1])
    for one in find_regions(mask):
        alone = np.zeros(size, np.uint8)
        alone[tuple(one.coordinates.T)] = 1
        runs = coco.frPyObjects({"counts": runs_of(one.coordinates, size), "size": size}, *size)
        assert runs == coco.encode(np.asfortranarray(alone))
        assert tuple(coco.toBbox(runs)) == one.box
