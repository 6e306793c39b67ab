"""Files with smaller numbers inside: what is in them, how far off they may be, what is refused."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import dsunet
from dsunet.cli import main
from dsunet.data.synthetic import write_synthetic
from dsunet.errors import ConfigError, DataError
from dsunet.export import export_model, material
from dsunet.export.gate import Gate
from dsunet.export.graph import write_onnx
from dsunet.export.limits import MEAN_LIMITS
from dsunet.export.structure import Structure
from dsunet.export.verify import Difference
from dsunet.export.working import DAY, clear_leftovers, working_folder
from dsunet.network.custom import CustomModel
from dsunet.running.maps import quantise
from dsunet.weights.exported import FileFacts
from helpers import SHARED

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
pytest.importorskip("onnxscript", reason="onnxscript is not installed")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

PRECISIONS = ("float16", "int8")
DUTS = SHARED / "data" / "duts-te-200"


class Deep(nn.Module):
    """Six convolutions, resized to the view in the end."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(3, 8, 3, 2, 1)
        self.more = nn.ModuleList(nn.Conv2d(8, 8, 3, 1, 1) for _ in range(4))
        self.last = nn.Conv2d(8, 1, 1)

    def forward(self, view: torch.Tensor) -> torch.Tensor:
        x = self.first(view).relu()
        for layer in self.more:
            x = layer(x).relu()
        return nn.functional.interpolate(self.last(x), size=view.shape[-2:], mode="bilinear")


class Attending(Deep):
    """As `Deep`, with two views, a linear layer, and attention between places."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)

    def forward(self, view: torch.Tensor, other: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        small = nn.functional.avg_pool2d(self.first(other), 8)
        tokens = self.linear(small.flatten(2).transpose(1, 2))[:, None]
        tokens = nn.functional.scaled_dot_product_attention(tokens, tokens, tokens)
        seen = tokens[:, 0].transpose(1, 2).mean(-1)[..., None, None]
        x = self.more[0](self.first(view) + seen).relu()
        return nn.functional.interpolate(self.last(x), size=view.shape[-2:], mode="bilinear")


class Tokens(nn.Module):
    """Patches of 8×8 pixels through two linear layers, which have most of the weights."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(192, 64), nn.GELU(), nn.Linear(64, 64))
        self.last = nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, view: torch.Tensor) -> torch.Tensor:
        height, width = view.shape[-2] // 8, view.shape[-1] // 8
        patches = nn.functional.pixel_unshuffle(view, 8).flatten(2).transpose(1, 2)
        pixels = self.layers(patches).transpose(1, 2).unflatten(2, (height, width))
        return self.last(nn.functional.pixel_shuffle(pixels, 8))  # type: ignore[no-any-return]

    @classmethod
    def model(cls) -> CustomModel:
        return CustomModel(cls(), 128)


def deep() -> CustomModel:
    return CustomModel(Deep(), 128)


def deep_for_the_command() -> CustomModel:
    return deep()


@pytest.fixture(autouse=True)
def _few_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(material, "CALIBRATED", 5)


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    write_synthetic(tmp_path / "data", 7, 64)
    return tmp_path / "data"


def numbers_in(path: Path) -> set[str]:
    names = onnx.TensorProto.DataType
    return {names.Name(each.data_type) for each in onnx.load(path).graph.initializer}


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("dynamic", [False, True])
def test_a_file_of_smaller_numbers(precision: str, dynamic: bool, tmp_path: Path) -> None:
    done = export_model(deep(), tmp_path / "x.onnx", precision=precision, dynamic_size=dynamic)
    segmenter = dsunet.Segmenter(done.path, "cpu")
    assert segmenter.engine.precision == precision
    assert ("FLOAT16" if precision == "float16" else "INT8") in numbers_in(done.path)
    content = onnx.load(done.path)
    ends = [*content.graph.input, *content.graph.output]
    assert {each.type.tensor_type.elem_type for each in ends} == {onnx.TensorProto.FLOAT}
    gate = done.report["compared"]["gate"]
    assert gate["of"] == "largest mean difference of a picture"
    assert gate["limit"] == MEAN_LIMITS[precision]
    assert 0 < gate["found"] <= gate["limit"]
    assert done.report["precision"] == precision
    assert done.report["compared"]["S"] is None
    picture = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    expected, actual = (
        dsunet.Segmenter(model, "cpu", number_type, view=(128, 160) if dynamic else None)(picture)
        for model, number_type in ((deep(), "float32"), (done.path, "auto"))
    )
    np.testing.assert_allclose(expected.probability, actual.probability, atol=0.05)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.json", "x.onnx"]


@pytest.mark.slow
def test_what_int8_is_in(tmp_path: Path) -> None:
    """The first three layers and the last stay as they are; the two between are of int8."""
    path = export_model(deep(), tmp_path / "x.onnx", precision="int8").path
    graph = onnx.load(path).graph
    made_by = {output: node for node in graph.node for output in node.output}
    types = {each.name: each.data_type for each in graph.initializer}
    whole = []
    for node in graph.node:
        if node.op_type == "Conv":
            weight = made_by.get(node.input[1])
            whole.append(weight is not None and types[weight.input[0]] == onnx.TensorProto.INT8)
    assert whole == [False, False, False, True, True, False]


@pytest.mark.slow
@pytest.mark.parametrize("precision", PRECISIONS)
def test_weights_beside_the_file(
    precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of over 2 GB, which these stand for, become smaller numbers all the same."""

    def write_apart(network: Any, facts: FileFacts, path: Path) -> None:
        write_onnx(network, facts, path)
        location = f"{path.name}.data"
        onnx.save(
            onnx.load(path), path, save_as_external_data=True, location=location, size_threshold=0
        )

    together = export_model(Tokens.model(), tmp_path / "x.onnx", precision=precision)
    monkeypatch.setattr("dsunet.export.run.write_onnx", write_apart)
    apart = export_model(Tokens.model(), tmp_path / "y.onnx", precision=precision)
    found, expected = (each.report["compared"]["largest_difference"] for each in (apart, together))
    assert found["largest"] == pytest.approx(expected["largest"], abs=1e-6)
    assert numbers_in(apart.path) == numbers_in(together.path)
    assert {path.name for path in tmp_path.iterdir()} == {"x.onnx", "x.json", "y.onnx", "y.json"}
    if precision == "int8":
        with pytest.raises(
            ConfigError, match="the weights of test_numbers:Deep are over 2 GB, and most of"
        ):
            export_model(deep(), tmp_path / "z.onnx", precision=precision)


@pytest.mark.slow
def test_linear_layers_are_not_calibrated(tmp_path: Path) -> None:
    """All of theirs are of int8, and what comes into them is scaled anew for every batch."""
    lines: list[str] = []
    done = export_model(Tokens.model(), tmp_path / "x.onnx", precision="int8", on_line=lines.append)
    assert "no calibration: ranges are found while the file computes" in lines
    assert done.report["calibration"] == {
        "from": "each batch",
        "pictures": [],
        "method": "dynamic",
        "operators": ["MatMul"],
    }
    kinds = [node.op_type for node in onnx.load(done.path).graph.node]
    assert kinds.count("MatMulInteger") == 2
    assert "MatMul" not in kinds
    for settings, message in (
        (
            {"calibration": tmp_path},
            "but test_numbers:Tokens is made of linear layers, whose ranges are found",
        ),
        ({"format": "openvino"}, "which OpenVINO's format would not make smaller"),
    ):
        pytest.importorskip("openvino", reason="openvino is not installed")
        name = "y.xml" if "format" in settings else "y.onnx"
        with pytest.raises(ConfigError, match=message):
            export_model(Tokens.model(), tmp_path / name, precision="int8", **settings)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.slow
def test_two_views_and_attention(precision: str, tmp_path: Path) -> None:
    model = CustomModel(Attending(), 128, 96)
    done = export_model(model, tmp_path / "x.onnx", precision=precision)
    assert done.report["compared"]["largest_difference"]["largest"] < 0.05
    kinds = {node.op_type for node in onnx.load(done.path).graph.node}
    assert {"MatMul", "Softmax"} <= kinds


@pytest.mark.parametrize("precision", ["float32", *PRECISIONS])
def test_pictures_with_masks_are_measured(precision: str, pairs: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    (pairs / "images" / "salient_00000.jpg").write_bytes(b"no picture")
    done = export_model(
        deep(), tmp_path / "x.onnx", precision=precision, pictures=pairs, on_line=lines.append
    )
    compared = done.report["compared"]
    structure = compared["S"]
    assert structure["pairs"] == 6
    assert structure["protocol"] == "raw"
    assert structure["drop"] == pytest.approx(structure["model"] - structure["file"], abs=1e-12)
    (pairs / "masks" / "salient_00000.png").unlink()
    for name, model in (("model", deep()), ("file", done.path)):
        segmenter = dsunet.Segmenter(model, "cpu", "float32" if name == "model" else "auto")
        (tmp_path / name).mkdir()
        for mask in (pairs / "masks").iterdir():
            probability = segmenter(pairs / "images" / f"{mask.stem}.jpg").probability
            Image.fromarray(quantise(probability)).save(tmp_path / name / mask.name)
        measured = dsunet.evaluate(tmp_path / name, pairs / "masks")
        assert measured["S"] == pytest.approx(structure[name], abs=1e-9)
    if precision != "float32":
        assert compared["gate"]["of"] == "drop of S"
        assert compared["gate"]["limit"] == 0.002
    if precision == "int8":
        assert done.report["calibration"]["from"] == "the data that it is verified on"
        assert len(done.report["calibration"]["pictures"]) == 5
    assert any(line.startswith("left out: ") and "salient_00000" in line for line in lines)


@pytest.mark.slow
def test_what_it_is_calibrated_on(pairs: Path, tmp_path: Path) -> None:
    made = export_model(deep(), tmp_path / "a.onnx", precision="int8").report["calibration"]
    assert made["from"] == "made"
    assert len(made["pictures"]) == 5
    images = pairs / "images"
    seen = export_model(deep(), tmp_path / "b.onnx", precision="int8", pictures=images).report
    assert seen["compared"]["S"] is None
    assert seen["calibration"]["from"] == "the data that it is verified on"
    given = export_model(deep(), tmp_path / "c.onnx", precision="int8", calibration=pairs).report
    assert given["calibration"]["from"] == "the calibration data"
    assert len(given["calibration"]["pictures"]) == 5


@pytest.mark.parametrize("masks", [False, True])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_what_is_too_far_off_is_no_file(
    precision: str,
    masks: bool,
    pairs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A conversion that spoils the weights of one layer."""
    from dsunet.export import precision as conversions

    save = conversions._save

    def spoiling(model: object, path: Path, facts: FileFacts) -> None:
        for each in model.graph.initializer:  # type: ignore[attr-defined]
            if "last.bias" in each.name and each.data_type in (1, 10):
                values = onnx.numpy_helper.to_array(each)
                each.CopyFrom(onnx.numpy_helper.from_array(values + 3, each.name))
        save(model, path, facts)

    monkeypatch.setattr(conversions, "_save", spoiling)
    monkeypatch.chdir(Path(__file__).parent)
    folder = tmp_path / "out"
    command = ["export", "test_numbers:deep_for_the_command", "--precision", precision]
    command += ["--verify-data", str(pairs if masks else pairs / "images")]
    assert main([*command, "--output", str(folder / "x.onnx")]) == 1
    [line] = capsys.readouterr().err.strip().splitlines()
    assert f"the {precision} file of" in line
    assert "of its layers Conv (" in line
    assert "differs most" in line
    assert ("a drop of" if masks else "in the mean") in line
    assert list(folder.iterdir()) == []


def test_a_number_that_is_none_does_not_pass() -> None:
    apart = Difference(float("nan"), float("nan"), "a", 1, (128, 128), "a")
    structure = Structure("raw", 3, 0.9, float("nan"), float("nan"), float("nan"), "a")
    for precision in ("float32", *PRECISIONS):
        assert not Gate.of_file(precision, apart, None, 0.002).passed
    assert not Gate.of_file("int8", apart, structure, 0.002).passed
    close = replace(structure, drop=0.002)
    assert Gate.of_file("int8", apart, close, 0.002).passed
    assert not Gate.of_file("int8", apart, replace(close, drop=0.0021), 0.002).passed


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"precision": "int4"}, "`precision` is 'int4', but needs one of float32, float16, int8"),
        ({"calibration": "x"}, "`calibration_data` is x, but only int8 files are calibrated"),
        ({"max_drop": 2.0}, "`max_drop` is 2.0, but needs a number in 0..1"),
    ],
)
def test_settings_that_do_not_go_together(
    settings: dict[str, object], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        export_model(deep(), tmp_path / "x.onnx", **settings)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_pairs_that_do_not_go_together(pairs: Path, tmp_path: Path) -> None:
    (pairs / "masks" / "salient_00000.png").unlink()
    with pytest.raises(DataError, match="images without a mask"):
        export_model(deep(), tmp_path / "x.onnx", pictures=pairs)
    with pytest.raises(DataError, match="there is no folder"):
        export_model(deep(), tmp_path / "x.onnx", precision="int8", calibration=tmp_path / "no")


def test_what_killed_exports_left_goes(tmp_path: Path) -> None:
    with working_folder(tmp_path) as own:
        start, _, random = own.name.rsplit("-", 2)
        gone = tmp_path / f"{start}-{2**22 + 1}-{random}"
        elsewhere = tmp_path / f".dsunet-export-another.host-{2**22 + 1}-{random}"
        old = tmp_path / ".dsunet-export-anything"
        link = tmp_path / f"{start}-{2**22 + 2}-{random}"
        kept = tmp_path / "kept"
        for folder in (gone, elsewhere, old, kept):
            folder.mkdir()
            (folder / "x.onnx").write_bytes(b"x")
        link.symlink_to(kept, target_is_directory=True)
        past = time.time() - 2 * DAY
        for path in (old / "x.onnx", old):
            os.utime(path, (past, past))
        clear_leftovers(tmp_path)
        there = {path.name for path in tmp_path.iterdir()}
        assert there == {own.name, elsewhere.name, link.name, kept.name}
        assert (kept / "x.onnx").exists()
        os.utime(elsewhere, (past, past))  # but its file is new
        clear_leftovers(tmp_path)
        assert elsewhere.exists()
    assert not own.exists()


def test_an_export_clears_before_it_writes(tmp_path: Path) -> None:
    with working_folder(tmp_path) as own:
        start, _, random = own.name.rsplit("-", 2)
    (tmp_path / f"{start}-{2**22 + 1}-{random}").mkdir()
    export_model(deep(), tmp_path / "x.onnx")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.json", "x.onnx"]


@pytest.mark.slow
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", ["dsunet-nano", "sam2unet-nano"])
def test_our_models(name: str, precision: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = dsunet.create_model(name, None)
    done = export_model(model, tmp_path / "x.onnx", precision=precision)
    assert done.report["compared"]["gate"]["found"] <= MEAN_LIMITS[precision]


@pytest.mark.slow
@pytest.mark.parametrize("precision", PRECISIONS)
def test_lite_on_real_pictures(precision: str, tmp_path: Path) -> None:
    if not DUTS.is_dir():
        pytest.skip(f"{DUTS} is not there")
    done = export_model("dsunet-lite", tmp_path / "x.onnx", precision=precision, pictures=DUTS)
    structure = done.report["compared"]["S"]
    assert structure["pairs"] == 200
    assert structure["drop"] <= 0.002
    assert done.report["bytes"] < (9e6 if precision == "float16" else 6e6)
    assert json.loads((tmp_path / "x.json").read_text())["precision"] == precision


def test_too_few_layers_for_int8(tmp_path: Path) -> None:
    network = CustomModel(nn.Conv2d(3, 1, 3, 1, 1), 128)
    with pytest.raises(ConfigError, match=r"int8, but the 1 layers of .* choose float16"):
        export_model(network, tmp_path / "x.onnx", precision="int8")
    assert list(tmp_path.iterdir()) == []
