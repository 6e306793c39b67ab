"""Engines: who runs a model, and what an engine says of itself."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import dsunet
from dsunet.data.synthetic import synthetic_pair
from dsunet.errors import ConfigError, CustomModelError, ImageError
from dsunet.predict import Options, plan_outputs, predict_files
from dsunet.predict.engines.base import Engine
from dsunet.predict.engines.function import FunctionEngine
from dsunet.predict.engines.torch import TorchEngine
from dsunet.support.files import sha256_of
from helpers import nano


def red(image: np.ndarray) -> np.ndarray:
    return image[..., 0] / np.float32(255)


@pytest.fixture(scope="module")
def segmenter() -> dsunet.Segmenter:
    return dsunet.Segmenter(nano(), device="cpu", engine="torch")


def test_what_a_network_of_torch_can_do(segmenter: dsunet.Segmenter, tmp_path: Path) -> None:
    engine = segmenter.engine
    assert isinstance(engine, TorchEngine)
    assert (engine.batches, engine.takes_weights) == (True, True)
    assert (engine.views, engine.largest_side) == (((128, 128), (112, 112)), 128)
    assert (engine.device, engine.precision) == (torch.device("cpu"), "float32")
    assert engine.parameters == sum(p.numel() for p in nano().parameters())
    assert engine.identity() == dsunet.Segmenter(nano(), "cpu").engine.identity()
    assert engine.identity() != dsunet.Segmenter(nano(seed=1), "cpu").engine.identity()
    dsunet.save(nano(), tmp_path / "w.safetensors")
    saved = dsunet.Segmenter(tmp_path / "w.safetensors", "cpu").engine
    assert saved.identity() == {"sha256": sha256_of(tmp_path / "w.safetensors")}


def test_what_a_function_can_do() -> None:
    segmenter = dsunet.Segmenter(red, "cpu")
    engine = segmenter.engine
    assert isinstance(engine, FunctionEngine)
    assert (engine.batches, engine.takes_weights, engine.parameters) == (False, False, 0)
    assert engine.views is segmenter.largest_side is None
    assert engine.name.endswith(":red")
    assert engine.identity() == {"sha256": None, **segmenter.identity}
    assert segmenter.identity["model"] == engine.name
    assert not hasattr(segmenter, "sam_size")
    picture = synthetic_pair(0, 40)[0]
    assert engine.prepare(picture) is picture
    np.testing.assert_array_equal(segmenter(picture).probability, red(np.asarray(picture)))


def test_the_friendly_layer_says_what_its_engine_says(segmenter: dsunet.Segmenter) -> None:
    engine = segmenter.engine
    assert segmenter.model is engine.model
    assert segmenter.original is engine.original
    assert (segmenter.sam_size, segmenter.dino_size) == engine.views
    assert (segmenter.device, segmenter.dtype) == (engine.device, torch.float32)
    assert segmenter.settings == {"fold_batchnorm": False, "int8": False, "compile": False}
    half = dsunet.Segmenter(nano(), "cpu", "bfloat16")
    assert (half.dtype, half.engine.precision) == (torch.bfloat16, "bfloat16")


def test_engines_that_there_are_not() -> None:
    with pytest.raises(ConfigError, match=r"`engine` is 'abacus', but needs one of auto, torch"):
        dsunet.Segmenter("no-such-file", engine="abacus")
    with pytest.raises(ConfigError, match=r"'torch', which is for networks, but .*:red is a func"):
        dsunet.Segmenter(red, engine="torch")


class Halves(Engine[Image.Image]):
    """An engine of somebody else's: half everywhere, and nothing for images that are too wide."""

    name = "halves"
    model = None
    device = torch.device("cpu")
    dtype = torch.float32
    settings = {"fold_batchnorm": False, "int8": False, "compile": False}  # noqa: RUF012

    @property
    def parameters(self) -> int:
        return 0

    def identity(self) -> dict[str, str | None]:
        return {"sha256": "half"}

    def prepare(self, picture: Image.Image, size: tuple[int, int] | None = None) -> Image.Image:
        return picture

    def probabilities(self, prepared: object) -> list[np.ndarray]:
        (picture,) = prepared  # type: ignore[misc,attr-defined]
        if picture.width > 50:
            raise CustomModelError("it is too wide")
        return [np.full((picture.height, picture.width), 0.5, np.float32)]


def test_folders_are_predicted_by_any_engine(segmenter: dsunet.Segmenter, tmp_path: Path) -> None:
    """Files, passes and notes ask the engine alone; no other class is known to them."""
    for number, side in enumerate((40, 60, 30)):
        synthetic_pair(number, side)[0].save(tmp_path / f"{number}.png")
    other = dsunet.Segmenter(red, "cpu")
    other.engine = Halves()
    jobs = plan_outputs([tmp_path], tmp_path / "out")
    report = predict_files(other, jobs, tmp_path / "out", batch_size=3)
    assert report.written == 2
    assert [reason for _, reason in report.failures] == [f"{tmp_path / '1.png'}: it is too wide"]
    with pytest.raises(ConfigError, match="`draft` is for networks"):
        predict_files(other, jobs, tmp_path / "out", Options(draft=True))
    with pytest.raises(dsunet.DsunetError, match="made in another way .sha256"):
        predict_files(segmenter, jobs, tmp_path / "out", resume=True)


def test_networks_that_fail_stop_everything(tmp_path: Path) -> None:
    """What a network gives does not depend on the image, as what a function gives may."""
    synthetic_pair(0, 40)[0].save(tmp_path / "0.png")
    network = dsunet.CustomModel(nn.Conv2d(3, 2, 1), 64)
    with pytest.raises(CustomModelError, match="logits of one channel are needed"):
        predict_files(
            dsunet.Segmenter(network, "cpu"),
            plan_outputs([tmp_path], tmp_path / "out"),
            tmp_path / "out",
        )


def test_images_from_everywhere_agree(segmenter: dsunet.Segmenter, tmp_path: Path) -> None:
    """Path, bytes, open file, picture and array, one by one and as a list."""
    path = tmp_path / "a.png"
    picture = synthetic_pair(0, 60)[0]
    picture.save(path)
    content = path.read_bytes()
    expected = segmenter(path).probability
    with open(path, "rb") as file:
        given = [path, str(path), content, bytearray(content), memoryview(content), file, picture]
        results = segmenter([*given, np.asarray(picture)])
    assert len(results) == 8
    for result in results:
        np.testing.assert_array_equal(result.probability, expected)
    with open(path, "rb") as file:
        np.testing.assert_array_equal(segmenter(file).probability, expected)
    np.testing.assert_array_equal(segmenter((content,))[0].probability, expected)
    assert segmenter([]) == []


def test_lists_in_passes_of_several(
    segmenter: dsunet.Segmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = [synthetic_pair(number, 40 + number)[0] for number in range(5)]
    one_by_one = segmenter(pictures)
    passes, probabilities = [], segmenter.probabilities

    def counted(prepared: list[object]) -> list[np.ndarray]:
        passes.append(len(prepared))
        return probabilities(prepared)

    monkeypatch.setattr(segmenter, "probabilities", counted)
    together = segmenter(pictures, batch_size=2)
    assert passes == [2, 2, 1]
    for one, other in zip(one_by_one, together, strict=True):
        np.testing.assert_allclose(other.probability, one.probability, atol=1e-5)
    function = dsunet.Segmenter(red, "cpu")
    assert len(function(pictures, batch_size=3)) == 5
    with pytest.raises(ConfigError, match="`batch_size` is 0, but needs at least 1"):
        segmenter(pictures, batch_size=0)


def test_things_that_are_no_images(segmenter: dsunet.Segmenter, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="the given bytes are a PDF document; give the content of"):
        segmenter(b"%PDF-1.7\n")
    for thing, kind in ((None, "NoneType"), (7, "int"), ({"a": 1}, "dict")):
        with pytest.raises(ImageError, match=f"an object of type {kind} is no image; give a path"):
            segmenter(thing)  # type: ignore[call-overload]
    (tmp_path / "page.txt").write_text("<html>")
    with (
        open(tmp_path / "page.txt") as text,
        pytest.raises(ImageError, match=r"page\.txt gives str, but bytes are needed; .*\"rb\""),
    ):
        segmenter(text)  # type: ignore[call-overload]
    with (
        open(tmp_path / "page.txt", "rb") as binary,
        pytest.raises(ImageError, match=r"page\.txt: not a readable image \(it is a web page\)"),
    ):
        segmenter(binary)
    with pytest.raises(ImageError, match=r"page\.txt: cannot be read \(.*closed file"):
        segmenter(binary)


def test_nobody_but_engines_asks_what_kind_of_model_it_is() -> None:
    """Files, figures, measures and the command ask the engine, or the model's own attributes."""
    source = Path(dsunet.__file__).parent
    rooms = [*(source / "metrics").rglob("*.py"), *(source / "visualize").rglob("*.py")]
    files = [*rooms, *(source / "predict").glob("*.py"), source / "cli" / "predict.py"]
    kinds = re.compile(
        r"isinstance\([^()]*\b(SegmentationModel|CustomModel|ImageFunction|DSUNet|\w*Encoder)\b"
    )
    assert [file for file in files if kinds.search(file.read_text(encoding="utf-8"))] == []
