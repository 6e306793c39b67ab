"""Small trainings, which tests of several rooms make."""

from __future__ import annotations

from pathlib import Path

import torch

import dsunet
from dsunet.config import DataConfig, ModelConfig, TrainConfig, model_config
from dsunet.weights.checkpoint import read_checkpoint

MODEL = model_config("dsunet-nano", sam_size=128, dino_size=112)


def run(
    output: Path,
    pictures: Path,
    model: ModelConfig = MODEL,
    data: dict[str, object] | None = None,
    resume: bool = False,
    weights: str | None = "default",
    **recipe: object,
) -> dsunet.training.TrainResult:
    """Trains for two epochs, unless said otherwise."""
    return dsunet.train(
        output,
        model,
        DataConfig(str(pictures), workers=0) if data is None else DataConfig(**data),
        TrainConfig(**{"epochs": 2, "batch_size": 4, "device": "cpu", **recipe}),
        resume=resume,
        weights=weights,
    )


def states_equal(first: Path, second: Path) -> bool:
    """Whether two files hold the same weights, bit for bit."""
    expected, actual = read_checkpoint(first)[1], read_checkpoint(second)[1]
    return expected.keys() == actual.keys() and all(
        torch.equal(expected[name], actual[name]) for name in expected
    )
