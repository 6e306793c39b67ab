"""`--keep-memory`: what is freed is there for the next tensors, and the results are the same."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import dsunet
from dsunet.config import DataConfig, TrainConfig, model_config
from dsunet.data.synthetic import write_synthetic
from dsunet.errors import TrainingError
from dsunet.running.memory import free_memory, keep_freed
from dsunet.training import material, module
from dsunet.weights.checkpoint import read_checkpoint

pytestmark = pytest.mark.usefixtures("plain")

ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="for Linux alone")
CPU = torch.device("cpu")
PAGES = """
import resource, sys, torch
from dsunet.running.memory import keep_freed
if sys.argv[1] == "keep":
    keep_freed(torch.device("cpu"))
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
torch.ones(10_000_000)  # 40 MB
before = faults()
for _ in range(40):
    torch.ones(10_000_000)
print(faults() - before)
"""


@ON_LINUX
def test_pages_of_what_was_freed_are_taken_again() -> None:
    """In processes of their own, as it holds for the whole of one."""
    faults = {
        way: int(subprocess.check_output([sys.executable, "-c", PAGES, way], text=True))
        for way in ("keep", "plain")
    }
    assert faults["plain"] >= 40  # of pages as large as the tensors, at least
    assert faults["keep"] < faults["plain"] / 2  # some do not fit into the gap of the one before


def test_other_devices_and_systems_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TrainingError, match=r"`keep_memory` is for .*this is cuda on .*leave it"):
        keep_freed(torch.device("cuda"))
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(TrainingError, match=r"`keep_memory` is for .*this is cpu on darwin"):
        keep_freed(CPU)


def test_training_with_it_comes_to_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And gives back from half of the memory on, where it would from 2 GB on without."""
    kept, given = [], []

    def keep(device: torch.device) -> float:
        kept.append(device)  # and no more: this process stays as it is
        return free_memory(device) / 2

    monkeypatch.setattr(material, "keep_freed", keep)
    monkeypatch.setattr(module, "keep_freed", keep)
    monkeypatch.setattr(module, "give_back", lambda worth=module.WORTH: given.append(worth))
    write_synthetic(tmp_path / "set", 2, 72)
    data = DataConfig(str(tmp_path / "set"), workers=0)
    model = model_config("dsunet-nano", sam_size=128, dino_size=112)
    recipe = TrainConfig(epochs=2, batch_size=2, device="cpu")
    weights = []
    for name, keep_memory in (("plain", False), ("kept", True)):
        given.clear()
        own = dataclasses.replace(recipe, keep_memory=keep_memory)
        dsunet.train(tmp_path / name, model, data, own, weights=None)
        weights.append(read_checkpoint(tmp_path / name / "last.safetensors")[1])
        # all of it at the start and before readers start anew, as those are copies of the process
        assert [at for at, worth in enumerate(given) if worth == 0] == [0, 2, 4]
        within = [given[1], given[3]]
        assert all((each > 2.5e8) if keep_memory else (each == module.WORTH) for each in within)
    assert kept == [CPU, CPU]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


@ON_LINUX
def test_another_device_is_said_before_anything_is_written(tmp_path: Path) -> None:
    write_synthetic(tmp_path / "set", 2, 72)
    data = DataConfig(str(tmp_path / "set"), workers=0)
    recipe = TrainConfig(epochs=1, device="cpu", keep_memory=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "platform", "darwin")
        with pytest.raises(TrainingError, match="leave it out"):
            dsunet.train(tmp_path / "run", model_config("dsunet-nano"), data, recipe, weights=None)
    assert not (tmp_path / "run").exists()
