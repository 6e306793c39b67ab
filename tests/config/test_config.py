"""Settings check themselves, and survive YAML and JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsunet.config import (
    MODEL_PRESETS,
    DataConfig,
    LossConfig,
    ModelConfig,
    TrainConfig,
    as_size,
    model_config,
)


@pytest.mark.parametrize("name", MODEL_PRESETS)
def test_presets_survive_json(name: str) -> None:
    config = model_config(name, sam_size=(128, 256))
    again = ModelConfig(**json.loads(json.dumps(config.to_dict())))
    assert again == config
    assert as_size(again.sam_size) == (128, 256)


def test_the_baseline_has_no_dinov2() -> None:
    with pytest.raises(ValueError, match="no DINOv2 branch: set injection to none"):
        model_config("dsunet-large", decoder="unet")
    assert model_config("sam2unet-small").sam_version == "2.0"


def test_none_leaves_the_preset_as_it_is() -> None:
    assert model_config("dsunet-nano", sam_size=None, pyramid=None) == MODEL_PRESETS["dsunet-nano"]
    assert model_config("dsunet-nano", adapter_channels=8).adapter_channels == 8


def test_the_papers_recipe_is_the_default() -> None:
    recipe, loss, data = TrainConfig(), LossConfig(), DataConfig(data="x")
    assert (recipe.epochs, recipe.batch_size) == (50, 8)
    assert (recipe.lr, recipe.weight_decay, recipe.min_lr) == (1e-3, 5e-4, 1e-7)
    assert loss == LossConfig("mean", (0.25, 0.5, 1.0))
    assert (data.horizontal_flip, data.vertical_flip) == (0.5, 0.5)
    large = MODEL_PRESETS["dsunet-large"]
    assert (large.sam_size, large.dino_size, large.adapter_channels) == (352, 518, 32)


@given(side=st.integers(-50, 2000))
def test_the_nearest_size_that_is_named_is_valid(side: int) -> None:
    try:
        config = ModelConfig(sam_size=side)
    except ValueError as error:
        nearest = int(str(error).rsplit(" ", 1)[1])
        assert ModelConfig(sam_size=nearest).sam_size == nearest
        assert abs(nearest - side) <= 16 or nearest == 128
    else:
        assert config.sam_size % 32 == 0


@pytest.mark.parametrize(
    ("cls", "values", "message"),
    [
        (TrainConfig, {"epochs": 0}, "epochs is 0, but needs at least 1"),
        (TrainConfig, {"lr": -1.0}, "lr is -1.0, but needs to be above 0"),
        (TrainConfig, {"epochs": 3, "warmup_epochs": 3}, "needs fewer than the 3 epochs"),
        (TrainConfig, {"seed": -1}, "seed is -1"),
        (TrainConfig, {"lr": 1e-9}, "min_lr is 1e-07, but needs at most lr"),
        (TrainConfig, {"clip_grad_norm": 0.0}, "above 0"),
        (TrainConfig, {"average": 1.0}, r"average is 1.0, but needs \[0, 1\)"),
        (ModelConfig, {"decoder_channels": (8, 8)}, r"\(8, 8\), but needs 1 to 4096, once or four"),
        (ModelConfig, {"decoder_channels": (8, 8, 0, 8)}, "needs 1 to 4096"),
        (
            ModelConfig,
            {"decoder": "unet", "injection": "none", "attention_pooling": True},
            "has no attention: leave it out",
        ),
        (
            ModelConfig,
            {"pyramid": "tf_efficientnet_lite0"},
            "set train_pyramid to true and adapter_channels to 0",
        ),
        (LossConfig, {"output_weights": (1.0, 1.0)}, "three numbers"),
        (LossConfig, {"output_weights": (1.0, 1.0, 0.0)}, "the last"),
        (TrainConfig, {"batch_size": 8, "devices": 3}, "8, but needs a multiple of 3"),
        (TrainConfig, {"batch_size": 8, "devices": 3, "num_nodes": 4}, "multiple of 12"),
        (TrainConfig, {"num_nodes": 0}, "num_nodes is 0"),
        (TrainConfig, {"strategy": "fsdp"}, "strategy is 'fsdp', but needs one of auto, ddp"),
        (DataConfig, {}, "no training data"),
        (DataConfig, {"data": "d", "images": "i"}, "exclude each other"),
        (DataConfig, {"images": "i"}, "belong together"),
        (DataConfig, {"data": "d", "val": "v", "val_list": "l"}, "exclude each other"),
        (DataConfig, {"data": "d", "workers": -1}, "workers is -1"),
        (DataConfig, {"data": "d", "vertical_flip": 2.0}, "vertical_flip is 2.0"),
        (ModelConfig, {"sam_size": (128, 128, 128)}, "one or two integers"),
        (ModelConfig, {"adapter_channels": -1}, "adapter_channels is -1"),
        (ModelConfig, {"decoder_channels": 0}, "decoder_channels is 0"),
        (ModelConfig, {"dino_size": 0}, "dino_size is 0"),
    ],
)
def test_wrong_values_are_named(cls: type, values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cls(**values)
