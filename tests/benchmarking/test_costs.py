"""Parameters and FLOPs are those of the network that is meant, whatever names it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import dsunet
from dsunet.benchmarking.costs import costs_of
from dsunet.benchmarking.flops import flops_of
from dsunet.benchmarking.measure import Failure, MatrixRate, Measured
from dsunet.config import MODEL_PRESETS
from dsunet.errors import CheckpointError, ConfigError
from dsunet.network.build import build_model

OWN = """
from torch import nn

def net():
    return nn.Conv2d(3, 1, 3, padding=1, bias=False)
"""


@pytest.mark.slow
def test_presets_and_files(tmp_path: Path) -> None:
    found = costs_of({"random": "dsunet-nano"})
    assert found["random"].parameters == 3_002_118
    model = dsunet.create_model("dsunet-nano", None, sam_size=128, dino_size=112)
    dsunet.save(model, tmp_path / "small.safetensors")
    small = costs_of({"small": str(tmp_path / "small.safetensors")})["small"]
    assert small.parameters == sum(p.numel() for p in model.parameters())
    assert small.flops is not None
    assert found["random"].flops is not None
    assert small.flops < found["random"].flops / 2
    assert small.images_per_second is None
    with torch.no_grad():  # nothing is computed above, but counted alike
        assert flops_of(model) == small.flops


@pytest.mark.slow
def test_known_models() -> None:
    """1300.9 GFLOP an image, as of the authors' code."""
    shipped, found = costs_of({"lite": "dsunet-lite", "ours": "dsunet-large"}).values()
    assert shipped.parameters == 3_704_227
    assert found.parameters == 523_742_742
    assert found.flops is not None
    assert round(found.flops / 1e9, 1) == 1300.9


def test_networks_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "owncosts.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    found = costs_of({"own": "owncosts:net"}, speed=True)["own"]
    assert found.parameters == 27
    assert found.flops == 2 * 27 * 352 * 352
    assert found.images_per_second is None
    assert found.note == "own is a network of your own, and not timed."


def test_speed_is_that_of_the_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    rate = MatrixRate(64, "float32", (0.1,))

    def measure(variants: list[dsunet.benchmarking.Variant]) -> list[Measured | Failure]:
        first, second = variants
        assert (first.model, first.batch_size, first.task) == (
            MODEL_PRESETS["dsunet-nano"],
            1,
            "predict",
        )
        return [
            Measured(first, "cpu", "float32", (0.25, 0.2, 0.3), 1, None, rate),
            Failure(second, "out of memory"),
        ]

    monkeypatch.setattr("dsunet.benchmarking.costs.measure", measure)
    found = costs_of({"a": "dsunet-nano", "b": "sam2unet-nano"}, device="cpu", speed=True)
    assert found["a"].images_per_second == 4
    assert "one image at a time, float32 on" in found["a"].note
    assert "median of 3, models in turns" in found["a"].note
    assert (found["b"].images_per_second, found["b"].note) == (
        None,
        "b could not be timed: out of memory.",
    )
    assert found["b"].parameters == 1_992_355


def test_what_does_not_tell_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"the model of a is x\.onnx, an exported file"):
        costs_of({"a": "x.onnx"})
    with pytest.raises(CheckpointError, match="nowhere"):
        costs_of({"a": "nowhere.pth"})


def test_flops_leave_the_network_alone() -> None:
    with torch.device("meta"):
        model = build_model(MODEL_PRESETS["dsunet-nano"])
    assert flops_of(model) == flops_of(model)
    assert all(p.is_meta for p in model.parameters())
    assert isinstance(model, nn.Module)
