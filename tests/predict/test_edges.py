"""Edges that follow the picture: by hand on drawn pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

import dsunet
from dsunet.cli import main
from dsunet.config import Options
from dsunet.errors import ConfigError
from dsunet.predict import edges
from dsunet.predict.edges import refined, tidied
from dsunet.predict.files import check_draft
from dsunet.predict.foreground import foreground

SIZE = 256


def _disc(radius: float, centre: tuple[float, float] = (128, 128), size: int = SIZE) -> np.ndarray:
    y, x = np.mgrid[:size, :size]
    return np.asarray((y - centre[0]) ** 2 + (x - centre[1]) ** 2 <= radius**2)


def _map(mask: np.ndarray, high: float = 0.95, low: float = 0.02) -> np.ndarray:
    return np.where(mask, high, low).astype(np.float32)


def test_a_see_through_place_inside_is_filled() -> None:
    body, eye = _disc(80), _disc(10, (110, 120))
    half = np.where(eye, np.float32(0.3), _map(body))
    half[110, 120] = 0.05  # an eye's middle may be nearly empty
    found = tidied(half)
    assert (found[_disc(76)] == 1).all()
    assert (found[eye] == 1).all()


def test_a_real_hole_stays() -> None:
    body, hole = _disc(80), _disc(20, (110, 120))
    found = tidied(np.where(hole, np.float32(0.02), _map(body)))
    assert not found[_disc(17, (110, 120))].any()
    tiny = _disc(1.5, (60, 128))  # too small to be one
    assert (tidied(np.where(tiny, np.float32(0.02), _map(body)))[tiny] == 1).all()


def test_a_bay_is_no_hole() -> None:
    body = _disc(80)
    body[128:, 118:138] = False  # open to the border
    found = tidied(_map(body, low=0.3))
    assert not found[200:, 125:131].any()


def test_crumbs_go_unless_there_is_nothing_else() -> None:
    body, crumb = _disc(60), _disc(1.5, (20, 20))
    assert not tidied(_map(body | crumb))[:30, :30].any()
    alone = tidied(_map(crumb))
    assert (alone[crumb] >= 0.5).all()


@pytest.mark.parametrize(
    ("radius", "value", "stays"),
    [(12, 0.7, False), (12, 0.9, True), (24, 0.7, True), (18, 0.84, False), (20, 0.7, True)],
)
def test_a_half_hearted_piece_beside_a_larger_one_goes(
    radius: float, value: float, stays: bool
) -> None:
    body, piece = _disc(60), _disc(radius, (30, 30))  # a tenth of its area: a radius of 19
    found = tidied(np.where(piece, np.float32(value), _map(body)))
    assert found[30, 30] == stays
    assert found[:50, :50].any() == stays
    assert (found[_disc(56)] == 1).all()


@pytest.mark.parametrize("size", [100, 127, 128])
def test_ghosts_go_from_small_views_too(size: int) -> None:
    """Below 128 px no piece is a crumb."""
    body, ghost = _disc(25, (60, 60), size), _disc(5, (12, 12), size)
    assert not tidied(np.where(ghost, np.float32(0.7), _map(body)))[:20, :20].any()
    assert tidied(_map(body | ghost))[12, 12] == 1


def test_pieces_of_any_shape_are_one() -> None:
    spiral = np.zeros((64, 64), bool)
    for turn in range(0, 28, 4):
        spiral[turn, turn : 64 - turn] = True
        spiral[turn : 64 - turn, 63 - turn] = True
        spiral[63 - turn, turn : 64 - turn] = True
        spiral[turn + 4 : 64 - turn, turn] = True
        spiral[turn + 4, turn : turn + 5] = True
    pieces = edges._pieces(spiral)
    assert set(pieces[spiral]) == {1}
    assert not pieces[~spiral].any()
    chess = np.indices((5, 7)).sum(0) % 2 == 0  # corners that touch
    assert sorted(edges._pieces(chess)[chess]) == list(range(1, 19))
    assert not edges._pieces(np.zeros((3, 4), bool)).any()
    assert (edges._pieces(np.ones((3, 4), bool)) == 1).all()


@pytest.mark.parametrize("shape", [(1, 1), (3, 30), (21, 4)])
def test_means_are_of_what_is_in_the_picture(shape: tuple[int, int]) -> None:
    plane = np.random.default_rng(0).random(shape, np.float32)
    reach = edges.RADIUS
    expected = [
        [
            plane[max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1].mean()
            for x in range(shape[1])
        ]
        for y in range(shape[0])
    ]
    [found] = edges._means(plane[None])
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_smoke_goes_and_the_inside_is_whole() -> None:
    body, smoke = _disc(60, (128, 90)), _disc(20, (128, 215))
    found = tidied(np.where(smoke, np.float32(0.4), _map(body, high=0.7)))
    assert not found[smoke].any()
    assert (found[_disc(55, (128, 90))] == 1).all()
    assert ((found > 0) & (found < 1)).mean() < 0.05


@pytest.mark.parametrize("value", [0.0, 0.4, 1.0])
def test_maps_of_one_value_stay(value: float) -> None:
    plain = np.full((40, 50), value, np.float32)
    assert np.array_equal(tidied(plain), plain)
    picture = Image.new("RGB", (100, 80), (90, 120, 30))
    found = refined(np.full((80, 100), value, np.float32), picture, (40, 50))
    assert found.shape == (80, 100)
    assert np.allclose(found, max(0.0, min(1.0, (value - 0.3) / 0.4)), atol=1e-3)


def _photo(size: int) -> tuple[Image.Image, np.ndarray]:
    """A noisy disc on a noisy ground, and where it is."""
    truth = _disc(0.3 * size, (size / 2, size / 2), size)
    noise = np.random.default_rng(0).normal(0, 6, (size, size, 3))
    colours = np.where(truth[..., None], (200, 70, 60), (60, 110, 140)) + noise
    return Image.fromarray(colours.clip(0, 255).astype(np.uint8)), truth


@pytest.mark.parametrize("size", [300, 1300])
def test_the_edge_follows_the_pictures(size: int) -> None:
    """A map of a few pixels, scaled up, is soft and stepped; refined, it is the disc."""
    picture, truth = _photo(size)
    small = Image.fromarray(truth.astype(np.float32)).resize((64, 64), Image.Resampling.BOX)
    soft = np.asarray(small.resize((size, size), Image.Resampling.BILINEAR))
    found = refined(soft, picture, (64, 64))
    errors = [np.abs(each - truth).mean() for each in (soft, found)]
    assert errors[1] < 0.5 * errors[0]
    assert ((found >= 0.5) != truth).mean() < 0.6 * ((soft >= 0.5) != truth).mean() + 1e-4
    assert found.dtype == np.float32
    assert found.min() >= 0
    assert found.max() <= 1


def test_strips_have_no_seams() -> None:
    picture, truth = _photo(300)
    whole = refined(truth.astype(np.float32), picture, (300, 300))
    turned = refined(truth.T.astype(np.float32).copy(), picture.transpose(0), (300, 300))
    assert whole.shape == turned.shape
    rows = np.abs(np.diff(whole, axis=0)).mean(axis=1)  # 64 rows are worked on at a time
    seams, others = rows[63::64], np.delete(rows, np.arange(63, 299, 64))
    assert seams.mean() < 3 * others.mean()


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (3, 2), (64, 65), (65, 64)])
def test_any_size(shape: tuple[int, int]) -> None:
    found = refined(np.random.default_rng(0).random(shape).astype(np.float32), _noise(shape), None)
    assert found.shape == shape
    assert np.isfinite(found).all()


def _noise(shape: tuple[int, int]) -> Image.Image:
    return Image.fromarray(np.random.default_rng(1).integers(0, 256, (*shape, 3), np.uint8))


def test_of_a_result(tmp_path: Path) -> None:
    picture, _ = _photo(300)
    picture.save(tmp_path / "disc.png")
    segmenter = dsunet.Segmenter(device="cpu")
    result = segmenter(picture)
    assert result.view == segmenter.view == (352, 352)
    better = result.refined()
    assert better.image is result.image
    half = [((r.probability > 0.1) & (r.probability < 0.9)).mean() for r in (result, better)]
    assert half[1] < half[0]
    flags = ["--save", "cutout", "--output", str(tmp_path / "cut.png")]
    assert main(["predict", str(tmp_path / "disc.png"), *flags]) == 0
    with Image.open(tmp_path / "cut.png") as cut:
        assert np.array_equal(np.asarray(cut), np.asarray(better.cutout()))
    out = tmp_path / "out"
    flags = ["--refine", "--save", "probability,cutout", "--output", str(out)]
    assert main(["predict", str(tmp_path / "disc.png"), *flags]) == 0
    with Image.open(out / "probability" / "disc.png") as written:
        assert np.array_equal(np.asarray(written), better.map())
    assert main(["predict", str(tmp_path / "disc.png"), "--resume", *flags[1:]]) == 1
    # by default cut-outs alone
    out = tmp_path / "both"
    flags = ["--save", "cutout,probability", "--crop-to-object", "--output", str(out)]
    assert main(["predict", str(tmp_path / "disc.png"), *flags]) == 0
    for kind, each in (("probability", result), ("cutout", better)):
        left, top, right, bottom = each.box() or (0, 0, 300, 300)
        made = each.map() if kind == "probability" else np.asarray(each.cutout())
        with Image.open(out / kind / "disc.png") as written:
            assert np.array_equal(np.asarray(written), made[top:bottom, left:right])


def test_drafts_have_no_edges_to_follow() -> None:
    with pytest.raises(ConfigError, match="`refine`"):
        check_draft(Options(draft=True, refine=True), dsunet.Segmenter(device="cpu"))


def test_the_rim_has_the_objects_colours() -> None:
    """A red disc on blue, mixed along its edge as a camera does."""
    red, blue = np.array((200.0, 40, 30)), np.array((20.0, 60, 220))
    fine = Image.fromarray(_disc(240, (512, 512), 1024).view(np.uint8) * np.uint8(255))
    opacity = np.asarray(fine.resize((SIZE, SIZE), Image.Resampling.BOX).resize((SIZE, SIZE)))
    soft = np.asarray(Image.fromarray(opacity).filter(ImageFilter.GaussianBlur(2)))
    share = soft[..., None] / 255
    mixed = Image.fromarray((share * red + (1 - share) * blue).round().astype(np.uint8))
    found = np.asarray(foreground(mixed, soft)).astype(float)
    rim = (soft > 25) & (soft < 230)
    before = np.abs(np.asarray(mixed)[rim] - red).mean()
    assert before > 40
    assert np.abs(found[rim] - red).mean() < 0.2 * before
    entire = (soft == 0) | (soft == 255)
    assert np.array_equal(found[entire], np.asarray(mixed)[entire])


@pytest.mark.parametrize("value", [0, 255])
def test_nothing_half_there_nothing_changed(value: int) -> None:
    picture = _noise((20, 30))
    assert foreground(picture, np.full((20, 30), value, np.uint8)) is picture


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (7, 3), (40, 17)])
def test_colours_of_any_size(shape: tuple[int, int]) -> None:
    opacity = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    assert foreground(_noise(shape), opacity).size == shape[::-1]


def test_an_images_own_opacity_keeps_its_colours() -> None:
    picture, truth = _photo(128)
    alpha = np.where(truth, 255, 100).astype(np.uint8)
    result = dsunet.Segmentation(picture, _map(truth), alpha, (64, 64)).refined()
    cut = np.asarray(result.cutout())
    own = (alpha == 100) & (cut[..., 3] > 0)
    assert np.array_equal(cut[own][:, :3], np.asarray(picture)[own])
