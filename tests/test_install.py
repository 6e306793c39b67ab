"""The package as it is installed: small, without torch, and quick from the first picture on."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import dsunet
from dsunet.data.synthetic import synthetic_pair
from helpers import ROOT

pytestmark = pytest.mark.slow

MOST = 200e6  # bytes

NEEDS_INDEX = "needs a package index to install from"


def run(*command: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=600)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new environment with the wheel and what it needs, and nothing else."""
    folder = tmp_path_factory.mktemp("install")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    built = run(*pip, "wheel", "--no-deps", "--wheel-dir", folder / "wheel", ROOT)
    if built.returncode:
        pytest.skip(f"{NEEDS_INDEX}: {built.stderr.strip().splitlines()[-1][:200]}")
    [wheel] = (folder / "wheel").glob("dsunet-*.whl")
    run(sys.executable, "-m", "venv", "--without-pip", folder / "environment")
    python = folder / "environment" / "bin" / "python"
    done = run(*pip, "--python", python, "install", wheel)
    if done.returncode:
        pytest.skip(f"{NEEDS_INDEX}: {done.stderr.strip().splitlines()[-1][:200]}")
    return folder / "environment"


def test_it_is_small_and_has_no_torch(alone: Path) -> None:
    files = [path for path in alone.rglob("*") if path.is_file() and not path.is_symlink()]
    assert sum(path.stat().st_size for path in files) <= MOST
    packages = {path.name for path in alone.glob("lib/python*/site-packages/*")}
    assert "onnxruntime" in packages
    assert packages.isdisjoint({"torch", "timm", "lightning", "scipy", "cv2"})


def test_the_first_lines_of_the_readme_give_masks(alone: Path, tmp_path: Path) -> None:
    image = synthetic_pair(0, 400)[0]
    image.save(tmp_path / "photo.png")
    command = [alone / "bin" / "dsunet", "predict", "photo.png"]
    command += ["--save", "probability,overlay,cutout"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "on cpu, float32, by onnxruntime" in done.stdout
    found = np.asarray(Image.open(tmp_path / "predictions" / "probability" / "photo.png"))
    network = dsunet.Segmenter(device="cpu", precision="float32")
    expected = np.round(network(image).probability * 255)
    assert np.abs(found.astype(int) - expected).max() <= 1


def test_a_cold_start_is_quick(alone: Path, tmp_path: Path) -> None:
    """Generously: a second on quiet cores, as benchmarks/small_install.py measures."""
    synthetic_pair(0, 400)[0].save(tmp_path / "photo.png")
    command = [alone / "bin" / "dsunet", "predict", tmp_path / "photo.png", "--output"]
    seconds = []
    for number in range(3):
        started = time.perf_counter()
        subprocess.run([*command, tmp_path / f"{number}.png"], check=True, env=dict(os.environ))
        seconds.append(time.perf_counter() - started)
    assert min(seconds) < 3
