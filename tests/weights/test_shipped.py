"""The trained weights that come with the package."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import dsunet
from dsunet.cli import main
from dsunet.config import DataConfig, TrainConfig, model_config
from dsunet.data.synthetic import write_synthetic
from dsunet.errors import CheckpointError
from dsunet.weights.checkpoint import read_checkpoint
from dsunet.weights.inspection import verify_file
from dsunet.weights.opened import find_weights
from dsunet.weights.shipped import (
    DEFAULT,
    SHIPPED,
    card_of,
    is_shipped,
    versioned,
    weights_of,
)
from helpers import nano


def alike(first: dsunet.DSUNet, second: dsunet.DSUNet) -> bool:
    others = second.state_dict()
    return all(torch.equal(tensor, others[name]) for name, tensor in first.state_dict().items())


@pytest.mark.parametrize("name", SHIPPED)
def test_the_file_is_whole_and_small(name: str) -> None:
    assert weights_of(name).stat().st_size <= 8_000_000
    assert verify_file(weights_of(name))[1] == []
    about, tensors = read_checkpoint(weights_of(name))
    assert dsunet.load(name).config == model_config(name)
    assert about["encoders"] == {"pyramid": None}
    assert about["training"]["name"] == versioned(name)
    assert all(
        tensor.dtype == torch.float16
        for key, tensor in tensors.items()
        if tensor.is_floating_point() and not key.endswith((".running_mean", ".running_var"))
    )


@pytest.mark.parametrize("name", SHIPPED)
def test_the_card_says_what_the_file_says(name: str) -> None:
    card = card_of(name).read_text(encoding="utf-8")
    training = read_checkpoint(weights_of(name))[0]["training"]
    for measure in ("S", "F", "E", "MAE"):
        assert f"{training['measures'][measure]:.3f}" in card
    assert verify_file(weights_of(name))[0]["sha256"] in card
    assert f"{training['training_pairs']:,}" in card


def test_no_word_of_the_machine_it_was_trained_on() -> None:
    with open(weights_of(DEFAULT), "rb") as file:
        header = file.read(int.from_bytes(file.read(8), "little"))
    assert b"DUTS" in header
    assert not re.search(rb"/(tmp|home|work|root|mnt)\b", header)


def test_it_is_the_default() -> None:
    shipped = dsunet.load()
    assert not shipped.training
    assert all(parameter.dtype == torch.float32 for parameter in shipped.parameters())
    for other in (
        dsunet.load("dsunet-lite"),
        dsunet.create_model("dsunet-lite"),
        dsunet.create_model("dsunet-lite", weights="full", sam_size=192),
        dsunet.Segmenter(device="cpu").model,
    ):
        assert isinstance(other, dsunet.DSUNet)
        assert alike(other, shipped)


def test_other_networks_get_none() -> None:
    with pytest.raises(ValueError, match="decoder_channels is not that of dsunet-lite"):
        dsunet.create_model("dsunet-lite", weights="full", decoder_channels=16)
    with pytest.raises(ValueError, match="come with dsunet for dsunet-lite alone"):
        dsunet.create_model("dsunet-lite1", weights="full")
    assert not alike(dsunet.create_model("dsunet-lite", weights=None), dsunet.load())


def test_a_file_of_that_name_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert is_shipped(find_weights("dsunet-lite"))
    assert not is_shipped(find_weights("dsunet-nano"))
    dsunet.save(nano(), "dsunet-lite")
    assert find_weights("dsunet-lite") == Path("dsunet-lite")
    config = dsunet.load("dsunet-lite").config
    assert config is not None
    assert config.name == "dsunet-nano"


def test_a_name_may_have_the_version() -> None:
    full = versioned(DEFAULT)
    assert re.fullmatch(r"dsunet-lite-v\d+", full)
    assert find_weights(full) == find_weights(DEFAULT) == weights_of(DEFAULT)
    assert weights_of(DEFAULT).stem == card_of(DEFAULT).stem == full
    assert alike(dsunet.load(full), dsunet.load())
    assert dsunet.Segmenter(full, "cpu").weights == weights_of(DEFAULT)


@pytest.mark.parametrize("name", ["dsunet-lite-v0", "dsunet-lite-v999"])
def test_another_version_is_one_clear_line(
    name: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["info", name]) != 0
    [line] = capsys.readouterr().err.strip().splitlines()
    assert (
        f"the weights {name} do not come with this dsunet, which has {versioned(DEFAULT)}" in line
    )
    (tmp_path / name).write_bytes(weights_of(DEFAULT).read_bytes())  # one that was kept
    assert find_weights(name) == Path(name)
    assert not is_shipped(find_weights("dsunet-nano-v1"))


def test_photographs() -> None:
    """What is surely object and surely background in photographs that scikit-image carries."""
    pictures = pytest.importorskip("skimage.data", reason="scikit-image is not installed")
    segmenter = dsunet.Segmenter(device="cpu")
    coffee = segmenter(pictures.coffee()).probability
    assert coffee.shape == (400, 600)
    assert coffee[120:250, 280:420].mean() > 0.8  # the cup
    assert coffee[:100, :80].mean() < 0.1  # the table
    astronaut = segmenter(pictures.astronaut()).probability
    assert astronaut[260:420, 100:300].mean() > 0.8
    assert astronaut[:60, :100].mean() < 0.1


def test_predict_with_nothing_but_a_photograph(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.full((40, 60, 3), 90, np.uint8)).save("photo.png")
    assert main(["predict", "photo.png", "--device", "cpu"]) == 0
    out = capsys.readouterr().out
    assert "no --weights: dsunet-lite-v3, which comes with dsunet (3.7 million parameters" in out
    assert "not the paper's large model" in out
    with Image.open(tmp_path / "predictions" / "photo.png") as image:
        assert image.size == (60, 40)
    assert main(["predict", "photo.png", "--weights", "dsunet-lite", "--output", "again"]) == 0
    assert "no --weights" not in capsys.readouterr().out
    assert (tmp_path / "again" / "photo.png").read_bytes() == (
        tmp_path / "predictions" / "photo.png"
    ).read_bytes()


def test_info_names_the_card(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "dsunet-lite"]) == 0
    out = capsys.readouterr().out
    assert str(card_of(DEFAULT)) in out
    assert "DUTS-TR" in out


def test_training_starts_from_it_and_says_so(tmp_path: Path) -> None:
    write_synthetic(tmp_path / "data", 4, size=64)
    lines: list[str] = []
    dsunet.train(
        tmp_path / "run",
        model_config("dsunet-lite", sam_size=64),
        DataConfig(data=str(tmp_path / "data"), workers=0),
        TrainConfig(epochs=1, batch_size=2, lr=1e-9, min_lr=0, device="cpu"),
        on_line=lines.append,
    )
    assert any(line.startswith("starts from the trained weights that come") for line in lines)
    trained, shipped = dsunet.load(tmp_path / "run").state_dict(), dsunet.load().state_dict()
    name = "hiera.trunk.conv_stem.weight"
    assert torch.allclose(trained[name], shipped[name], atol=1e-6)


def test_float16(tmp_path: Path) -> None:
    model = nano()
    dsunet.save(model, tmp_path / "m.safetensors")
    lines = dsunet.convert(tmp_path / "m.safetensors", tmp_path / "h.safetensors", float16=True)
    assert any("16 bits" in line for line in lines)
    sizes = [(tmp_path / f"{name}.safetensors").stat().st_size for name in "mh"]
    assert 0.45 < sizes[1] / sizes[0] < 0.6
    again = dsunet.load(tmp_path / "h.safetensors").state_dict()
    for name, tensor in model.state_dict().items():
        assert again[name].dtype == tensor.dtype
        expected = tensor if "running" in name or not tensor.is_floating_point() else tensor.half()
        assert torch.equal(again[name], expected.to(tensor.dtype))


def test_float16_refuses_what_it_cannot_hold(tmp_path: Path) -> None:
    model = nano()
    with torch.no_grad():
        next(model.decoder.parameters()).view(-1)[0] = 1e6
    dsunet.save(model, tmp_path / "m.safetensors")
    with pytest.raises(CheckpointError, match="too large for 16 bits"):
        dsunet.convert(tmp_path / "m.safetensors", tmp_path / "h.safetensors", float16=True)
    with pytest.raises(ValueError, match="float16 is for our own format"):
        dsunet.convert(tmp_path / "m.safetensors", tmp_path / "h.pth", float16=True)
    assert not (tmp_path / "h.safetensors").exists()
