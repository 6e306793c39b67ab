"""The step, its schedule and its groups of parameters, and losses that are no numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest
import torch

from dsunet.config import LossConfig, TrainConfig
from dsunet.data import PairDataset, collate, find_pairs
from dsunet.errors import TrainingError
from dsunet.network.classes import class_loss
from dsunet.training.folder import position_of
from dsunet.training.module import SegmentationModule
from dsunet.training.schedule import cosine_factor
from dsunet.weights.checkpoint import read_checkpoint
from helpers import nano
from runs import run

pytestmark = pytest.mark.usefixtures("plain")


@pytest.mark.parametrize("what", ["loss", pytest.param("gradient", marks=pytest.mark.slow)])
@pytest.mark.slow
def test_the_last_good_weights_are_kept(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Step 4 of five, in the second epoch, comes to no number; nothing is written after it."""
    calls = 0

    def poisoned(*arguments: object, **options: object) -> torch.Tensor:
        nonlocal calls
        calls += 1
        loss = class_loss(*arguments, **options)
        if calls != 5:
            return loss
        if what == "loss":
            return loss * float("nan")
        loss.register_hook(lambda gradient: gradient * float("inf"))
        return loss

    monkeypatch.setattr("dsunet.running.step.class_loss", poisoned)
    with pytest.raises(
        TrainingError,
        match=rf"the {what} is (nan|inf) at step 5 in epoch 2, on (salient|camouflaged)_\d+, "
        r".*; last\.safetensors keeps the weights of epoch 1.*lower `lr`",
    ) as caught:
        run(tmp_path / "run", pictures, epochs=2, save_every=0)
    listed = str(caught.value).split(", on ")[1].split("; ")[0].split(", ")
    assert len(listed) == 4
    about, state = read_checkpoint(tmp_path / "run" / "last.safetensors")
    assert about["training"]["epoch"] == 1
    assert all(torch.isfinite(tensor).all() for tensor in state.values())
    assert position_of(tmp_path / "run" / "resume.ckpt") == (1, 1)
    resume = torch.load(tmp_path / "run" / "resume.ckpt", weights_only=True)
    assert all(torch.isfinite(tensor).all() for tensor in resume["state_dict"].values())
    monkeypatch.undo()
    torch.set_num_threads(1)
    assert run(tmp_path / "run", pictures, epochs=2, save_every=0, resume=True).epochs == 2


def test_a_loss_that_is_not_a_number_stops_the_run(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(
        TrainingError, match=r"the loss is nan at step 2 in epoch 1, on .*salient_.*lower `lr`"
    ):
        run(tmp_path / "run", pictures, lr=1e30, epochs=2)
    assert not (tmp_path / "run" / "last.safetensors").exists()


def test_cosine_by_hand() -> None:
    assert cosine_factor(0, 10, 0, 0.1) == 1
    assert cosine_factor(5, 10, 0, 0.1) == pytest.approx(0.55)
    assert cosine_factor(10, 10, 0, 0.1) == pytest.approx(0.1)
    assert [cosine_factor(e, 10, 3, 0.0) for e in range(4)] == pytest.approx([0.25, 0.5, 0.75, 1])


@pytest.mark.parametrize(
    ("by", "factors"),
    [
        pytest.param("epoch", [1, 1, 1, 0.5, 0.5, 0.5], marks=pytest.mark.slow),
        ("step", [1, (2 + 3**0.5) / 4, 3 / 4, 1 / 2, 1 / 4, (2 - 3**0.5) / 4]),
    ],
)
def test_rates_move_with_epochs_or_steps(
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    by: Literal["epoch", "step"],
    factors: list[float],
) -> None:
    seen = []

    def noted(self: SegmentationModule, *arguments: Any, **options: Any) -> None:
        seen.append([group["lr"] for group in self.trainer.optimizers[0].param_groups])
        optimizer_step(self, *arguments, **options)

    optimizer_step = SegmentationModule.optimizer_step
    monkeypatch.setattr(SegmentationModule, "optimizer_step", noted)
    rates = {"lr": 1e-3, "encoder_lr": 1e-4, "min_lr": 0, "cosine_by": by}
    run(tmp_path / "run", pictures, **rates)
    assert seen == [pytest.approx([1e-3 * each, 1e-4 * each]) for each in factors]


def test_cosine_is_torchs() -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 50, 1e-7)
    for epoch in range(50):
        ours = 1e-3 * cosine_factor(epoch, 50, 0, 1e-7 / 1e-3)
        assert ours == pytest.approx(schedule.get_last_lr()[0], rel=1e-9)
        optimizer.step()
        schedule.step()


def test_parameter_groups() -> None:
    recipe = TrainConfig(encoder_lr=1e-5)
    module = SegmentationModule(nano(adapter_channels=4), recipe, LossConfig())
    decoder, encoders = module.configure_optimizers().param_groups
    assert (decoder["lr"], encoders["lr"]) == (1e-3, 1e-5)
    adapters = [p for n, p in module.named_parameters() if ".adapter." in n]
    assert {id(p) for p in adapters} <= {id(p) for p in decoder["params"]}
    counted = sum(len(group["params"]) for group in (decoder, encoders))
    assert counted == len(list(module.parameters()))
    frozen = nano(train_pyramid=False, train_semantic=False, adapter_channels=4)
    groups = SegmentationModule(frozen, recipe, LossConfig()).configure_optimizers().param_groups
    assert len(groups) == 1
    assert all(parameter.requires_grad for parameter in groups[0]["params"])
    assert groups[0]["weight_decay"] == 5e-4
    default = SegmentationModule(nano(), TrainConfig(), LossConfig()).configure_optimizers()
    assert [group["lr"] for group in default.param_groups] == [1e-3, pytest.approx(2e-4)]


def test_what_lies_under_ignored_pixels_changes_no_step(pictures: Path) -> None:
    """Nor does what the network says there; what counts does."""
    torch.manual_seed(0)
    module = SegmentationModule(nano(), TrainConfig(), LossConfig())
    module.log = lambda *_, **__: None  # type: ignore[method-assign]
    pairs = find_pairs(pictures)[:2]
    size = module.model.config.sam_size, module.model.config.dino_size
    batch = collate([PairDataset(pairs, *((s, s) for s in size))[0, i] for i in range(2)])
    counted = torch.ones_like(batch.mask)
    counted[:, :, 20:50] = 0
    module.eval()

    def loss(mask: torch.Tensor, counted: torch.Tensor | None) -> float:
        return float(module.training_step(batch._replace(mask=mask, counted=counted), 0).detach())

    other = torch.where(counted == 0, 1 - batch.mask, batch.mask)
    assert loss(other, counted) == loss(batch.mask, counted)
    assert loss(other, None) != loss(batch.mask, None)
    assert loss(batch.mask, torch.ones_like(counted)) == pytest.approx(loss(batch.mask, None))
