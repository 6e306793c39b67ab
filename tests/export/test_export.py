"""Exported files: what is in them, that they say what the network says, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import dsunet
from dsunet.cli import main
from dsunet.errors import CheckpointError, ConfigError, DeviceError
from dsunet.export import export_model
from dsunet.export import run as export_run
from dsunet.export.material import Case, made_pictures
from dsunet.export.verify import compare
from dsunet.network.custom import CustomModel
from dsunet.predict.engines.onnx import OnnxFile
from dsunet.weights.exported import KEY, FileFacts, read_facts

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
pytest.importorskip("onnxscript", reason="onnxscript is not installed")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")


class Small(nn.Module):
    """Two convolutions at half the size, for one view."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 1, 3, 1, 1)
        )

    def forward(self, view: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.layers(view)
        return out


class Both(Small):
    """As `Small`, of two views."""

    def forward(self, view: torch.Tensor, other: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        small = nn.functional.interpolate(other, size=view.shape[-2:])
        out: torch.Tensor = self.layers(view + small)
        return out


def small() -> CustomModel:
    return CustomModel(Small(), 128)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_model(small(), tmp_path_factory.mktemp("export") / "small.onnx").path


def picture(seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def test_the_file_says_what_the_network_says(exported: Path) -> None:
    network = dsunet.Segmenter(small(), "cpu", "float32")
    file = dsunet.Segmenter(exported, "cpu")
    assert file.view == (128, 128)
    assert file.engine.precision == "float32"
    pictures = [picture(seed) for seed in range(5)]
    for size in (1, 2, 3, 5):
        for one, other in zip(
            network(pictures, batch_size=size), file(pictures, batch_size=size), strict=True
        ):
            assert one.probability.shape == other.probability.shape == (90, 120)
            np.testing.assert_allclose(one.probability, other.probability, atol=1e-5)
    flipped = [s(picture()).probability for s in (network, file)]
    mirrored = [
        dsunet.Segmenter(model, "cpu", "float32", flips=True)(picture()).probability
        for model in (small(), exported)
    ]
    np.testing.assert_allclose(*mirrored, atol=1e-5)
    assert not np.allclose(flipped[0], mirrored[0], atol=1e-4)


def test_the_file_alone_is_enough(exported: Path) -> None:
    facts = OnnxFile(exported).facts
    assert facts.name.endswith(":Small")
    assert facts.views == ((128, 128), None)
    assert facts.parameters == sum(p.numel() for p in Small().parameters())
    content = onnx.load(exported)
    about = json.loads({p.key: p.value for p in content.metadata_props}[KEY])
    assert about["preprocessing"]["mean"] == [0.485, 0.456, 0.406]
    assert about["made_by"]["torch"] == torch.__version__.split("+")[0]
    [given] = content.graph.input
    assert given.name == "sam_image"
    sizes = [dim.dim_value for dim in given.type.tensor_type.shape.dim]
    assert sizes == [0, 3, 128, 128]  # 0: any
    assert [output.name for output in content.graph.output] == ["probability", "logits"]


def test_the_report_stands_beside_it(exported: Path) -> None:
    report = json.loads(exported.with_suffix(".json").read_text())
    assert report["bytes"] == exported.stat().st_size
    assert report["compared"]["batches"] == [1, 2, 3, 5]
    assert 0 <= report["compared"]["largest_difference"]["largest"] <= 1e-4
    assert sorted(path.name for path in exported.parent.iterdir()) == ["small.json", "small.onnx"]


@pytest.mark.slow
def test_two_views(tmp_path: Path) -> None:
    model = CustomModel(Both(), 128, 96)
    path = export_model(model, tmp_path / "both.onnx").path
    assert [i.name for i in onnx.load(path).graph.input] == ["sam_image", "dino_image"]
    expected, actual = (
        dsunet.Segmenter(given, "cpu", "float32")(picture()).probability for given in (model, path)
    )
    np.testing.assert_allclose(expected, actual, atol=1e-5)
    with pytest.raises(ConfigError, match="`dynamic_size` is for networks with one view"):
        export_model(model, tmp_path / "other.onnx", dynamic_size=True)


@pytest.mark.slow
def test_another_view(tmp_path: Path, exported: Path) -> None:
    path = export_model(small(), tmp_path / "any.onnx", dynamic_size=True).path
    expected, actual = (
        dsunet.Segmenter(given, "cpu", "float32", view=(160, 224))(picture()).probability
        for given in (small(), path)
    )
    np.testing.assert_allclose(expected, actual, atol=1e-5)
    with pytest.raises(ConfigError, match="takes multiples of 32"):
        dsunet.Segmenter(path, "cpu", view=(150, 160))
    with pytest.raises(ConfigError, match="was exported for 128×128"):
        dsunet.Segmenter(exported, "cpu", view=160)


def test_what_differs_is_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file of other weights than the network's, as a wrong translation would be."""
    write = export_run.write_onnx

    def wrong(network: CustomModel, facts: FileFacts, path: Path) -> None:
        other = small()
        with torch.no_grad():
            other.network.layers[3].bias += 0.01
        write(other, facts, path)

    monkeypatch.setattr(export_run, "write_onnx", wrong)
    monkeypatch.chdir(Path(__file__).parent)
    status = main(
        ["export", "test_export:small_for_the_command", "--output", str(tmp_path / "x.onnx")]
    )
    error = capsys.readouterr().err
    assert status == 1
    assert "is not what it was made of" in error
    assert "made " in error
    assert len(error.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def small_for_the_command() -> nn.Module:
    return CustomModel(Small(), 128)


def test_the_difference_is_where_it_is() -> None:
    """Hand-made: one picture's map is off by 0.25 at one pixel."""
    network = small().eval()
    cases = made_pictures(3)
    cases.insert(1, Case("odd", Image.new("RGB", (50, 40), "white")))
    facts = FileFacts("small", ((128, 128), None), "float32")

    def session(view: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            out = torch.sigmoid(network(torch.from_numpy(view)).fine).numpy()
        white = view.min(axis=(1, 2, 3)) > 2
        out[white, 0, 3, 4] += 0.25
        return out

    found = compare(network, session, facts, cases)
    assert found.picture == "odd"
    assert found.largest == pytest.approx(0.25, abs=1e-6)
    assert found.largest_mean == pytest.approx(0.25 / 128**2, abs=1e-6)


def test_predict_takes_it(
    exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture().save(tmp_path / "photo.png")
    command = ["predict", str(tmp_path / "photo.png"), "--weights", str(exported)]
    assert main([*command, "--output", str(tmp_path / "maps")]) == 0
    assert "on cpu, float32" in capsys.readouterr().out
    with Image.open(tmp_path / "maps" / "photo.png") as map_:
        expected = dsunet.Segmenter(exported, "cpu")(picture()).probability
        np.testing.assert_array_equal(np.asarray(map_), np.round(expected * 255).astype(np.uint8))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"int8": True}, "`int8` is for networks of torch"),
        ({"compile": True}, "`compile` is for networks of torch"),
        ({"precision": "bfloat16"}, "`precision` is bfloat16, but"),
        ({"engine": "torch"}, "`engine` is torch, but"),
        ({"semantic_weights": "x.pth"}, "`semantic_weights` goes with a weights file"),
    ],
)
def test_what_does_not_go_with_a_file(
    exported: Path, settings: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        dsunet.Segmenter(exported, "cpu", **settings)  # type: ignore[arg-type]


def test_only_the_cpu(exported: Path) -> None:
    with pytest.raises(DeviceError, match="exported files run on the CPU"):
        dsunet.Segmenter(exported, "cuda")


def test_models_that_cannot_be_exported(tmp_path: Path, exported: Path) -> None:
    def contrast(image: np.ndarray) -> np.ndarray:
        return image[..., 0] / np.float32(255)

    with pytest.raises(ConfigError, match="is a function of an image"):
        export_model(contrast, tmp_path / "x.onnx")
    with pytest.raises(ConfigError, match="is exported already"):
        export_model(exported, tmp_path / "x.onnx")
    with pytest.raises(ConfigError, match="onnxruntime runs exported files; make one by"):
        dsunet.Segmenter(small(), "cpu", engine="onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_network_of_three_channels(tmp_path: Path) -> None:
    with pytest.raises(dsunet.DsunetError, match="logits of one channel are needed") as caught:
        export_model(CustomModel(nn.Conv2d(3, 3, 1), 128), tmp_path / "x.onnx")
    assert "exporter" not in str(caught.value)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "x.onnx").mkdir()
    with pytest.raises(dsunet.DsunetError, match="is a folder; name a file"):
        export_model(small(), tmp_path / "x.onnx")
    with pytest.raises(dsunet.DsunetError, match="there is no folder .*nowhere"):
        export_model(small(), tmp_path / "y.onnx", pictures=tmp_path / "nowhere")


def test_a_network_that_depends_on_values(tmp_path: Path) -> None:
    class Branching(Small):
        def forward(self, view: torch.Tensor) -> torch.Tensor:
            return super().forward(view if view.mean() > 0 else -view)

    with pytest.raises(dsunet.DsunetError, match="torch's exporter does not follow it") as caught:
        export_model(CustomModel(Branching(), 128), tmp_path / "x.onnx")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def broken(kind: str, exported: Path, folder: Path) -> Path:
    path = folder / "broken.onnx"
    content = exported.read_bytes()
    if kind == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_bytes(b"<html>404</html>")
    elif kind != "missing":
        model = onnx.load(exported)
        if kind == "not ours":
            del model.metadata_props[:]
        elif kind == "of the future":
            model.metadata_props[0].value = '{"form": 99}'
        elif kind == "odd facts":
            model.metadata_props[0].value = '{"form": 1, "views": 3}'
        elif kind == "opset":
            model.opset_import[0].version = 999
        elif kind == "without its data":
            onnx.save(model, path, save_as_external_data=True, location="d.data", size_threshold=0)
            (folder / "d.data").unlink()
            return path
        path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", "there is no file"),
        ("truncated", "cannot be opened"),
        ("empty", "cannot be opened"),
        ("text", "cannot be opened"),
        ("not ours", "none of dsunet's"),
        ("of the future", "form 99"),
        ("odd facts", "cannot be read"),
        ("opset", "cannot be opened"),
        ("without its data", "not whole beside it"),
    ],
)
def test_broken_files(
    kind: str, message: str, exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = broken(kind, exported, tmp_path)
    with pytest.raises(CheckpointError, match=message):
        dsunet.Segmenter(path, "cpu")
    picture().save(tmp_path / "photo.png")
    command = ["predict", str(tmp_path / "photo.png"), "--weights", str(path)]
    assert main([*command, "--output", str(tmp_path / "maps")]) == 1
    [line] = capsys.readouterr().err.strip().splitlines()
    assert "broken.onnx" in line


def test_data_is_read_beside_the_file_alone(exported: Path, tmp_path: Path) -> None:
    """Weights that a file says are elsewhere are not read, though they are there and right."""
    inner = tmp_path / "inner"
    inner.mkdir()
    path = inner / "elsewhere.onnx"
    model = onnx.load(exported)
    onnx.save(model, path, save_as_external_data=True, location="w.data", size_threshold=0)
    assert dsunet.Segmenter(path, "cpu")(picture()).probability.shape == (90, 120)
    (inner / "w.data").rename(tmp_path / "w.data")
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = "../w.data"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(CheckpointError, match="elsewhere.onnx"):
        dsunet.Segmenter(path, "cpu")


def test_facts_survive_the_file() -> None:
    facts = FileFacts("a", ((128, 160), (98, 98)), "float32", training={"S": 0.9}, card="# é")
    assert read_facts({KEY: facts.to_json()}, "x") == facts


def test_info_tells_what_is_in_it(
    exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["info", str(exported), "--json", str(tmp_path / "info.json")]) == 0
    out = capsys.readouterr().out
    assert ":Small" in out
    assert "128×128" in out
    about = json.loads((tmp_path / "info.json").read_text())
    assert about["parameters"] == sum(p.numel() for p in Small().parameters())
    (tmp_path / "not.onnx").write_text("no")
    assert main(["info", str(tmp_path / "not.onnx")]) == 1
    assert "not.onnx cannot be opened" in capsys.readouterr().err


def test_a_file_in_the_reports_place_is_kept(tmp_path: Path) -> None:
    for content in (b'{"images": 3}', b"[1]", b"7", b"\xff\x00"):
        (tmp_path / "x.json").write_bytes(content)
        with pytest.raises(dsunet.DsunetError, match="x.json is there already"):
            export_model(small(), tmp_path / "x.onnx")
        assert (tmp_path / "x.json").read_bytes() == content
    (tmp_path / "x.json").write_text('{"compared": {}}')
    assert export_model(small(), tmp_path / "x.onnx").report["file"] == "x.onnx"


def test_endings_in_capitals(exported: Path, tmp_path: Path) -> None:
    path = tmp_path / "SMALL.ONNX"
    path.write_bytes(exported.read_bytes())
    assert dsunet.Segmenter(path, "cpu").view == (128, 128)
    assert main(["info", str(path)]) == 0


def test_pictures_that_cannot_be_read_are_told_of(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    picture().save(folder / "good.png")
    (folder / "broken.png").write_bytes(b"no picture")
    lines: list[str] = []
    done = export_model(small(), tmp_path / "x.onnx", pictures=folder, on_line=lines.append)
    assert done.report["compared"]["pictures"] == ["good.png"]
    assert any(line.startswith("left out: ") and "broken.png" in line for line in lines)
    (folder / "good.png").unlink()
    with pytest.raises(dsunet.DsunetError, match="no image that can be read"):
        export_model(small(), tmp_path / "y.onnx", pictures=folder)


@pytest.mark.parametrize("name", ["x.pt", "folder", "x.onnx.data"])
def test_the_output_ends_in_onnx(name: str, tmp_path: Path) -> None:
    with pytest.raises(dsunet.DsunetError, match="needs the ending .onnx"):
        export_model(small(), tmp_path / name)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("dsunet-nano", {}),
        ("dsunet-nano", {"injection": "none"}),
        ("sam2unet-nano", {}),
        ("dsunet-lite", {"dynamic_size": True}),
    ],
)
def test_our_models(name: str, settings: dict[str, object], tmp_path: Path) -> None:
    settings = dict(settings)
    dynamic = bool(settings.pop("dynamic_size", False))
    weights = "full" if name == "dsunet-lite" else None
    torch.manual_seed(0)
    model = dsunet.create_model(name, weights, **settings)  # type: ignore[arg-type]
    done = export_model(model, tmp_path / "x.onnx", dynamic_size=dynamic)
    assert done.report["compared"]["largest_difference"]["largest"] <= 1e-4
    expected, actual = (
        dsunet.Segmenter(given, "cpu", "float32")(picture()).probability
        for given in (model, done.path)
    )
    np.testing.assert_allclose(expected, actual, atol=1e-4)
