"""The commands about weights, and training and prediction with encoder files."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

import dsunet
from dsunet.data.synthetic import write_synthetic
from dsunet.weights.checkpoint import read_metadata
from dsunet.weights.encoders import read_encoder
from dsunet.weights.opened import open_weights
from dsunet.weights.registry import PUBLIC_WEIGHTS
from weightfiles import command, hub_file, published_state, sam2_file

pytestmark = pytest.mark.usefixtures("own_index")


def test_weights_list_and_info(capsys) -> None:
    status, out, _ = command(capsys, "weights", "list")
    assert status == 0
    assert all(name in out for name in PUBLIC_WEIGHTS)
    status, out, _ = command(capsys, "weights", "info", "dsunet-large")
    assert status == 0
    assert "2647878d5dfa5098f2f8649825738a9345572bae2d4350a2468587ece47dd318" in out
    assert "vit_large_patch14_dinov2.lvd142m" in out
    _, out, _ = command(capsys, "weights", "info", "dinov2_vits14_reg4_pretrain.pth")
    assert "not known for certain" in out
    status, _, err = command(capsys, "weights", "info", "nothing")
    assert (status, len(err.splitlines())) == (1, 1)


def test_weights_download(official: dict[str, Path], tmp_path: Path, capsys) -> None:
    status, _, err = command(capsys, "weights", "download", "dsunet-tiny")
    assert status == 1
    assert "HF_HUB_OFFLINE is set" in err
    assert len(err.splitlines()) == 1
    trunk = read_encoder(official["pyramid"], "pyramid").tensors
    file = hub_file(tmp_path, "sam2_hiera_tiny.fb_r896_2pt1", trunk)
    status, out, _ = command(capsys, "weights", "download", "sam2_hiera_tiny")
    assert status == 0
    assert str(file) in out
    status, out, _ = command(capsys, "weights", "verify", "sam2_hiera_tiny.fb_r896_2pt1")
    assert status == 0


def test_convert_command(tmp_path: Path, capsys) -> None:
    torch.save(published_state(), tmp_path / "authors.pth")
    whole = tmp_path / "whole.safetensors"
    convert = ("convert", tmp_path / "authors.pth", whole)
    status, out, _ = command(capsys, *convert, "--include-encoders")
    assert status == 0
    assert f"{whole}: 2" in out  # two hundred and some megabytes
    status, _, err = command(capsys, "convert", tmp_path / "authors.pth", tmp_path / "x.bin")
    assert status == 1
    assert "needs a name that ends with .safetensors (ours) or .pth" in err


@pytest.mark.slow
def test_training_and_prediction_take_encoder_files(
    official: dict[str, Path], tmp_path: Path, monkeypatch, capsys
) -> None:
    write_synthetic(tmp_path / "set", 2, 64)
    settings = "--model dsunet-tiny --sam-size 128 --dino-size 112 --device cpu --workers 0"
    status, _, err = command(
        capsys,
        *("train", "--data", tmp_path / "set", "--output", tmp_path / "run"),
        *(*settings.split(), "--epochs", 1, "--batch-size", 2),
        *("--pyramid-weights", official["pyramid"], "--semantic-weights", official["semantic"]),
    )
    assert status == 0, err
    last = tmp_path / "run" / "last.safetensors"
    assert last.stat().st_size < 20e6
    assert read_metadata(last)["encoders"]["pyramid"]["name"] == "sam2_hiera_tiny.fb_r896_2pt1"
    assert str(official["pyramid"]) not in str(read_metadata(last))  # no paths of this machine
    # the resume state says which model it is of, too
    sam, dino = torch.randn(1, 3, 128, 128), torch.randn(1, 3, 112, 112)
    expected = dsunet.load(last)(sam, dino).fine
    resumable = tmp_path / "run" / "resume.ckpt"
    assert open_weights(resumable).file.format == "dsunet-lightning"
    assert torch.equal(dsunet.load(resumable)(sam, dino).fine, expected)
    # the encoder's file may move before the run goes on, but not change
    again = ("train", "--config", tmp_path / "run" / "config.yaml", "--resume")
    again = (*again, "--output", tmp_path / "run", "--pyramid-weights")
    status, _, err = command(
        capsys, *again, shutil.copy(official["pyramid"], tmp_path / "moved.pt")
    )
    assert status == 0, err
    status, _, err = command(capsys, *again, sam2_file(tmp_path / "changed.pt", seed=3))
    assert status == 1
    assert "the run was started with other weights of pyramid (sha256:" in err
    monkeypatch.setenv("DSUNET_CACHE", str(tmp_path / "another"))
    predict = ("predict", tmp_path / "set" / "images", "--weights", tmp_path / "run")
    status, _, err = command(capsys, *predict, "--output", tmp_path / "maps")
    assert status == 1
    assert "--pyramid-weights FILE" in err
    assert len(err.splitlines()) == 1
    status, _, err = command(
        capsys,
        *(*predict, "--output", tmp_path / "maps", "--device", "cpu"),
        *("--pyramid-weights", official["pyramid"], "--semantic-weights", official["semantic"]),
    )
    assert status == 0, err
