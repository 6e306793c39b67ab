"""Prediction tile by tile."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import dsunet
from dsunet.cli import main
from dsunet.config.tiling import Tiling
from dsunet.errors import ConfigError
from dsunet.predict import Options, plan_outputs, predict_files


def picture(width: int = 200, height: int = 150, seed: int = 0) -> Image.Image:
    small = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def brightness(image: np.ndarray) -> np.ndarray:
    """What sees each pixel by itself."""
    return image.mean(axis=2).astype(np.float32) / 255


def network(**training: object) -> dsunet.DSUNet:
    torch.manual_seed(0)
    model = dsunet.create_model("dsunet-lite", weights=None, sam_size=64).eval()
    model.training_facts = training
    return model


def test_what_sees_pixels_sees_no_seams() -> None:
    whole = dsunet.Segmenter(brightness, "cpu")(picture()).probability
    tiled = dsunet.Segmenter(brightness, "cpu", tile=64)(picture()).probability
    np.testing.assert_allclose(tiled, whole, atol=1e-6)


def test_a_picture_that_fits_a_tile_is_as_without() -> None:
    model = network()
    segmenter = dsunet.Segmenter(model, "cpu", "float32", tile=200)
    plain = dsunet.Segmenter(model, "cpu", "float32")
    found, expected = segmenter(picture()), plain(picture())
    np.testing.assert_array_equal(found.probability, expected.probability)
    assert found.view == expected.view == (64, 64)


def test_the_maps_of_a_network_are_blended_by_hand_alike() -> None:
    """Two tiles side by side: outside the shared part each alone, in it their mean by weight."""
    model, image = network(), picture(160, 90)
    plain = dsunet.Segmenter(model, "cpu", "float32")
    tiled = dsunet.Segmenter(model, "cpu", "float32", tile=100, overlap=0.4)(image)
    left, right = (plain(image.crop((x, 0, x + 100, 90))).probability for x in (0, 60))
    np.testing.assert_allclose(tiled.probability[:, :60], left[:, :60], atol=1e-6)
    np.testing.assert_allclose(tiled.probability[:, 100:], right[:, 40:], atol=1e-6)
    middle = (left[:, 79:81] + right[:, 19:21]) / 2  # nearly half of each
    np.testing.assert_allclose(tiled.probability[:, 79:81], middle, atol=0.02)
    assert tiled.view == (64, 102)


def test_seams_are_no_rougher_than_the_rest() -> None:
    """Steps between neighbouring pixels are no larger where tiles begin or end than elsewhere."""
    model = network()
    map_ = dsunet.Segmenter(model, "cpu", "float32", tile=96)(picture(400, 300)).probability
    steps = np.abs(np.diff(map_, axis=1)).max(axis=0)
    starts = np.array([61, 122, 182, 243, 304])
    ends = np.array([96, 157, 218, 278, 339])
    assert dsunet.data.tiles.Axis.of(400, Tiling(96)).starts[1:] == tuple(starts)
    seams = np.concatenate([starts, ends]) - 1
    assert steps[seams].max() <= np.quantile(np.delete(steps, seams), 0.99)
    # and without weights they would be: the right tile's map takes over at once
    plain = dsunet.Segmenter(model, "cpu", "float32")
    left, right = (plain(picture(400, 300).crop((x, 0, x + 96, 96))).probability for x in (0, 61))
    hard = np.abs(left[:, 60] - right[:, 0]).max()
    assert hard > 2 * steps[seams].max()


def test_batches_of_tiles_change_the_last_digit_alone() -> None:
    segmenter = dsunet.Segmenter(network(), "cpu", "float32", tile=64)
    one, four = segmenter(picture()), segmenter(picture(), batch_size=4)
    np.testing.assert_allclose(one.probability, four.probability, atol=1e-5)
    several = segmenter([picture(), picture(50, 40), picture(seed=1)], batch_size=2)
    np.testing.assert_allclose(several[0].probability, one.probability, atol=1e-5)
    assert several[1].probability.shape == (40, 50)
    assert np.abs(several[2].probability - one.probability).max() > 1e-3


def test_flips_views_and_ensembles_go_with_tiles() -> None:
    model = network()
    part = picture().crop((0, 0, 64, 64))
    settings = {"view": 96, "flips": True}
    tiled = dsunet.Segmenter([model, model], "cpu", "float32", tile=64, overlap=0, **settings)
    plain = dsunet.Segmenter(model, "cpu", "float32", **settings)
    found = tiled(picture(128, 64).resize((128, 64)))
    expected = plain(picture(128, 64).crop((0, 0, 64, 64))).probability
    np.testing.assert_allclose(found.probability[:, :64], expected, atol=1e-5)
    assert tiled(part).probability.shape == (64, 64)


def test_an_exported_file_goes_by_tiles(tmp_path: Path) -> None:
    from dsunet.weights import shipped

    file = shipped.exported_of("dsunet-lite")
    image = picture(300, 200)
    tiled = dsunet.Segmenter(file, tile=200, overlap=0.5)(image).probability
    left, right = (
        dsunet.Segmenter(file)(image.crop((x, 0, x + 200, 200))).probability for x in (0, 100)
    )
    np.testing.assert_allclose(tiled[:, :100], left[:, :100], atol=1e-6)
    np.testing.assert_allclose(tiled[:, 200:], right[:, 100:], atol=1e-6)


def test_tiles_are_those_of_the_weights_unless_told() -> None:
    told = network(tiling={"side": 96, "overlap": 0.5})
    segmenter = dsunet.Segmenter(told, "cpu")
    assert segmenter.looks.tiling == Tiling(96, 0.5)
    assert segmenter.looks.asked() == {"tiling": {"side": 96, "overlap": 0.5}}
    assert dsunet.Segmenter(told, "cpu", tile=64).looks.tiling == Tiling(64, 0.5)
    assert dsunet.Segmenter(told, "cpu", overlap=0.0).looks.tiling == Tiling(96, 0)
    assert dsunet.Segmenter(told, "cpu", tile=0).looks.tiling is None
    assert dsunet.Segmenter(network(tiling={"side": "no"}), "cpu").looks.tiling is None
    assert dsunet.Segmenter([told, told], "cpu").looks.tiling == Tiling(96, 0.5)
    with pytest.raises(ConfigError, match=r"in other ways \(tiles of 96 px .*, whole images\)"):
        dsunet.Segmenter([told, network()], "cpu")
    assert dsunet.Segmenter([told, network()], "cpu", tile=0).looks.tiling is None


def test_what_does_not_go_with_tiles(tmp_path: Path) -> None:
    told = network(tiling={"side": 96, "overlap": 0.5})
    with pytest.raises(ConfigError, match="`overlap` is of tiles: give `tile`"):
        dsunet.Segmenter(network(), "cpu", overlap=0.2)
    with pytest.raises(ConfigError, match=r"`zoom` .* leave `zoom` out$"):
        dsunet.Segmenter(network(), "cpu", tile=64, zoom=True)
    with pytest.raises(ConfigError, match=r"leave `zoom` out, or give `tile` 0"):
        dsunet.Segmenter(told, "cpu", zoom=True)
    segmenter = dsunet.Segmenter(told, "cpu")
    with pytest.raises(ConfigError, match=r"`draft` leaves out pixels that tiles would show"):
        predict_files(segmenter, [], tmp_path, Options(draft=True))


def test_a_recipe_makes_the_same_tiles_again(tmp_path: Path) -> None:
    dsunet.save(network(tiling={"side": 96, "overlap": 0.5}), tmp_path / "a.safetensors")
    for options in ({}, {"tile": 0}, {"tile": 64}):
        segmenter = dsunet.Segmenter(tmp_path / "a.safetensors", "cpu", **options)
        assert segmenter.recipe.build().looks == segmenter.looks


def test_files_are_those_of_the_segmenter_and_resume_minds_tiles(tmp_path: Path) -> None:
    for number in range(2):
        picture(seed=number).save(tmp_path / f"{number}.png")
    picture(60, 40).save(tmp_path / "small.png")
    model, out = network(), tmp_path / "out"
    segmenter = dsunet.Segmenter(model, "cpu", "float32", tile=64)
    jobs = plan_outputs([str(tmp_path)], out, ("probability", "binary"))
    options = Options(("probability", "binary"))
    predict_files(segmenter, jobs, out, options, batch_size=2)
    for name in ("0", "1", "small"):
        map_ = segmenter(tmp_path / f"{name}.png", batch_size=2).map()
        written = np.asarray(Image.open(out / "probability" / f"{name}.png"), int)
        assert np.abs(written - map_).max() <= 1
    noted = json.loads((out / "prediction.json").read_text())
    assert noted["looks"] == {"tiling": {"side": 64, "overlap": 0.25}}
    assert predict_files(segmenter, jobs, out, options, resume=True).skipped == 3
    other = dsunet.Segmenter(model, "cpu", "float32")
    with pytest.raises(dsunet.errors.OutputError, match=r"another way \(looks\)"):
        predict_files(other, jobs, out, options, resume=True)


def test_the_command_says_what_tiles_the_weights_bring(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dsunet.save(network(tiling={"side": 96, "overlap": 0.5}), tmp_path / "a.safetensors")
    picture().save(tmp_path / "a.png")
    command = ["predict", str(tmp_path / "a.png"), "--weights", str(tmp_path / "a.safetensors")]
    assert main([*command, "--device", "cpu", "--output", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "in tiles of 96 px that overlap by 50 %, as the weights were trained" in said
    assert main([*command, "--tile", "16", "--output", str(tmp_path / "no")]) == 1
    assert "tile is 16, but needs a whole number" in capsys.readouterr().err
