"""Files of OpenVINO's format."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import dsunet
from dsunet.cli import main
from dsunet.errors import CheckpointError, ConfigError, OutputError
from dsunet.export import export_model
from dsunet.network.custom import CustomModel

pytest.importorskip("onnx", reason="onnx is not installed")
pytest.importorskip("onnxscript", reason="onnxscript is not installed")
openvino = pytest.importorskip("openvino", reason="openvino is not installed")


def small() -> CustomModel:
    torch.manual_seed(0)
    layers: list[nn.Module] = [nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU()]
    for _ in range(4):
        layers += [nn.Conv2d(8, 8, 3, 1, 1), nn.ReLU()]
    return CustomModel(nn.Sequential(*layers, nn.Conv2d(8, 1, 3, 1, 1)), 128)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_model(small(), tmp_path_factory.mktemp("openvino") / "small.xml").path


def picture() -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def test_the_file_says_what_the_network_says(exported: Path) -> None:
    names = sorted(path.name for path in exported.parent.iterdir())
    assert names == ["small.bin", "small.json", "small.xml"]
    report = json.loads(exported.with_suffix(".json").read_text())
    assert report["format"] == "openvino"
    assert report["bytes"] == sum(
        (exported.parent / n).stat().st_size for n in (names[0], names[2])
    )
    file = dsunet.Segmenter(exported, "cpu")
    assert (file.engine.runtime, file.engine.precision, file.view) == (
        "openvino",
        "float32",
        (128, 128),
    )
    network = dsunet.Segmenter(small(), "cpu", "float32")
    for size in (1, 2, 3):
        for one, other in zip(
            network([picture()] * 3, batch_size=size),
            file([picture()] * 3, batch_size=size),
            strict=True,
        ):
            np.testing.assert_allclose(one.probability, other.probability, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float16", "int8"])
def test_smaller_numbers(precision: str, exported: Path, tmp_path: Path) -> None:
    done = export_model(small(), tmp_path / "small.xml", precision=precision)  # type: ignore[arg-type]
    file = dsunet.Segmenter(done.path)
    assert file.engine.precision == precision
    expected = dsunet.Segmenter(exported)(picture()).probability
    assert 0 < np.abs(file(picture()).probability - expected).mean() < 0.05
    weights = done.path.with_suffix(".bin").stat().st_size
    assert weights < exported.with_suffix(".bin").stat().st_size


def test_the_command_says_what_is_in_it(
    exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["info", str(exported)]) == 0
    assert "128×128" in capsys.readouterr().out
    picture().save(tmp_path / "photo.png")
    given = ["predict", str(tmp_path / "photo.png"), "--output", str(tmp_path / "out")]
    assert main([*given, "--weights", str(exported)]) == 0
    assert "by openvino" in capsys.readouterr().out


def test_format_and_name_belong_together(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"but needs the ending \.xml$"):
        export_model(small(), tmp_path / "small.onnx", format="openvino")
    with pytest.raises(OutputError, match=r"but needs the ending \.onnx$"):
        export_model(small(), tmp_path / "small.xml", format="onnx")
    with pytest.raises(OutputError, match=r"but needs the ending \.onnx or \.xml$"):
        export_model(small(), tmp_path / "small.pb")
    with pytest.raises(ConfigError, match="`format` is 'tflite', but needs one of onnx, openvino"):
        export_model(small(), tmp_path / "small.onnx", format="tflite")  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_files_that_are_none_of_ours(exported: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.xml"
    broken.write_bytes(exported.read_bytes()[:2000])
    with pytest.raises(CheckpointError, match=r"broken\.xml cannot be opened: .*") as caught:
        dsunet.Segmenter(broken)
    assert "\n" not in str(caught.value)
    alone = tmp_path / "alone.xml"
    alone.write_bytes(exported.read_bytes())
    with pytest.raises(CheckpointError, match=r"alone\.xml cannot be opened"):
        dsunet.Segmenter(alone)
    with pytest.raises(CheckpointError, match="there is no file"):
        dsunet.Segmenter(tmp_path / "absent.xml")
    model = openvino.Model(
        [openvino.opset13.constant(np.zeros((1, 1), np.float32))], [], "somebody's"
    )
    openvino.save_model(model, tmp_path / "other.xml")
    with pytest.raises(CheckpointError, match="lacks the metadata 'dsunet'"):
        dsunet.Segmenter(tmp_path / "other.xml")
    with pytest.raises(ConfigError, match="is of OpenVINO's format"):
        dsunet.Segmenter(exported, engine="onnx")


# As in the comment of `_core`; what comes from a child of a process is such a signal.
SIGNALS = """
import os, signal, subprocess, sys
import numpy as np
import dsunet

signal.signal(signal.SIGUSR1, lambda *_: print("handled", flush=True))
image = np.zeros((40, 60, 3), np.uint8)
first = dsunet.Segmenter(sys.argv[1])
second = dsunet.Segmenter(sys.argv[1])
first(image), second(image)
del first
third = dsunet.Segmenter(sys.argv[1])
third(image)
del second, third
os.kill(os.getpid(), signal.SIGUSR1)
print("alive")
"""


def test_signals_are_handled_after_several_files(exported: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SIGNALS, str(exported)], capture_output=True, text=True, timeout=120
    )
    assert done.stdout.split() == ["handled", "alive"], (done.returncode, done.stderr)
