"""The weight of object in the cross-entropy, as given and as the masks have it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from torch import Tensor

import dsunet
from dsunet.config import DataConfig, LossConfig, MaskReading, TrainConfig
from dsunet.data import find_pairs
from dsunet.errors import ConfigError, DataError, OutputError
from dsunet.network.losses import boundary_weight, structure_loss
from dsunet.training.balance import LARGEST, balanced_weight
from runs import MODEL


def by_hand(logits: Tensor, target: Tensor, weight: Tensor, positive: float) -> Tensor:
    """The loss with a weighted cross-entropy, written out."""
    p = torch.sigmoid(logits)
    entropy = -(positive * target * p.log() + (1 - target) * (1 - p).log())
    mean = ((weight * entropy).sum((2, 3)) / weight.sum((2, 3))).mean()
    border = boundary_weight(target)
    inter = (p * target * border).sum((2, 3))
    union = ((p + target) * border).sum((2, 3)) - inter
    return mean + (1 - (inter + 1) / (union + 1)).mean()


@pytest.mark.parametrize("bce", ["mean", "boundary_weighted"])
def test_the_cross_entropy_alone_is_weighted(bce: str) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 1, 40, 40, generator=generator, dtype=torch.float64)
    target = (torch.rand(2, 1, 40, 40, generator=generator) > 0.8).double()
    weight = boundary_weight(target) if bce == "boundary_weighted" else torch.ones_like(target)
    for positive in (1.0, 3.5):
        found = structure_loss(logits, target, bce, positive_weight=positive)  # type: ignore[arg-type]
        assert float(found) == pytest.approx(float(by_hand(logits, target, weight, positive)))
    plain = structure_loss(logits, target, bce)  # type: ignore[arg-type]
    assert torch.equal(structure_loss(logits, target, bce, positive_weight=1.0), plain)  # type: ignore[arg-type]


def write(folder: Path, values: list[np.ndarray]) -> Path:
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for number, mask in enumerate(values):
        Image.fromarray(mask).save(folder / "masks" / f"{number}.png")
        Image.new("RGB", mask.shape[::-1]).save(folder / "images" / f"{number}.png")
    return folder


def test_auto_is_backgrounds_share_over_the_objects(tmp_path: Path) -> None:
    small, large = np.zeros((10, 10), np.uint8), np.zeros((20, 40), np.uint8)
    small[:2] = 255  # 20 %
    large[:, :4] = 255  # 10 %
    weight, share, looked = balanced_weight(find_pairs(write(tmp_path / "a", [small, large])))
    assert share == pytest.approx(0.15)  # of the masks' shares, not of their pixels
    assert weight == 5.67
    assert looked == 2
    ignored = np.zeros((10, 10), np.uint8)
    ignored[0], ignored[1:6] = 255, 128
    reading = MaskReading(ignore_value="128")
    pairs = [
        replace(pair, reading=reading) for pair in find_pairs(write(tmp_path / "b", [ignored]))
    ]
    assert balanced_weight(pairs)[1] == pytest.approx(10 / 50)
    rare = np.zeros((100, 100), np.uint8)
    rare[0, 0] = 255
    assert balanced_weight(find_pairs(write(tmp_path / "c", [rare])))[0] == LARGEST
    with pytest.raises(DataError, match="no training mask has an object; give a number"):
        balanced_weight(find_pairs(write(tmp_path / "d", [small * 0])))


@pytest.mark.parametrize("value", [0, -1, float("inf"), "balanced"])
def test_weights_that_make_no_sense(value: object) -> None:
    with pytest.raises(ConfigError, match="positive_weight is .*needs auto, or a number above 0"):
        LossConfig(positive_weight=value)  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.usefixtures("plain")
def test_auto_in_a_run_is_a_number_that_it_goes_on_with(pictures: Path, tmp_path: Path) -> None:
    lines: list[str] = []

    def train(epochs: int, weight: object, resume: bool) -> dsunet.training.TrainResult:
        data = DataConfig(str(pictures), limit=4, workers=0)
        recipe = TrainConfig(epochs=epochs, batch_size=4, device="cpu")
        loss = LossConfig(positive_weight=weight)  # type: ignore[arg-type]
        folder = tmp_path / "run"
        return dsunet.train(folder, MODEL, data, recipe, loss, resume=resume, on_line=lines.append)

    train(1, "auto", False)
    assert any("% of the pixels of 4 training masks are object" in line for line in lines)
    number = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["positive_weight"]
    assert 1 < number < LARGEST
    assert train(2, "auto", True).epochs == 2
    with pytest.raises(OutputError, match="positive_weight"):
        train(2, 1.0, True)
