"""Exported files in programs without dsunet: the examples."""

from __future__ import annotations

import runpy
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import dsunet
from dsunet.data.synthetic import synthetic_pair
from dsunet.export import export_model
from dsunet.running.maps import quantise
from dsunet.weights import shipped
from helpers import ROOT

LITE = shipped.exported_of("dsunet-lite")


def test_python_without_dsunet(tmp_path: Path) -> None:
    photo, mask = tmp_path / "photo.png", tmp_path / "mask.png"
    synthetic_pair(0, 420)[0].save(photo)  # Pillow averages where it shrinks
    main = runpy.run_path(str(ROOT / "examples" / "onnx_alone.py"))["main"]
    main(str(LITE), str(photo), str(mask))
    expected = quantise(dsunet.Segmenter(LITE)(photo).probability).astype(int)
    assert np.abs(np.asarray(Image.open(mask)).astype(int) - expected).max() <= 1


@pytest.mark.slow
def test_cpp(tmp_path: Path) -> None:
    """The commands that stand at its top, with the compiler that is here."""
    openvino = pytest.importorskip("openvino", reason="openvino is not installed")
    compiler = shutil.which("g++")
    package = Path(openvino.__file__).parent
    if compiler is None or not (package / "include").is_dir():
        pytest.skip("needs g++, and OpenVINO's headers")
    [library] = (package / "libs").glob("libopenvino.so.*")
    source = ROOT / "examples" / "segment.cpp"
    program = tmp_path / "segment"
    subprocess.run(
        [compiler, "-std=c++17", "-O1", "-Wall", source, f"-I{package / 'include'}", library]
        + [f"-Wl,-rpath,{package / 'libs'}", "-o", program],
        check=True,
    )
    image = synthetic_pair(1, 352)[0]
    image.save(tmp_path / "photo.ppm")
    subprocess.run([program, LITE, "photo.ppm", "mask.pgm"], cwd=tmp_path, check=True)
    expected = quantise(dsunet.Segmenter(LITE)(image).probability).astype(int)
    found = np.asarray(Image.open(tmp_path / "mask.pgm")).astype(int)
    assert np.abs(found - expected).mean() < 1  # OpenVINO may compute in bfloat16 here
    assert np.abs(found - expected).max() <= 40
    (tmp_path / "cut.ppm").write_bytes((tmp_path / "photo.ppm").read_bytes()[:1000])
    done = subprocess.run(
        [program, LITE, "cut.ppm", "x.pgm"], cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (1, "segment: the picture is cut off\n")


@pytest.mark.slow
def test_browser(tmp_path: Path) -> None:
    """What the page in `examples/browser` computes, in Node."""
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        pytest.skip("needs node and npm")
    install = [npm, "install", "--silent", "--no-audit", "--no-fund", "onnxruntime-web@1"]
    done = subprocess.run(install, cwd=tmp_path, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"onnxruntime-web cannot be installed: {done.stderr.strip()[-200:]}")
    model = tmp_path / "lite.onnx"
    export_model("dsunet-lite", model)
    photo = synthetic_pair(0, 420)[0].crop((0, 10, 420, 310))
    (tmp_path / "pixels").write_bytes(photo.convert("RGBA").tobytes())
    script, module = Path(__file__).with_name("run_segment.mjs"), ROOT / "examples" / "browser"
    command = [node, script, module / "segment.mjs", model, *photo.size, "pixels", "map"]
    subprocess.run(list(map(str, command)), cwd=tmp_path, check=True, timeout=300)
    found = np.fromfile(tmp_path / "map", np.float32).reshape(photo.height, photo.width)
    expected = dsunet.Segmenter(model)(photo).probability
    assert np.abs(found - expected).mean() < 1e-3
    assert np.abs(found - expected).max() < 0.05  # a pixel of the view may be rounded otherwise
