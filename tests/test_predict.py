"""Prediction: sizes, kinds of output, and what happens to broken images."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import dsunet
from dsunet.data.synthetic import synthetic_pair
from dsunet.devices import choose_device, choose_precision
from dsunet.errors import DataError, DeviceError, ImageError, OutputError
from dsunet.inference import quantise
from dsunet.predict import Options, plan_outputs, predict_files
from helpers import nano


@pytest.fixture(scope="module")
def segmenter() -> dsunet.Segmenter:
    return dsunet.Segmenter(nano(), device="cpu")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    (folder / "deep").mkdir(parents=True)
    for number, size in enumerate((50, 81, 200)):
        synthetic_pair(number, size)[0].resize((size, 64)).save(folder / f"{number}.png")
    synthetic_pair(3, 40)[0].save(folder / "deep" / "0.jpg")
    return folder


def test_masks_have_the_images_own_size(segmenter: dsunet.Segmenter, images: Path) -> None:
    for path in sorted(images.glob("*.png")):
        result = segmenter(path)
        with Image.open(path) as image:
            height, width = image.height, image.width
        assert result.probability.shape == (height, width)
        assert result.probability.dtype == np.float32
        assert 0 <= result.probability.min() <= result.probability.max() <= 1
        assert result.binary(0.3).shape == (height, width)
        assert result.overlay().size == (width, height)
        assert result.cutout().mode == "RGBA"


def test_path_picture_and_array_agree(segmenter: dsunet.Segmenter, images: Path) -> None:
    path = images / "1.png"
    with Image.open(path) as image:
        picture = image.convert("RGB")
    expected = segmenter(path).probability
    for given in (str(path), picture, np.asarray(picture)):
        np.testing.assert_array_equal(segmenter(given).probability, expected)


def test_a_picture_is_treated_like_its_file(segmenter: dsunet.Segmenter, tmp_path: Path) -> None:
    """EXIF orientation, transparency and 16 bits, which Pillow leaves to the caller."""
    exif = Image.Exif()
    exif[0x0112] = 6
    picture, mask = synthetic_pair(0, 60)
    picture.crop((0, 0, 60, 40)).save(tmp_path / "turned.jpg", exif=exif)
    clear = picture.copy()
    clear.putalpha(mask)
    clear.save(tmp_path / "clear.png")
    deep = np.asarray(picture.convert("L")).astype(np.uint16) * 257
    Image.fromarray(deep).save(tmp_path / "deep.png")
    for file in sorted(tmp_path.iterdir()):
        with Image.open(file) as image:
            given = segmenter(image)
        expected = segmenter(file)
        assert given.image.size == expected.image.size
        np.testing.assert_array_equal(given.probability, expected.probability, file.name)


def test_wrong_arrays(segmenter: dsunet.Segmenter) -> None:
    for array in (np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32)):
        with pytest.raises(ImageError, match="H×W×3 uint8"):
            segmenter(array)


def test_probability_is_the_resized_fine_output(segmenter: dsunet.Segmenter) -> None:
    image, _ = synthetic_pair(0, 70)
    sam = dsunet.data.image_view(image, (128, 128))[None]
    dino = dsunet.data.image_view(image, (112, 112))[None]
    with torch.no_grad():
        logits = segmenter.model(sam, dino).fine
    resized = torch.nn.functional.interpolate(logits, (70, 70), mode="bilinear")
    expected = torch.sigmoid(resized)[0, 0].numpy()
    np.testing.assert_allclose(segmenter(image).probability, expected, atol=1e-6)


def test_quantise_by_hand() -> None:
    map_ = np.array([[0.2, 0.4], [0.4, 0.7]], np.float32)
    np.testing.assert_array_equal(quantise(map_), [[51, 102], [102, 178]])
    # stretched: 0, 0.4, 0.4, 1 - ε; times 255: 0, 102, 102, 254.99…: cut off, not rounded
    stretched = quantise(map_, benchmark_normalization=True)
    np.testing.assert_array_equal(stretched[0], [0, 102])
    assert stretched[1, 1] in (254, 255)
    flat = np.full((2, 2), 0.3, np.float32)
    np.testing.assert_array_equal(quantise(flat, benchmark_normalization=True), 0)


def test_binary_threshold() -> None:
    result = dsunet.Segmentation(Image.new("RGB", (2, 1)), np.array([[0.5, 0.49]], np.float32))
    assert result.binary().tolist() == [[True, False]]
    assert result.binary(0.4).all()


def test_overlay_marks_the_object_and_leaves_the_rest() -> None:
    probability = np.zeros((40, 40), np.float32)
    probability[15:25, 15:25] = 1
    result = dsunet.Segmentation(Image.new("RGB", (40, 40), (0, 0, 200)), probability)
    drawn = np.asarray(result.overlay())
    assert (drawn[20, 20] != (0, 0, 200)).any()
    assert (drawn[14, 20] == (255, 64, 32)).all()
    assert (drawn[0, 0] == (0, 0, 200)).all()
    assert np.asarray(result.cutout())[20, 20].tolist() == [0, 0, 200, 255]
    assert np.asarray(result.cutout())[0, 0, 3] == 0


def test_folder_keeps_its_tree(segmenter: dsunet.Segmenter, images: Path, tmp_path: Path) -> None:
    jobs = plan_outputs([images], tmp_path / "out")
    assert [str(job.name) for job in jobs] == ["0.png", "1.png", "2.png", "deep/0.png"]
    seen: list[tuple[int, int]] = []
    report = predict_files(
        segmenter, jobs, tmp_path / "out", progress=lambda done, total: seen.append((done, total))
    )
    assert report == dsunet.predict.Report(written=4)
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    for job in jobs:
        with Image.open(tmp_path / "out" / job.name) as map_, Image.open(job.image) as image:
            assert map_.mode == "L"
            assert map_.size == image.size
            expected = quantise(segmenter(job.image).probability)
            np.testing.assert_array_equal(np.asarray(map_), expected)


def test_several_kinds_get_a_folder_each(
    segmenter: dsunet.Segmenter, images: Path, tmp_path: Path
) -> None:
    jobs = plan_outputs([images / "0.png"], tmp_path / "o", dsunet.predict.KINDS)
    predict_files(segmenter, jobs, tmp_path / "o", Options(dsunet.predict.KINDS, threshold=0.4))
    modes = {"probability": "L", "binary": "L", "overlay": "RGB", "cutout": "RGBA"}
    for kind, mode in modes.items():
        with Image.open(tmp_path / "o" / kind / "0.png") as image:
            assert image.mode == mode
    with Image.open(tmp_path / "o" / "binary" / "0.png") as image:
        expected = segmenter(images / "0.png").binary(0.4)
        np.testing.assert_array_equal(np.asarray(image) == 255, expected)


def test_a_broken_image_does_not_stop_the_others(
    segmenter: dsunet.Segmenter, images: Path, tmp_path: Path
) -> None:
    (images / "1.png").write_bytes(b"broken")
    report = predict_files(
        segmenter, plan_outputs([images], tmp_path / "out"), tmp_path / "out", batch_size=4
    )
    assert report.written == 3
    assert [path.name for path, _ in report.failures] == ["1.png"]
    assert "not a readable image" in report.failures[0][1]
    with open(tmp_path / "out" / "failures.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows] == [str(images / "1.png")]
    assert rows[0]["reason"].startswith("not a readable image")
    written = {str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*.png")}
    assert written == {"0.png", "2.png", "deep/0.png"}


def test_outputs_never_replace_inputs(images: Path) -> None:
    with pytest.raises(OutputError, match=r"0\.png would be overwritten by a probability"):
        plan_outputs([images / "0.png"], images)
    with pytest.raises(OutputError, match="overwritten"):
        plan_outputs([images], images)
    assert len(plan_outputs([images], images, ["binary", "overlay"])) == 4


def test_earlier_outputs_are_not_segmented(images: Path) -> None:
    (images / "out").mkdir()
    Image.new("L", (4, 4)).save(images / "out" / "0.png")
    names = [str(job.name) for job in plan_outputs([images], images / "out")]
    assert names == ["0.png", "1.png", "2.png", "deep/0.png"]


def test_a_list_of_names(images: Path) -> None:
    jobs = plan_outputs([images], "out", names=["1", "2"])
    assert [str(job.name) for job in jobs] == ["1.png", "2.png"]
    with pytest.raises(DataError, match=r"1 of the 2 names .*\(nobody\)"):
        plan_outputs([images], "out", names=["1", "nobody"])


def test_plans_that_cannot_work(images: Path, tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(images / "0.bmp")
    with pytest.raises(DataError, match=r"1 outputs .*0\.bmp and .*0\.png: 0\.png"):
        plan_outputs([images], "out")
    with pytest.raises(DataError, match="there is no file or folder"):
        plan_outputs([tmp_path / "absent"], "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no images"):
        plan_outputs([tmp_path / "empty"], "out")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU, so cuda is no error")
def test_no_silent_fallback_to_the_cpu() -> None:
    with pytest.raises(DeviceError, match="no usable NVIDIA GPU"):
        dsunet.Segmenter(nano(), device="cuda")


def test_devices_and_precisions() -> None:
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_precision("auto", torch.device("cpu")) == torch.float32
    assert choose_precision("bfloat16", torch.device("cpu")) == torch.bfloat16
    with pytest.raises(DeviceError, match="'abacus' is unknown"):
        choose_device("abacus")
    with pytest.raises(DeviceError, match="not supported"):
        choose_device("meta")
    with pytest.raises(DeviceError, match="needs a GPU"):
        choose_precision("float16", torch.device("cpu"))
