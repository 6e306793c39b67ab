"""The ONNX file of the weights that come with the package."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import dsunet
from dsunet.data.synthetic import synthetic_pair
from dsunet.export import export_model
from dsunet.export.limits import TOLERANCE
from dsunet.export.material import made_pictures
from dsunet.export.twin import write_twin
from dsunet.export.verify import compare
from dsunet.predict.engines.onnx import OnnxFile
from dsunet.support.files import sha256_of
from dsunet.weights import shipped
from dsunet.weights.models import load

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
pytest.importorskip("onnxscript", reason="onnxscript is not installed")


@pytest.mark.parametrize("name", shipped.SHIPPED)
def test_it_is_of_these_weights_and_this_card(name: str) -> None:
    """If not, `dsunet.export.write_twin` writes it anew."""
    file = OnnxFile(shipped.exported_of(name))
    assert file.facts.weights_sha256 == sha256_of(shipped.weights_of(name))
    assert file.facts.card == shipped.card_of(name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", shipped.SHIPPED)
@pytest.mark.slow
def test_it_says_what_the_weights_say(name: str) -> None:
    file = OnnxFile(shipped.exported_of(name))
    network = load(name).float().eval()
    assert file.facts.views == network.view_sizes
    found = compare(network, lambda *views: file(*views)[0], file.facts, made_pictures(3))
    assert found.largest <= TOLERANCE


@pytest.mark.parametrize("name", shipped.SHIPPED)
def test_it_holds_no_weights_but_refers_to_them(name: str) -> None:
    path = shipped.exported_of(name)
    graph = onnx.load(path, load_external_data=False).graph
    outside = [each for each in graph.initializer if each.external_data]
    assert {{e.key: e.value for e in each.external_data}["location"] for each in outside} == {
        shipped.weights_of(name).name
    }
    count = sum(int(np.prod(each.dims)) for each in outside)
    assert count >= 0.99 * sum(p.numel() for p in load(name).parameters())
    assert path.stat().st_size < 1_000_000


@pytest.mark.slow
def test_it_is_what_the_command_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the same version of torch byte for byte; of any the same maps."""
    name = shipped.DEFAULT
    before = OnnxFile(shipped.exported_of(name))
    monkeypatch.setattr(shipped, "exported_of", lambda name: tmp_path / "twin.onnx")
    (tmp_path / shipped.weights_of(name).name).write_bytes(shipped.weights_of(name).read_bytes())
    after = OnnxFile(write_twin(name))
    view = np.random.default_rng(0).normal(size=(2, 3, 256, 256)).astype(np.float32)
    np.testing.assert_allclose(before(view)[0], after(view)[0], atol=1e-5)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("engine", ["onnx", "openvino"])
def test_engines_of_files(engine: str, tmp_path: Path) -> None:
    pytest.importorskip(engine if engine == "openvino" else "onnxruntime")
    picture = synthetic_pair(0, 200)[0]
    network = dsunet.Segmenter(device="cpu", precision="float32", view=320, flips=True)
    file = dsunet.Segmenter(engine=engine, view=320, flips=True)
    assert (file.engine.runtime, file.engine.precision) == (
        {"onnx": "onnxruntime"}.get(engine, engine),
        "float32",
    )
    assert (file.view, str(file.device)) == ((320, 320), "cpu")
    expected, found = (each(picture).probability for each in (network, file))
    np.testing.assert_allclose(found, expected, atol=1e-4)
    again = file.recipe.build()
    np.testing.assert_array_equal(again(picture).probability, found)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["onnx", "openvino"])
def test_a_file_of_its_own_says_the_same(engine: str, tmp_path: Path) -> None:
    pytest.importorskip({"onnx": "onnxruntime"}.get(engine, engine))
    picture = synthetic_pair(0, 200)[0]
    path = export_model(dsunet.load(), tmp_path / "lite.onnx").path
    own = dsunet.Segmenter(path, engine=engine)(picture).probability
    np.testing.assert_allclose(own, dsunet.Segmenter(engine=engine)(picture).probability, atol=1e-4)
