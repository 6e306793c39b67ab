"""Lines inside long epochs."""

from __future__ import annotations

import itertools
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
from PIL import Image

import dsunet
from dsunet.config import DataConfig, TrainConfig, model_config
from dsunet.training import trainer
from dsunet.training.module import SegmentationModule
from dsunet.training.progress import StepLines


def _said(seconds: float, *, first: bool = True, start: int = 0) -> list[str]:
    """Of two epochs of six batches, if each look at the clock takes some seconds."""
    ticks, said = itertools.count(0, seconds), []
    lines = StepLines(said.append, lambda: float(next(ticks)))
    module = Mock(spec=SegmentationModule)
    module.epoch_loss.return_value = 0.5
    for epoch in range(2):
        state: Any = SimpleNamespace(
            current_epoch=epoch, max_epochs=2, num_training_batches=6, is_global_zero=first
        )
        for number in range(0 if epoch else start, 6):
            lines.on_train_batch_start(state, module, None, number)
            lines.on_train_batch_end(state, module, None, None, number)
    return said


def test_a_line_a_minute() -> None:
    # an epoch begins at 0 s; batches end at 25, 50, 75 (said), 100, 125, 150 s (which is the last)
    assert _said(25.0) == [
        f"epoch {epoch}/2, batch 3 of 6: loss 0.5000 so far, about 1 min left of it"
        for epoch in (1, 2)
    ]
    assert len(_said(70.0)) == 10
    assert _said(70.0)[0].endswith("about 6 min left of it")  # 5 batches of 70 s


def test_short_epochs_and_other_processes_say_nothing() -> None:
    assert not _said(5.0)
    assert not _said(70.0, first=False)


def test_a_run_that_goes_on_counts_its_own_batches() -> None:
    assert _said(70.0, start=4)[0] == (
        "epoch 1/2, batch 5 of 6: loss 0.5000 so far, about 1 min left of it"
    )


@pytest.mark.slow
def test_in_a_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("images", "masks"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(4):
            picture = Image.new("L", (32, 32))
            picture.paste(255 if name == "masks" else 200, (8, 8, 20, 20))
            picture.save(tmp_path / "data" / name / f"{number}.png")
    ticks = itertools.count(0, 70)
    monkeypatch.setattr(
        trainer, "StepLines", lambda print_line: StepLines(print_line, lambda: float(next(ticks)))
    )
    data = DataConfig(str(tmp_path / "data"), workers=0)
    recipe = TrainConfig(epochs=1, batch_size=1, device="cpu")
    said: list[str] = []
    config = model_config("dsunet-lite", sam_size=128)
    dsunet.train(tmp_path / "run", config, data, recipe, weights=None, on_line=said.append)
    assert [line.partition(":")[0] for line in said if ", batch " in line] == [
        f"epoch 1/1, batch {number} of 4" for number in (1, 2, 3)
    ]
