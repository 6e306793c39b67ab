"""The moving average of the weights; test_resume.py resumes runs that have one."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from timm.utils import ModelEmaV3
from torch import nn

import dsunet
from dsunet.config import DataConfig, LossConfig, TrainConfig, model_config
from dsunet.data.synthetic import write_synthetic
from dsunet.errors import TrainingError
from dsunet.training.average import WeightAverage, decay_at
from dsunet.training.module import SegmentationModule
from dsunet.weights.checkpoint import read_checkpoint
from helpers import nano

pytestmark = pytest.mark.usefixtures("plain")

FROZEN = {"train_pyramid": False, "train_semantic": False, "adapter_channels": 4}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "set"
    write_synthetic(folder, 8, 72)
    return folder


def stir(model: nn.Module) -> None:
    """Changes what training changes."""
    with torch.no_grad():
        for tensor in [p for p in model.parameters() if p.requires_grad]:
            tensor.add_(torch.randn_like(tensor))
        for part in model.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.running_mean.add_(torch.randn_like(part.running_mean))
                part.num_batches_tracked.add_(1)


@pytest.mark.parametrize("overrides", [{"injection": "none"}, FROZEN])
def test_it_is_timms_average(overrides: dict[str, object]) -> None:
    model = nano(**overrides)
    ours, timms = WeightAverage(model, 0.75), ModelEmaV3(model, decay=0.75, use_warmup=True)
    for step in range(12):  # the ramp ends at 0.75 after 8
        stir(model)
        ours.update(model)
        timms.update(model, step=step + 1)
    expected = timms.module.state_dict()
    for name, tensor in ours.module.state_dict().items():
        assert torch.equal(tensor, expected[name]), name
    assert not ours.module.training
    assert not any(p.requires_grad for p in ours.module.parameters())


def test_by_hand() -> None:
    model = nano(injection="none")
    average = WeightAverage(model, 0.75)
    name = "decoder.heads.2.bias"
    with torch.no_grad():
        # nothing stays at the first step, 1 − 2^(−2/3) = 0.37004 at the second, 0.75 at the ninth
        for step, value, expected in ((0, 4.0, 4.0), (1, 8.0, 6.51984), (8, 0.0, 4.88988)):
            average.steps.fill_(step)
            model.get_parameter(name).fill_(value)
            average.update(model)
            assert float(average.module.get_parameter(name)) == pytest.approx(expected, abs=1e-5)
            assert int(average.steps) == step + 1


def test_a_short_training_keeps_nothing_of_its_start() -> None:
    kept, at_once = 1.0, 1.0
    for step in range(150):
        kept *= decay_at(step, 0.99)
        at_once *= 0.99
    assert at_once == pytest.approx(0.2215, abs=1e-4)
    assert kept == 0
    assert [decay_at(step, 0.99) for step in (998, 999, 10_000)] == pytest.approx(
        [0.98999, 0.99, 0.99], abs=1e-5
    )


def test_frozen_encoders_are_shared() -> None:
    model = nano(**FROZEN)
    average = WeightAverage(model, 0.9)
    for (name, own), new in zip(average.module.named_parameters(), model.parameters(), strict=True):
        assert (own is new) is not new.requires_grad, name
    assert any(p.requires_grad for p in model.parameters())


def test_infinite_buffers_stay_infinite() -> None:
    """As in masks of attention, where an average would be no number."""
    model = nano(injection="none")
    model.register_buffer("mask", torch.tensor([0.0, -torch.inf]))
    average = WeightAverage(model, 0.9)
    average.update(model)
    assert average.module.mask.tolist() == [0.0, -torch.inf]


def test_what_cannot_be_copied_is_one_clear_line() -> None:
    model = nano(injection="none")
    model.kept = torch.ones(1, requires_grad=True) * 2  # the result of a computation
    with pytest.raises(TrainingError, match="cannot be made .*; leave `average` out"):
        WeightAverage(model, 0.9)


def test_nothing_of_frozen_encoders_is_in_the_resume_state() -> None:
    module = SegmentationModule(nano(**FROZEN), TrainConfig(average=0.9), LossConfig())
    kept = module._changing_names()
    assert "average.module.decoder.heads.2.bias" in kept
    assert "model.decoder.heads.2.bias" in kept
    inside = [n for n in kept if ".trunk." in n and ".adapter." not in n]
    parameters = dict(module.named_parameters(remove_duplicate=False))
    assert not [name for name in inside if name in parameters]


@pytest.mark.slow
def test_the_average_is_what_is_measured_and_saved(pictures: Path, tmp_path: Path) -> None:
    """Training itself is what it is without; best and last give the measures of validation."""

    def run(name: str, average: float) -> Path:
        dsunet.train(
            tmp_path / name,
            model_config("dsunet-nano", sam_size=128, injection="none"),
            DataConfig(str(pictures), workers=0, val_fraction=0.3),
            TrainConfig(epochs=1, batch_size=2, device="cpu", average=average),
        )
        return tmp_path / name

    plain, averaged = run("plain", 0.0), run("averaged", 0.5)
    states = [
        torch.load(folder / "resume.ckpt", weights_only=True)["state_dict"]
        for folder in (plain, averaged)
    ]
    for name, tensor in states[0].items():
        assert torch.equal(tensor, states[1][name]), name
    about, saved = read_checkpoint(averaged / "last.safetensors")
    assert about["training"]["average"] == 0.5
    for name, tensor in saved.items():
        assert torch.equal(tensor, states[1][f"average.module.{name}"]), name
    assert not torch.equal(
        saved["decoder.heads.2.weight"], states[1]["model.decoder.heads.2.weight"]
    )
    for kind, suffix in (("images", "jpg"), ("masks", "png")):
        (tmp_path / kind).mkdir()
        for name in (averaged / "val.txt").read_text().split():
            shutil.copy(pictures / kind / f"{name}.{suffix}", tmp_path / kind)
    segmenter = dsunet.Segmenter(averaged, device="cpu")
    jobs = dsunet.predict.plan_outputs([tmp_path / "images"], tmp_path / "maps")
    dsunet.predict.predict_files(segmenter, jobs, tmp_path / "maps")
    scores = dsunet.evaluate(tmp_path / "maps", tmp_path / "masks")
    measures = about["training"]["measures"]
    assert {name: scores[name] for name in measures} == measures
