"""Heads of one map that become those of several classes, and files of classes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import dsunet
from dsunet.errors import CheckpointError
from helpers import nano

CLASSES = ("In", "Pa", "Sc")
HEADS = tuple(f"decoder.heads.{i}.{kind}" for i in range(3) for kind in ("weight", "bias"))


@pytest.fixture
def one_map(tmp_path: Path) -> Path:
    dsunet.save(nano(seed=1), tmp_path / "one.safetensors")
    return tmp_path / "one.safetensors"


def test_each_class_starts_as_the_one_map(one_map: Path) -> None:
    model, source = nano(seed=2, classes=CLASSES), dsunet.load(one_map)
    report = dsunet.load_weights(model, one_map)
    assert sorted(report.repeated) == sorted(HEADS)
    assert not report.missing
    assert not report.resampled
    own, theirs = model.state_dict(), source.state_dict()
    for name, tensor in theirs.items():
        assert torch.equal(own[name], tensor.expand_as(own[name])), name
    assert own[HEADS[0]].shape[0] == 3


def test_create_model_takes_weights_of_one_map(one_map: Path) -> None:
    model = dsunet.create_model(
        "dsunet-nano", one_map, classes="In,Pa,Sc", sam_size=128, dino_size=112
    )
    assert sorted(model.repeated_heads) == sorted(HEADS)
    assert model.classes == CLASSES


def test_shipped_weights_become_those_of_classes() -> None:
    model = dsunet.create_model("dsunet-lite", classes=["In", "Pa"])
    head = model.state_dict()[HEADS[0]]
    assert torch.equal(head[0], head[1])
    assert model.training_facts["name"].startswith("dsunet-lite")


def test_a_file_of_classes_makes_the_same_model_again(tmp_path: Path) -> None:
    model = nano(seed=3, classes=CLASSES, exclusive=False)
    dsunet.save(model, tmp_path / "three.safetensors")
    again = dsunet.load(tmp_path / "three.safetensors")
    assert again.config == model.config
    assert not again.exclusive
    assert again.repeated_heads == ()
    assert all(torch.equal(t, again.state_dict()[n]) for n, t in model.state_dict().items())


@pytest.mark.parametrize("classes", [("In", "Sc", "Pa"), ("a", "b", "c"), ("In", "Pa"), ()])
def test_a_file_of_other_classes_is_refused(tmp_path: Path, classes: tuple[str, ...]) -> None:
    dsunet.save(nano(classes=CLASSES), tmp_path / "three.safetensors")
    with pytest.raises(CheckpointError, match="trained for the classes In, Pa, Sc"):
        dsunet.load_weights(nano(classes=classes), tmp_path / "three.safetensors")


def test_heads_of_one_map_are_not_taken_apart(tmp_path: Path, one_map: Path) -> None:
    assert dsunet.load_weights(nano(seed=4), one_map).repeated == ()
