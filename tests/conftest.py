"""Settings for all tests (one thread, no network, quiet third parties) and what many of them share.

What takes seconds is made once for each process of the tests: pictures, runs, files with weights.
Nobody may change these.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import io
import os
import shutil
import tempfile

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["DSUNET_PRECISION"] = "float32"  # whatever this machine is quickest in
os.environ["DSUNET_CACHE"] = tempfile.mkdtemp(prefix="dsunet-tests-")

from collections.abc import Iterator
from pathlib import Path

import pytest
import safetensors.torch
import torch

import dsunet
from cached import FROZEN
from dsunet.cli import main
from dsunet.data.synthetic import write_synthetic
from dsunet.network.encoders import build_vit
from dsunet.weights import known
from dsunet.weights.encoders import read_encoder
from runs import MODEL, run, write_classes
from weightfiles import dinov2_file, sam2_file


@pytest.fixture(autouse=True)
def _one_thread_and_one_seed() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def pytest_collection_finish() -> None:
    """What is imported stays: looking for garbage in it took a tenth of the tests' time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def pytest_unconfigure() -> None:
    shutil.rmtree(os.environ["DSUNET_CACHE"], ignore_errors=True)


# -- pictures and runs


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten generated pairs."""
    folder = tmp_path_factory.mktemp("data") / "shapes"
    write_synthetic(folder, 10, 72)
    return folder


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Four generated pairs, which the test may change."""
    write_synthetic(tmp_path / "data", 4, 64)
    return tmp_path / "data"


@pytest.fixture
def undrawn() -> Iterator[None]:
    """Runs without curves and reports, a quarter of their time; those of `trained` are drawn."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dsunet.cli.train._show", lambda *_: None)
        patch.setattr("dsunet.training.callbacks.plot_curves", lambda metrics, file: file.touch())
        yield


@pytest.fixture
def plain(undrawn: None) -> Iterator[None]:
    """Runs without pictures of the validation set, too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dsunet.training.callbacks.RunFolder._draw_panel", lambda *_: None)
        yield


@pytest.fixture(scope="session")
def trained(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two epochs with validation."""
    output = tmp_path_factory.mktemp("runs") / "run"
    run(output, pictures, data={"data": str(pictures), "val_fraction": 0.3, "workers": 0})
    return output


@pytest.fixture(scope="session")
def class_pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight pairs whose masks are numbers of two classes, with rows that do not count."""
    folder = tmp_path_factory.mktemp("classes") / "blocks"
    write_classes(folder, 8, 64)
    return folder


@pytest.fixture(scope="session")
def of_classes(class_pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two epochs of a model of the classes red and blue, with validation."""
    output = tmp_path_factory.mktemp("runs") / "classes"
    data = {"data": str(class_pictures), "val_fraction": 0.3, "workers": 0}
    run(output, class_pictures, dataclasses.replace(MODEL, classes=("red", "blue")), data=data)
    return output


@pytest.fixture(scope="session")
def uninterrupted(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three epochs, to compare resumed ones with."""
    output = tmp_path_factory.mktemp("runs") / "whole"
    run(output, pictures, epochs=3)
    return output


@pytest.fixture(scope="session")
def semantic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with weights of the nano ViT."""
    torch.manual_seed(5)
    path = tmp_path_factory.mktemp("weights") / "vit.safetensors"
    safetensors.torch.save_file(build_vit(FROZEN.semantic, (112, 112)).state_dict(), path)
    return path


@pytest.fixture(scope="session")
def models_shown() -> str:
    """What `dsunet models` says."""
    with contextlib.redirect_stdout(io.StringIO()) as shown:
        assert main(["models"]) == 0
    return shown.getvalue()


# -- files with made-up weights of the smallest public encoders


@pytest.fixture
def own_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An index of fingerprints and a hub's cache that only this test knows."""
    monkeypatch.setenv("DSUNET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "cache" / "encoders.json"


@pytest.fixture(scope="session")
def official_files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    folder = tmp_path_factory.mktemp("official")
    yield {
        "pyramid": sam2_file(folder / "sam2.1_hiera_tiny.pt"),
        "semantic": dinov2_file(folder / "dinov2_vits14_pretrain.pth"),
    }
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def summed(official_files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An index with the fingerprints of the official files, each summed once."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("index")
        patch.setenv("DSUNET_CACHE", str(folder))
        for role, file in official_files.items():
            encoder = read_encoder(file, role)
            known.remember(file, role, encoder.fingerprint, encoder.stamp)
        return (folder / "encoders.json").read_bytes()


@pytest.fixture
def official(official_files: dict[str, Path], summed: bytes, own_index: Path) -> dict[str, Path]:
    """Official files of the smallest encoders, with made-up values, which the index knows."""
    own_index.parent.mkdir(exist_ok=True)
    own_index.write_bytes(summed)
    return official_files


@pytest.fixture
def tiny(official: dict[str, Path]) -> dsunet.DSUNet:
    """The tiny model on those files."""
    return dsunet.create_model(
        "dsunet-tiny",
        weights=None,
        pyramid_weights=official["pyramid"],
        semantic_weights=official["semantic"],
        dino_size=112,
        sam_size=128,
    )
