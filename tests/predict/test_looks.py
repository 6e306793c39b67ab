"""Other views, mirrored views, and a second look at the object."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import dsunet
from dsunet.data.views import make_views
from dsunet.errors import ConfigError, OutputError
from dsunet.predict import Options, plan_outputs, predict_files
from dsunet.predict.engines.zoom import merged, object_box


def picture(width: int = 90, height: int = 70) -> Image.Image:
    values = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values).resize((width, height), Image.Resampling.BICUBIC)


def network() -> dsunet.DSUNet:
    torch.manual_seed(0)
    return dsunet.create_model("dsunet-lite", weights=None, sam_size=64).eval()


def test_a_view_is_the_one_of_a_model_made_for_it() -> None:
    model, image = network(), picture()
    with torch.inference_mode():
        logits = model(make_views(image, (96, 128), None).sam[None]).fine
        larger = torch.nn.functional.interpolate(logits, (70, 90), mode="bilinear")
    segmenter = dsunet.Segmenter(model, "cpu", "float32", view=(96, 128))
    assert segmenter.view == segmenter.sam_size == (96, 128)
    found = segmenter(image).probability
    np.testing.assert_allclose(found, torch.sigmoid(larger)[0, 0].numpy(), atol=1e-5)
    assert dsunet.Segmenter(model, "cpu", "float32", view=96).view == (96, 96)
    assert dsunet.Segmenter(model, "cpu", "float32").view == (64, 64)


@pytest.mark.parametrize("view", [100, 0, (64, 100), -32])
def test_a_view_that_the_network_does_not_take(view: int | tuple[int, int]) -> None:
    with pytest.raises(ConfigError, match=r"view.*multiples of 32") as caught:
        dsunet.Segmenter(network(), "cpu", view=view)
    assert "sam_size" not in str(caught.value)


@pytest.mark.parametrize("view", ["96", 96.0, True, (64,), (1, 2, 3), (64.0, 64)])
def test_a_view_that_is_none(view: object) -> None:
    with pytest.raises(ConfigError, match="`view` is .* needs a whole number or two"):
        dsunet.Segmenter(network(), "cpu", view=view)  # type: ignore[arg-type]


def test_flips_are_the_mean_of_both_logits_and_see_no_side() -> None:
    model, image = network(), picture()
    sam = make_views(image, (64, 64), None).sam[None]
    with torch.inference_mode():
        mean = (model(sam).fine + model(sam.flip(-1)).fine.flip(-1)) / 2
        larger = torch.nn.functional.interpolate(mean, (70, 90), mode="bilinear")
    segmenter = dsunet.Segmenter(model, "cpu", "float32", flips=True)
    found = segmenter(image).probability
    np.testing.assert_allclose(found, torch.sigmoid(larger)[0, 0].numpy(), atol=1e-5)
    mirrored = segmenter(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)).probability
    np.testing.assert_allclose(found, mirrored[:, ::-1], atol=1e-4)


def test_the_box_has_room_and_is_none_where_a_second_look_shows_nothing_new() -> None:
    map_ = np.zeros((100, 200), np.float32)
    assert object_box(map_) is None
    map_[40:60, 100:140] = 0.5
    assert object_box(map_) == (90, 35, 150, 65)
    map_[40:60, :] = 1
    assert object_box(map_) == (0, 35, 200, 65)
    map_[10:90] = 1
    assert object_box(map_) is None


def test_both_looks_are_merged_softly_but_not_at_the_pictures_own_border() -> None:
    first, closer = np.zeros((60, 90), np.float32), np.ones((30, 60), np.float32)
    found = merged(first, closer, (0, 20, 60, 50))
    assert found.dtype == np.float32
    assert not first.any()
    assert not found[:20].any()
    assert not found[:, 60:].any()
    middle = found[35]
    assert middle[0] == pytest.approx(0.5)  # at the picture's left border
    assert middle[30] == pytest.approx(0.5)
    assert 0 < middle[59] < 0.06  # nothing jumps
    assert (np.diff(middle[30:60]) <= 0).all()
    whole = merged(first, np.ones((60, 90), np.float32), (0, 0, 90, 60))
    assert (whole == 0.5).all()


def bright_part(image: np.ndarray) -> np.ndarray:
    """A function that finds what is bright, and knows how large a picture it was given."""
    SEEN.append(image.shape[:2])
    return (image[..., 0] > 127).astype(np.float32)


SEEN: list[tuple[int, ...]] = []


def test_zoom_looks_at_the_objects_part_again() -> None:
    values = np.zeros((100, 200, 3), np.uint8)
    values[40:60, 100:140] = 255
    SEEN.clear()
    segmenter = dsunet.Segmenter(bright_part, zoom=True)
    probability = segmenter(values).probability
    assert SEEN == [(100, 200), (30, 60)]
    assert np.array_equal(probability, bright_part(values))
    SEEN.clear()
    assert not segmenter(np.zeros_like(values)).probability.any()
    assert SEEN == [(100, 200)]


def test_zoom_of_several_pictures_is_that_of_each() -> None:
    with torch.no_grad():
        model = network()
    segmenter = dsunet.Segmenter(model, "cpu", "float32", zoom=True, flips=True)
    images = [picture(90, 70), picture(50, 120), picture(64, 64)]
    together = segmenter(images, batch_size=3)
    for image, one in zip(images, together, strict=True):
        np.testing.assert_allclose(one.probability, segmenter(image).probability, atol=1e-4)


@pytest.mark.parametrize("setting", [{"view": 64}, {"flips": True}])
def test_functions_take_pictures_as_they_are(setting: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=f"`{next(iter(setting))}` is for networks"):
        dsunet.Segmenter(bright_part, **setting)  # type: ignore[arg-type]


def test_a_recipe_looks_the_same_way() -> None:
    segmenter = dsunet.Segmenter("dsunet-lite", "cpu", "float32", view=128, flips=True, zoom=True)
    again = segmenter.recipe.build()
    assert again.looks == segmenter.looks
    image = picture()
    assert np.array_equal(again(image).probability, segmenter(image).probability)


def test_going_on_another_way_is_refused(tmp_path: Path) -> None:
    picture().save(tmp_path / "a.png")
    out = tmp_path / "out"
    jobs = plan_outputs([str(tmp_path / "a.png")], out)
    predict_files(dsunet.Segmenter(device="cpu"), jobs, out, Options())
    note = json.loads((out / "prediction.json").read_bytes())
    del note["looks"]  # as it was written before there were any
    (out / "prediction.json").write_text(json.dumps(note))
    predict_files(dsunet.Segmenter(device="cpu"), jobs, out, Options(), resume=True)
    with pytest.raises(OutputError, match="looks"):
        predict_files(dsunet.Segmenter(device="cpu", zoom=True), jobs, out, Options(), resume=True)


def test_a_draft_has_not_the_pixels_for_a_second_look(tmp_path: Path) -> None:
    picture().save(tmp_path / "a.jpg")
    jobs = plan_outputs([str(tmp_path / "a.jpg")], tmp_path / "out")
    segmenter = dsunet.Segmenter(device="cpu", zoom=True)
    with pytest.raises(ConfigError, match="zoom"):
        predict_files(segmenter, jobs, tmp_path / "out", Options(draft=True))
