"""Trainings with a frozen encoder whose maps may be kept."""

from __future__ import annotations

from pathlib import Path

import dsunet
from dsunet.config import DataConfig, ModelConfig, TrainConfig, model_config
from dsunet.maps.store import FeatureKind, FeatureStore

FROZEN = model_config("dsunet-nano", sam_size=128, dino_size=112, train_semantic=False)
KIND = FeatureKind(
    encoder="vit",
    weights="sha256:0",
    size=(28, 28),
    depths=(2,),
    norm=True,
    shapes=((3, 2, 2), (1, 4, 1)),
    interpolate="official",
    precision="float32",
    dtype="float16",
)


def train(
    output: Path,
    pictures: Path,
    semantic: Path,
    model: ModelConfig = FROZEN,
    data: dict[str, object] | None = None,
    lines: list[str] | None = None,
    *,
    resume: bool = False,
    **recipe: object,
) -> dsunet.training.TrainResult:
    """Trains for one epoch, unless said otherwise."""
    return dsunet.train(
        output,
        model,
        DataConfig(str(pictures), **{"val_fraction": 0.3, "workers": 0, **(data or {})}),
        TrainConfig(**{"epochs": 1, "batch_size": 3, "device": "cpu", **recipe}),
        weights=None,
        semantic_weights=semantic,
        on_line=(lines if lines is not None else []).append,
        resume=resume,
    )


def only_store(folder: Path) -> FeatureStore:
    """The one store in a folder."""
    (about,) = folder.glob("*/about.json")
    return FeatureStore(about.parent)
