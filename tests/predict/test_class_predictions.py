"""Prediction of several classes: numbers with a palette, maps of each, overlays with a legend."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import dsunet
from dsunet.cli import main
from dsunet.config import Options
from dsunet.errors import ConfigError
from dsunet.network.classes import class_probabilities
from dsunet.network.layers import resize_bilinear
from dsunet.predict.outputs import check_classes, made
from dsunet.predict.pictures import Segmentation
from dsunet.running.class_maps import class_index, class_masks
from dsunet.running.maps import class_maps_of_logits
from dsunet.visualize.classes import class_colours, class_overlay, index_picture
from dsunet.weights.exported import FileFacts, read_facts
from helpers import nano

CLASSES = ("red", "blue")


def test_the_most_probable_of_classes_and_background() -> None:
    # a column for each case: sums are 0.9, 0.4, 0.5 and 1
    probability = np.array([[[0.6, 0.2, 0.25, 0.5]], [[0.3, 0.2, 0.25, 0.5]]], np.float32)
    assert class_index(probability, True).tolist() == [[1, 0, 0, 1]]
    assert class_masks(probability, True)[:, 0].tolist() == [
        [True, False, False, True],
        [False] * 4,
    ]


def test_classes_that_may_lie_over_each_other() -> None:
    probability = np.array([[[0.6, 0.4, 0.7]], [[0.8, 0.3, 0.5]]], np.float32)
    assert class_index(probability, False).tolist() == [[2, 0, 1]]
    assert class_index(probability, False, 0.9).tolist() == [[0, 0, 0]]
    assert class_masks(probability, False).tolist() == [
        [[True, False, True]],
        [[True, False, True]],
    ]


def test_one_class_is_cut_as_the_one_map() -> None:
    probability = np.array([[[0.5, 0.49999997, 0.500001]]], np.float32)
    assert np.array_equal(class_index(probability, True), probability[0] >= 0.5)


@pytest.mark.parametrize("exclusive", [True, False])
def test_maps_without_torch_are_those_of_torch(exclusive: bool) -> None:
    logits = torch.randn(1, 3, 20, 24, generator=torch.Generator().manual_seed(0)) * 3
    expected = class_probabilities(resize_bilinear(logits, (37, 51)), exclusive)[0].numpy()
    found = class_maps_of_logits(logits[0].numpy(), (37, 51), exclusive)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert found.dtype == np.float32


def test_colours_are_different() -> None:
    colours = class_colours(60)
    assert len(set(colours)) == 60
    assert class_colours(3) == colours[:3]
    assert (0, 0, 0) not in colours


def test_an_index_picture_keeps_its_numbers() -> None:
    index = np.array([[0, 1, 2], [2, 255, 0]], np.uint8)
    picture = index_picture(index, 2)
    assert picture.mode == "P"
    assert np.array_equal(np.asarray(picture), index)
    assert np.asarray(picture.convert("RGB"))[0].tolist() == [
        [0, 0, 0],
        *map(list, class_colours(2)),
    ]


def test_an_overlay_has_a_legend_of_what_is_there() -> None:
    image = Image.new("RGB", (120, 90), "grey")
    index = np.zeros((90, 120), np.uint8)
    assert class_overlay(image, index, CLASSES).size == (120, 90)
    index[20:60, 30:90] = 2
    shown = class_overlay(image, index, CLASSES)
    assert shown.width == 120
    assert shown.height > 90
    pixels, blue = np.asarray(shown), np.array(class_colours(2)[1])
    grey = np.array([128, 128, 128])
    assert np.array_equal(pixels[40, 60], np.round(0.6 * grey + 0.4 * blue))
    assert np.array_equal(pixels[20, 60], blue)  # the outline
    assert np.array_equal(pixels[5, 5], grey)
    strip = pixels[90:].reshape(-1, 3)
    assert (strip == blue).all(1).any()
    assert not (strip == class_colours(1)[0]).all(1).any()
    assert class_overlay(image, index, CLASSES, legend=False).size == (120, 90)


def found(exclusive: bool = True) -> Segmentation:
    rng = np.random.default_rng(0)
    probability = rng.dirichlet([1, 1, 1], (6, 8)).transpose(2, 0, 1)[:2].astype(np.float32)
    image = Image.new("RGB", (8, 6))
    return Segmentation(image, probability, classes=CLASSES, exclusive=exclusive)


def test_a_segmentation_of_classes() -> None:
    result = found()
    assert result.labels.dtype == np.uint8
    assert result.labels.shape == (6, 8)
    assert np.array_equal(result.labels, class_index(result.probability, True))
    one = result.of("blue")
    assert np.array_equal(one.probability, result.probability[1])
    assert one.classes == ()
    assert np.array_equal(one.binary(), result.probability[1] >= 0.5)
    assert result.overlay().width == 8
    with pytest.raises(ConfigError, match="there is no class 'green'; the model's are red, blue"):
        result.of("green")


def test_labels_of_one_map_are_its_object() -> None:
    result = found().of("red")
    assert np.array_equal(result.labels, result.binary().astype(np.uint8))
    with pytest.raises(ConfigError, match="it has one map"):
        result.of("red")


@pytest.mark.parametrize(
    "ask",
    [
        lambda result: result.binary(),
        lambda result: result.cutout(),
        lambda result: result.box(),
        lambda result: result.map(),
        lambda result: result.refined(),
        lambda result: result.abstaining(0.5),
        lambda result: result.score,
        lambda result: result.has_object,
        lambda result: result.overlay(crop=True),
    ],
)
def test_what_is_of_one_object_is_refused_in_a_line(ask: object) -> None:
    with pytest.raises(ConfigError, match=r"takes networks of one map; this one has 2 .*`labels`"):
        ask(found())  # type: ignore[operator]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (Options(save=("binary",)), "`save` labels"),
        (Options(save=("labels", "cutout")), "`save` labels or overlay"),
        (Options(refine=True), "`refine`"),
        (Options(crop_to_object=True), "`crop_to_object`"),
        (Options(abstain=True), "`abstain`"),
        (Options(benchmark_normalization=True), "`benchmark_normalization`"),
        (Options(save=("labels",), threshold=0.4), "exclude each other"),
    ],
)
def test_options_that_are_not_for_classes(options: Options, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        check_classes(options, CLASSES, True)


def test_options_that_are_for_classes() -> None:
    check_classes(Options(save=("labels", "overlay", "probability")), CLASSES, True)
    check_classes(Options(save=("labels",), threshold=0.4), CLASSES, False)
    with pytest.raises(ConfigError, match="`save` binary"):
        check_classes(Options(save=("labels",)), (), False)


def test_the_threshold_counts_where_classes_do_not_exclude_each_other() -> None:
    options = Options(save=("labels",), threshold=0.7)
    result = found(exclusive=False)
    file = made("labels", result, options)
    index = np.asarray(Image.open(io.BytesIO(file)))
    assert np.array_equal(index, class_index(result.probability, False, 0.7))


def test_members_of_an_ensemble_need_the_same_classes() -> None:
    alike = [nano(seed=i, classes=CLASSES) for i in (0, 1)]
    mean = dsunet.Segmenter(alike, "cpu")
    assert mean.classes == CLASSES
    assert mean.exclusive
    image = Image.new("RGB", (40, 30), "teal")
    own = [dsunet.Segmenter(each, "cpu")(image).probability for each in alike]
    np.testing.assert_allclose(mean(image).probability, (own[0] + own[1]) / 2, atol=1e-6)
    for other in (nano(), nano(classes=("blue", "red")), nano(classes=CLASSES, exclusive=False)):
        with pytest.raises(ConfigError, match="different classes"):
            dsunet.Segmenter([alike[0], other], "cpu")


def test_a_second_look_is_of_one_object() -> None:
    with pytest.raises(ConfigError, match="`zoom` takes networks of one map"):
        dsunet.Segmenter(nano(classes=CLASSES), "cpu", zoom=True)
    with pytest.raises(ConfigError, match="`tile` takes networks of one map"):
        dsunet.Segmenter(nano(classes=CLASSES), "cpu", tile=64)


def test_views_and_flips_go_with_classes() -> None:
    segmenter = dsunet.Segmenter(nano(classes=CLASSES), "cpu", view=160, flips=True)
    assert segmenter(Image.new("RGB", (50, 40))).probability.shape == (2, 40, 50)


def test_an_exported_file_says_its_classes() -> None:
    facts = FileFacts("m", ((128, 128), None), "float32", classes=CLASSES, exclusive=True)
    assert read_facts({"dsunet": facts.to_json()}, "f") == facts
    plain = json.loads(FileFacts("m", ((128, 128), None), "float32").to_json())
    assert "classes" not in plain
    assert "exclusive" not in plain


def test_the_command_writes_labels_maps_and_overlays(
    of_classes: Path,
    class_pictures: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    image = class_pictures / "images" / "p0.png"
    usual = [f"{image}", "--weights", f"{of_classes}", "--device", "cpu"]
    assert main(["predict", *usual, "--output", f"{tmp_path / 'usual'}"]) == 0
    assert "classes: 1 red, 2 blue" in capsys.readouterr().out
    labels = Image.open(tmp_path / "usual" / "p0.png")
    result = dsunet.Segmenter(of_classes, "cpu")(image)
    assert labels.mode == "P"
    assert np.array_equal(np.asarray(labels), result.labels)
    save = ["--save", "labels,overlay,probability", "--output", f"{tmp_path / 'all'}"]
    for _ in range(2):
        assert main(["predict", *usual, *save, "--resume"]) == 0
    assert "1 were there already" in capsys.readouterr().out
    files = {str(p.relative_to(tmp_path / "all")) for p in (tmp_path / "all").rglob("*.png")}
    assert files == {
        *("labels/p0.png", "overlay/p0.png", "probability/red/p0.png", "probability/blue/p0.png")
    }
    blue = np.asarray(Image.open(tmp_path / "all" / "probability" / "blue" / "p0.png"))
    assert np.array_equal(blue, result.of("blue").map())
    assert main(["predict", *usual, "--output", f"{tmp_path / 'one.png'}"]) == 0
    assert np.array_equal(np.asarray(Image.open(tmp_path / "one.png")), result.labels)
    assert main(["predict", *usual, "--save", "probability", "--output", f"{tmp_path}/o.png"]) == 1
    assert "a map for each class" in capsys.readouterr().err


def test_the_note_of_one_map_says_nothing_of_classes(
    trained: Path, pictures: Path, tmp_path: Path
) -> None:
    [image, *_] = sorted((pictures / "images").iterdir())
    given = ["predict", f"{image}", "--weights", f"{trained}", "--device", "cpu"]
    assert main([*given, "--output", f"{tmp_path}/o"]) == 0
    assert "classes" not in json.loads((tmp_path / "o" / "prediction.json").read_bytes())
