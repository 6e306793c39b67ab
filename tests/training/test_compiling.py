"""`--compile` and `--activation-checkpointing` from end to end, and the optimiser."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

import dsunet
from dsunet.config import DataConfig, LossConfig, TrainConfig, model_config
from dsunet.data.dataset import Batch
from dsunet.data.synthetic import write_synthetic
from dsunet.errors import TrainingError
from dsunet.network.decoder import SegmentationLogits
from dsunet.training.compiling import require_compiler
from dsunet.training.module import SegmentationModule
from dsunet.training.trainer import explained, strategy_for
from dsunet.weights.checkpoint import read_checkpoint
from helpers import nano

pytestmark = pytest.mark.usefixtures("plain")

MODEL = model_config("dsunet-nano", sam_size=128, dino_size=112)
RECIPE = TrainConfig(epochs=2, batch_size=2, device="cpu")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "set"
    write_synthetic(folder, 4, 72)
    return folder


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return read_checkpoint(folder / "last.safetensors")[1]


@pytest.mark.slow
def test_checkpointing_may_change_on_resume(pictures: Path, tmp_path: Path) -> None:
    """A run that goes on with it equals one that never had it."""
    data = DataConfig(str(pictures), workers=0)
    dsunet.train(tmp_path / "whole", MODEL, data, RECIPE, weights=None)

    class Killed(Exception):
        pass

    def stop(line: str) -> None:
        if line.startswith("epoch 1"):
            raise Killed

    with pytest.raises(Killed):
        dsunet.train(tmp_path / "cut", MODEL, data, RECIPE, weights=None, on_line=stop)
    less = dataclasses.replace(RECIPE, activation_checkpointing=True)
    dsunet.train(tmp_path / "cut", MODEL, data, less, weights=None, resume=True)
    whole, cut = weights_of(tmp_path / "whole"), weights_of(tmp_path / "cut")
    assert whole.keys() == cut.keys()
    assert all(torch.equal(whole[name], cut[name]) for name in whole)


def test_checkpointing_is_for_our_models(pictures: Path, tmp_path: Path) -> None:
    def network() -> nn.Module:
        return nn.Conv2d(3, 1, 1)

    recipe = dataclasses.replace(RECIPE, activation_checkpointing=True)
    with pytest.raises(ValueError, match="is for dsunet's models"):
        dsunet.train(tmp_path / "run", network, DataConfig(str(pictures), workers=0), recipe)


def step(module: SegmentationModule) -> torch.Tensor:
    """The loss of one training step outside a trainer, with gradients."""
    module.log = lambda *_, **__: None  # type: ignore[method-assign, assignment]
    sam = torch.linspace(-3, 3, 2 * 3 * 128 * 128).reshape(2, 3, 128, 128).sin()
    dino = torch.linspace(-3, 3, 2 * 3 * 112 * 112).reshape(2, 3, 112, 112).cos()
    batch = Batch(["a", "b"], sam, dino, (sam[:, :1] > 0).float(), *[[None] * 2] * 3)
    loss = module.training_step(batch, 0)
    torch.autograd.backward(loss)
    return loss


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
@pytest.mark.filterwarnings("ignore")
def test_a_compiled_step_computes_the_same() -> None:
    """With activation checkpointing, too."""
    require_compiler(torch.device("cpu"))
    plain = SegmentationModule(nano(), RECIPE, LossConfig()).train()
    compiled = SegmentationModule(
        nano(), dataclasses.replace(RECIPE, compile=True), LossConfig()
    ).train()
    compiled.model.pyramid.checkpointing = True
    assert list(compiled.state_dict()) == list(plain.state_dict())
    torch.testing.assert_close(step(compiled), step(plain), rtol=1e-4, atol=1e-5)
    expected = dict(plain.named_parameters())
    for name, parameter in compiled.named_parameters():
        assert parameter.grad is not None
        scale = expected[name].grad.abs().max().item()
        difference = (parameter.grad - expected[name].grad).abs().max().item()
        assert difference <= 1e-2 * scale + 1e-5, name


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.slow
def test_compiling_leaves_the_names_of_the_state_alone(compiled: bool) -> None:
    model = nano()
    module = SegmentationModule(model, dataclasses.replace(RECIPE, compile=compiled), LossConfig())
    assert list(module.state_dict()) == [f"model.{name}" for name in model.state_dict()]


def test_without_a_compiler_one_line_says_so(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_compiler(function: object, **_: object) -> object:
        raise RuntimeError("no g++ anywhere\nand a long story")

    monkeypatch.setattr(torch, "compile", no_compiler)
    recipe = dataclasses.replace(RECIPE, compile=True)
    with pytest.raises(TrainingError, match=r"`compile` needs.*no g\+\+ anywhere; install one"):
        dsunet.train(tmp_path / "run", MODEL, DataConfig(str(pictures), workers=0), recipe)
    assert not (tmp_path / "run").exists()


def test_what_cannot_be_compiled_is_said() -> None:
    error = type("Unsupported", (RuntimeError,), {"__module__": "torch._dynamo.exc"})("odd code")
    with pytest.raises(TrainingError, match="cannot be compiled .odd code.; train it without"):
        raise explained(error, Path("run"))


@pytest.mark.slow
def test_only_the_outputs_that_are_trained_are_computed() -> None:
    asked: list[str] = []

    def note(module: nn.Module, arguments: object, options: dict[str, str], given: object) -> None:
        asked.append(options["outputs"])
        assert isinstance(given, SegmentationLogits)
        assert (given.coarse is None) == (options["outputs"] == "fine")

    losses = []
    for weights in ((0.25, 0.5, 1.0), (0.0, 0.5, 1.0), (0.0, 0.0, 1.0)):
        model = nano()
        model.register_forward_hook(note, with_kwargs=True)
        module = SegmentationModule(model, RECIPE, LossConfig(output_weights=weights)).train()
        losses.append(step(module).item())
    assert asked == ["all", "all", "fine"]
    assert losses[0] > losses[1] > losses[2]


def test_heads_without_weight_are_told_to_several_devices() -> None:
    one, two = TrainConfig(), TrainConfig(devices=2)
    assert strategy_for(nano(), two, LossConfig(), None) == "ddp"
    unused = LossConfig(output_weights=(0, 0.5, 1))
    assert strategy_for(nano(), two, unused, None) == "ddp_find_unused_parameters_true"
    assert strategy_for(nano(), one, unused, None) == "auto"
    chosen = TrainConfig(num_nodes=2, strategy="ddp")
    assert strategy_for(nano(), chosen, unused, None) == "ddp"


def test_the_optimiser_is_fused_on_gpus_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def fused(recipe: TrainConfig) -> object:
        module = SegmentationModule(nano(), recipe, LossConfig())
        return module.configure_optimizers().param_groups[0]["fused"]

    assert fused(RECIPE) is None
    monkeypatch.setattr(nn.Parameter, "is_cuda", True)
    assert fused(RECIPE) is True
    assert fused(dataclasses.replace(RECIPE, precision="float16")) is None


@pytest.mark.parametrize("before", [None, True])
def test_a_state_goes_on_in_the_other_kind_of_optimiser(before: bool | None) -> None:
    """Of a run that was started without `fused` and goes on with it, or the other way round."""

    def steps(optimizer: torch.optim.AdamW, count: int) -> None:
        for _ in range(count):
            optimizer.zero_grad()
            weight.square().sum().backward()
            optimizer.step()

    weight = nn.Parameter(torch.linspace(1, 2, 7))
    optimizer = torch.optim.AdamW([weight], fused=before)
    steps(optimizer, 3)
    start, state = weight.detach().clone(), optimizer.state_dict()
    steps(optimizer, 2)
    expected = weight.detach().clone()
    with torch.no_grad():
        weight.copy_(start)
    other = torch.optim.AdamW([weight], fused=not before or None)
    other.load_state_dict(state)
    steps(other, 2)
    torch.testing.assert_close(weight.detach(), expected)
