"""Small variants, and measurements of them that are made up."""

from __future__ import annotations

import torch

from dsunet.benchmarking import MatrixRate, Measured, Variant
from dsunet.config import ModelConfig, model_config

CPU = torch.device("cpu")
SMALL = {"sam_size": 128, "dino_size": 112, "train_semantic": False}


def small(**overrides: object) -> ModelConfig:
    """The nano network at the smallest sizes."""
    return model_config("dsunet-nano", **{**SMALL, **overrides})


def variant(name: str = "ours", **overrides: object) -> Variant:
    """A training step of it, on the CPU."""
    settings: dict[str, object] = {"task": "train", "model": small(), "batch_size": 2}
    return Variant(name, **{**settings, "device": "cpu", **overrides})  # type: ignore[arg-type]


def made_up(who: Variant, seconds: tuple[float, ...], peak: int | None = 10**9) -> Measured:
    """As if it had been measured."""
    # 2·1000³ FLOPs in 0.02 s: 100 GFLOP/s
    rate = MatrixRate(1000, "float32", (0.01, 0.02, 0.5))
    return Measured(who, "cpu", "float32", seconds, 30 * 10**9, peak, rate)
