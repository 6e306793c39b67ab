"""Learning rates of encoders and of their blocks, in dsunet's networks and in others."""

from __future__ import annotations

from typing import Any

import pytest
from torch import nn

import dsunet
from dsunet.config import LossConfig, TrainConfig
from dsunet.errors import ConfigError
from dsunet.training.module import SegmentationModule
from dsunet.training.rates import layers_of, parameter_groups
from helpers import nano


class Own(nn.Module):
    """As torchvision's networks are made."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.layer1 = nn.Sequential(nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3))
        self.norm = nn.BatchNorm2d(4)
        self.layer10 = nn.Sequential(nn.Conv2d(4, 4, 3))
        self.head = nn.Conv2d(4, 1, 1)


class Saying(Own):
    def encoder_parameters(self) -> list[str]:
        return ["stem", "layer1"]


def rates(model: Any, **recipe: Any) -> dict[str, float]:
    groups = parameter_groups(model, TrainConfig(lr=1.0, min_lr=0, **recipe))
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found = {names[id(p)]: group["lr"] for group in groups for p in group["params"]}
    assert len(found) == sum(len(group["params"]) for group in groups)  # each once
    assert found.keys() == {n for n, p in model.named_parameters() if p.requires_grad}
    return {name.removeprefix("network."): rate for name, rate in found.items()}


def test_layers_are_the_numbered_blocks() -> None:
    names = "pos patch.proj blocks.0.a blocks.0.b blocks.1.a norm head.w neck.0.x".split()
    layers = layers_of([(name, nn.Parameter()) for name in names])
    assert [[name for name, _ in layer] for layer in layers] == [
        ["pos", "patch.proj"],
        ["blocks.0.a", "blocks.0.b"],
        ["blocks.1.a", "norm", "head.w"],
        ["neck.0.x"],
    ]


def test_parts_of_ones_own_network() -> None:
    model = dsunet.CustomModel(Own(), 64)
    assert set(rates(model).values()) == {1.0}
    found = rates(model, encoder_parts="stem, layer1", encoder_lr=0.1)
    assert {name for name, rate in found.items() if rate == 0.1} == {
        *("stem.weight", "stem.bias", "layer1.0.weight", "layer1.0.bias"),
        *("layer1.1.weight", "layer1.1.bias"),
    }  # not layer10
    assert rates(model, encoder_parts="layer10.0.")["layer10.0.bias"] == 0.2
    saying = dsunet.CustomModel(Saying(), 64)
    assert rates(saying, encoder_lr=0.1) == found
    assert rates(saying, encoder_parts="head")["stem.bias"] == 1.0  # what is said goes before
    decayed = rates(saying, encoder_lr=0.1, layer_decay=0.5)
    assert decayed["layer1.1.weight"] == 0.1
    assert decayed["layer1.0.weight"] == 0.05
    assert decayed["stem.weight"] == 0.025
    assert decayed["head.weight"] == 1.0


def test_blocks_of_dsunets_encoders() -> None:
    model = nano()
    plain = rates(model, encoder_lr=0.1)
    decayed = rates(model, encoder_lr=0.1, layer_decay=0.5)
    blocks = max(int(n.split(".")[3]) for n in plain if n.startswith("hiera.trunk.blocks."))
    for start in ("hiera.trunk", "dinov2.trunk"):
        inside = [name for name in plain if name.startswith(start)]
        assert {plain[name] for name in inside} == {0.1}
    assert decayed[f"hiera.trunk.blocks.{blocks}.attn.proj.weight"] == 0.1
    assert decayed["hiera.trunk.blocks.0.attn.proj.weight"] == pytest.approx(0.1 * 0.5**blocks)
    assert decayed["hiera.trunk.patch_embed.proj.weight"] == pytest.approx(
        0.1 * 0.5 ** (blocks + 1)
    )
    assert decayed["dinov2.trunk.norm.weight"] == 0.1
    assert decayed["decoder.heads.0.weight"] == 1.0
    lite = dsunet.create_model("dsunet-lite", weights=None, sam_size=64)
    assert len(set(rates(lite, encoder_lr=0.1, layer_decay=0.9).values())) > 5


def test_the_rates_of_before_are_in_the_groups_of_before() -> None:
    """So that runs that began earlier go on."""
    model = nano()
    optimiser = SegmentationModule(model, TrainConfig(), LossConfig()).configure_optimizers()
    whole = {id(p) for encoder in model.encoders.values() for p in encoder.parameters()}
    expected = [
        [p for p in model.parameters() if id(p) not in whole],
        [p for p in model.parameters() if id(p) in whole],
    ]
    assert [[*map(id, g["params"])] for g in optimiser.param_groups] == [
        [*map(id, each)] for each in expected
    ]
    assert [g["lr"] for g in optimiser.param_groups] == [1e-3, 2e-4]


@pytest.mark.parametrize(
    ("model", "recipe", "message"),
    [
        ("own", {"encoder_parts": "layer"}, "has 'layer', with which no parameter .* stem, layer1"),
        ("own", {"layer_decay": 0.5}, "`layer_decay` is 0.5, but no encoder is trained as a whole"),
        ("nano", {"encoder_parts": "hiera"}, "`encoder_parts` is 'hiera', but is for networks of"),
    ],
)
def test_what_does_not_go_with_a_network(model: str, recipe: dict[str, Any], message: str) -> None:
    network = nano() if model == "nano" else dsunet.CustomModel(Own(), 64)
    with pytest.raises(ConfigError, match=message):
        parameter_groups(network, TrainConfig(**recipe))
    with pytest.raises(ConfigError, match=r"layer_decay is 0, but needs \(0, 1\]"):
        TrainConfig(layer_decay=0)
