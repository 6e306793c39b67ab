"""Small trainings, which tests of several rooms make."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

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


def write_classes(folder: Path, count: int, side: int) -> None:
    """Pairs with a red square, a blue one or both; the first two rows do not count."""
    rng = np.random.default_rng(0)
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    for number in range(count):
        pixels = rng.integers(90, 110, (side, side, 3), np.uint8)
        index = np.zeros((side, side), np.uint8)
        for value, channel in ((1, 0), (2, 2)):
            if number % 4 != value:
                top, left = rng.integers(4, side // 2, 2)
                square = np.s_[top : top + side // 3, left : left + side // 3]
                index[square] = value
                pixels[square] = 40
                pixels[(*square, channel)] = 220
        index[:2] = 255
        Image.fromarray(pixels).save(folder / "images" / f"p{number}.png")
        Image.fromarray(index).save(folder / "masks" / f"p{number}.png")


def states_equal(first: Path, second: Path) -> bool:
    """Whether two files hold the same weights, bit for bit."""
    expected, actual = read_checkpoint(first)[1], read_checkpoint(second)[1]
    return expected.keys() == actual.keys() and all(
        torch.equal(expected[name], actual[name]) for name in expected
    )
