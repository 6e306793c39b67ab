"""Tiles: where they lie, what they count, and which crops training draws."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dsunet.config.tiling import Tiling
from dsunet.data.pixels import turn
from dsunet.data.tiles import Axis, Grid, draw_crop
from dsunet.errors import ConfigError
from dsunet.running.tiling import blended, blended_bands

TILINGS = st.builds(Tiling, st.integers(32, 90), st.floats(0, 0.75))


def test_tiles_are_spread_evenly_and_overlap_as_they_are_asked_to() -> None:
    axis = Axis.of(1000, Tiling(400, 0.25))  # steps of 300 at most: 0, 300, 600
    assert axis.starts == (0, 300, 600)
    assert Axis.of(1001, Tiling(400, 0.25)).starts == (0, 200, 401, 601)
    assert Axis.of(400, Tiling(400, 0.25)).starts == (0,)
    assert Axis.of(90, Tiling(400)) == Axis(90, 90, (0,))
    assert Axis.of(64, Tiling(32, 0)).starts == (0, 32)
    grid = Grid.of(1000, 90, Tiling(400, 0.25))
    assert len(grid) == 3
    assert grid.row(1) == [(0, 300, 90, 700)]


@given(st.integers(1, 700), TILINGS)
@settings(deadline=None)
def test_every_pixel_is_covered_and_weights_come_to_1(length: int, tiling: Tiling) -> None:
    axis = Axis.of(length, tiling)
    total = np.zeros(length)
    for start, weight in zip(axis.starts, axis.weights, strict=True):
        assert weight.min() > 0
        total[start : start + axis.side] += weight
    np.testing.assert_allclose(total, 1, atol=1e-6)
    for first, second in zip(axis.starts, axis.starts[1:], strict=False):
        assert second > first
        assert second - first <= max(1, axis.side * (1 - tiling.overlap))


def test_a_tile_counts_by_a_bell_that_is_an_eighth_of_it_wide() -> None:
    axis = Axis.of(180, Tiling(100, 0.2))
    assert axis.starts == (0, 80)
    first, second = axis.weights
    assert first[:80].tolist() == [1.0] * 80
    bell = [np.exp(-(((place - 49.5) / 12.5) ** 2) / 2) for place in (85, 5)]
    assert first[85] == pytest.approx(bell[0] / sum(bell))
    assert first[85] + second[5] == pytest.approx(1)


@given(st.integers(1, 150), st.integers(1, 150), TILINGS, st.integers(1, 5))
@settings(deadline=None, max_examples=40)
def test_a_map_of_pixels_is_the_same_in_tiles(h: int, w: int, tiling: Tiling, batch: int) -> None:
    """What sees every pixel by itself sees no seams; with leading axes, too."""
    whole = np.random.default_rng(0).random((2, h, w), np.float32)
    grid = Grid.of(h, w, tiling)

    def maps_of(boxes: object) -> list[np.ndarray]:
        found = [whole[:, top:bottom, left:right] for left, top, right, bottom in boxes]  # type: ignore[attr-defined]
        assert len(found) <= batch
        return found

    np.testing.assert_allclose(blended(grid, maps_of, batch), whole, atol=1e-6)
    bands = list(blended_bands(grid, maps_of, batch))
    assert [top for top, _ in bands] == list(grid.down.starts)
    assert sum(band.shape[-2] for _, band in bands) == h
    np.testing.assert_array_equal(
        np.concatenate([band for _, band in bands], axis=-2), blended(grid, maps_of)
    )


def test_bands_equal_sums_over_the_whole_picture() -> None:
    """Against the plain way: all maps times a Gaussian, over the sum of the Gaussians."""
    rng, (h, w) = np.random.default_rng(1), (150, 130)
    grid = Grid.of(h, w, Tiling(64, 0.3))
    maps = {box: rng.random((64, 64), np.float32) for i in range(3) for box in grid.row(i)}
    assert len(maps) == len(grid) == 9
    place = np.exp(-(((np.arange(64) - 31.5) / 8) ** 2) / 2)
    bell, top, under = np.outer(place, place), np.zeros((h, w)), np.zeros((h, w))
    for (left, upper, right, lower), map_ in maps.items():
        top[upper:lower, left:right] += map_ * bell
        under[upper:lower, left:right] += bell
    found = blended(grid, lambda boxes: [maps[box] for box in boxes], 2)
    np.testing.assert_allclose(found, top / under, atol=1e-5)


def boxes_of(grid: Grid) -> list[tuple[int, int, int, int]]:
    return [box for number in range(len(grid.down.starts)) for box in grid.row(number)]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_stored_picture_has_the_same_tiles(orientation: int) -> None:
    """Whichever way it is turned: cut as it is stored and turned, a tile is one of the upright."""
    upright = Image.fromarray(np.random.default_rng(2).integers(0, 256, (101, 140), np.uint8))
    back = {6: 8, 8: 6}.get(orientation, orientation)
    stored = turn(upright, back)
    grid = Grid.of(101, 140, Tiling(64, 0.3))
    turned = grid.stored(orientation)
    expected = {
        upright.crop(b).tobytes() for i in range(len(grid.down.starts)) for b in grid.row(i)
    }
    found = {
        turn(stored.crop(b), orientation).tobytes()
        for i in range(len(turned.down.starts))
        for b in turned.row(i)
    }
    assert len(found) == len(grid)
    assert found == expected


@pytest.mark.parametrize(
    ("side", "overlap", "said"),
    [
        (31, 0.25, "tile is 31, but needs a whole number of pixels from 32 on"),
        (True, 0.25, "tile is True"),
        (64, -0.1, "overlap is -0.1, but needs 0 to 0.75"),
        (64, 0.76, "overlap is 0.76"),
        (64, float("nan"), "overlap is nan"),
    ],
)
def test_tiles_that_make_no_sense(side: int, overlap: float, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Tiling(side, overlap)


def test_what_a_file_says_of_tiles_is_taken_if_it_makes_sense() -> None:
    tiling = Tiling(96, 0.5)
    assert Tiling.from_dict(tiling.to_dict()) == tiling
    for told in (None, 3, {}, {"side": 5, "overlap": 0.2}, {"side": "96", "overlap": 0.2}):
        assert Tiling.from_dict(told) is None


def test_the_view_that_would_be_as_fine() -> None:
    tiling = Tiling(100)
    assert tiling.fineness((64, 96), 100, 80) == (64, 96)
    assert tiling.fineness((64, 96), 250, 80) == (160, 96)


def masked(size: tuple[int, int], *boxes: tuple[int, int, int, int]) -> Image.Image:
    mask = np.zeros(size[::-1], np.uint8)
    for left, top, right, bottom in boxes:
        mask[top:bottom, left:right] = 255
    return Image.fromarray(mask)


def crops(mask: Image.Image, count: int = 300, **more: Image.Image) -> list[tuple[int, ...]]:
    found = [draw_crop(mask.size, mask, 64, np.random.default_rng(i), **more) for i in range(count)]
    return [box for box in found if box is not None]


def test_crops_show_each_object_alike_however_small() -> None:
    """Two thirds show an object, half of these the tiny one of 2×2 px beside one of 100×100."""
    mask = masked((800, 400), (100, 100, 200, 200), (700, 300, 702, 302))
    found = crops(mask)
    assert all(0 <= x < x1 <= 800 and 0 <= y < y1 <= 400 for x, y, x1, y1 in found)
    assert {(x1 - x, y1 - y) for x, y, x1, y1 in found} == {(64, 64)}
    tiny = [b for b in found if b[0] <= 701 < b[2] and b[1] <= 301 < b[3]]
    large = [b for b in found if np.asarray(mask.crop(b)).any() and b not in tiny]
    # of 300 draws 100 are expected each, and a few of those that fall anywhere
    assert 75 < len(tiny) < 130
    assert 80 < len(large) < 150
    for left, top, _, _ in tiny:  # in the middle half of the tile
        away = [700 - left, 300 - top]
        anywhere = all(14 <= each <= 48 for each in away)
        assert anywhere or tiny.count((left, top, left + 64, top + 64)) == 1
    inside = [all(14 <= each <= 48 for each in (700 - b[0], 300 - b[1])) for b in tiny]
    assert np.mean(inside) > 0.9


def test_crops_of_a_picture_without_an_object_are_anywhere() -> None:
    found = crops(masked((200, 90)))
    lefts, tops = ({box[i] for box in found} for i in (0, 1))
    assert min(lefts) < 5
    assert max(lefts) > 131
    assert (min(tops), max(tops)) == (0, 26)


def test_what_is_ignored_is_no_object() -> None:
    mask = masked((1000, 1000), (500, 500, 510, 510))
    shown = [np.asarray(mask.crop(b)).any() for b in crops(mask, 60, ignored=mask)]
    assert np.mean(shown) < 0.1


def test_a_picture_that_fits_is_not_cropped() -> None:
    assert crops(masked((64, 30), (3, 3, 9, 9)), 5) == []
    assert {box[1::2] for box in crops(masked((65, 30), (3, 3, 9, 9)))} == {(0, 30)}
