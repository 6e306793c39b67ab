"""`--batch-size auto`: what fits, and what is free."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
import yaml

import dsunet
from dsunet.config import DataConfig, LossConfig, TrainConfig, model_config
from dsunet.data.synthetic import write_synthetic
from dsunet.errors import TrainingError
from dsunet.running import memory
from dsunet.running.memory import free_memory, give_back
from dsunet.running.place import Place
from dsunet.training import batch_size
from dsunet.training.batch_size import Need, fit, memory_of_a_step
from helpers import nano

pytestmark = pytest.mark.usefixtures("plain")

AUTO = TrainConfig(batch_size="auto", device="cpu")
NEED = Need(1e9, 1.5e9)  # 2.5, 4, 7 and 13 GB for 1, 2, 4 and 8
CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("free", "pairs", "recipe", "chosen", "line"),
    [
        (20e9, 99, {}, (8, 1), "batch size 8: it takes about 13.0 GB, 20.0 GB are free"),
        (
            9.3e9,
            99,
            {},
            (4, 2),
            "batch size 4, accumulated twice for the recipe's 8 images a step: a batch of 8 would "
            "take about 13.0 GB, 9.3 GB are free",
        ),
        (
            2.9e9,
            99,
            {},
            (1, 8),
            "batch size 1, accumulated eight times for the recipe's 8 images a step: a batch of 2 "
            "would take about 4.0 GB, 2.9 GB are free",
        ),
        (
            20e9,
            5,
            {},
            (4, 2),
            "batch size 4, accumulated twice for the recipe's 8 images a step: there are only 5 "
            "training pairs",
        ),
        (20e9, 99, {"accumulate": 4}, (2, 4), "batch size 2: it takes about 4.0 GB, 20.0 GB are"),
        (3e9, 99, {"accumulate": 4}, (1, 4), "batch size 1: a batch of 2 would take about 4.0 GB"),
        (20e9, 99, {"devices": 2}, (8, 1), "batch size 8, 4 on each of 2 devices: it takes about"),
        (20e9, 99, {"devices": 2, "num_nodes": 4}, (8, 1), "batch size 8, 1 on each of 8 devices"),
    ],
)
def test_fit(
    free: float, pairs: int, recipe: dict[str, int], chosen: tuple[int, int], line: str
) -> None:
    result, said = fit(NEED, free, pairs, TrainConfig(batch_size="auto", **recipe))
    assert (result.batch_size, result.accumulate) == chosen
    assert said.startswith(line)


def test_nothing_fits() -> None:
    with pytest.raises(
        TrainingError,
        match=r"not even a batch of 1 fits: it would take about 2.5 GB, 2.6 GB are free; use a "
        r"smaller `sam_size`, or `activation_checkpointing`",
    ):
        fit(NEED, 2.6e9, 99, AUTO)  # a tenth is left to others
    with pytest.raises(TrainingError, match=r"smaller `sam_size`$"):
        fit(NEED, 1e9, 99, TrainConfig(batch_size="auto", activation_checkpointing=True))


@pytest.mark.parametrize("value", ["large", 0])
def test_wrong_batch_sizes_are_named(value: object) -> None:
    with pytest.raises(ValueError, match=r"batch_size is .*, but needs"):
        TrainConfig(batch_size=value)  # type: ignore[arg-type]


def kept_by_a_step(batch: int) -> int:
    """Bytes that a real forward pass keeps, weights left out."""
    model = nano().train()
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        model(torch.zeros(batch, 3, 128, 128), torch.zeros(batch, 3, 112, 112))
    return sum(kept.values())


@pytest.mark.slow
def test_what_is_calculated_is_what_a_step_keeps() -> None:
    """The height is at the end of the forward pass, or little above."""
    network = nano().train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    need = memory_of_a_step(network, LossConfig(), Place(CPU))
    for name, tensor in network.state_dict().items():
        assert torch.equal(before[name], tensor), name
    calculated = need.per_image / batch_size._GAPS
    assert kept_by_a_step(4) == pytest.approx(4 * calculated, rel=0.1)
    trained = sum(p.nbytes for p in network.parameters())
    assert need.fixed == pytest.approx(batch_size._PROCESS + 4 * trained, rel=1e-3)


@pytest.mark.slow
def test_checkpointing_is_reckoned_with() -> None:
    network = nano().train()
    plain = memory_of_a_step(network, LossConfig(), Place(CPU))
    network.pyramid.checkpointing = True
    less = memory_of_a_step(network, LossConfig(), Place(CPU))
    assert less.fixed == plain.fixed
    assert less.per_image < 0.8 * plain.per_image


def lay_out_system(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


SYSTEM = {
    "proc/meminfo": "MemTotal: 9000 kB\nMemAvailable:    4000 kB\n",
    "proc/self/status": "Name: python\nVmRSS: 900 kB\nRssAnon:\t 500 kB\n",
}


def test_free_memory_without_limits(tmp_path: Path) -> None:
    lay_out_system(tmp_path, SYSTEM)
    assert free_memory(CPU, tmp_path) == 4500 * 1024


def test_limits_of_control_groups_count(tmp_path: Path) -> None:
    lay_out_system(
        tmp_path,
        {
            **SYSTEM,
            "proc/self/cgroup": "0::/job/step\n",
            "sys/fs/cgroup/job/step/memory.max": "max\n",
            "sys/fs/cgroup/job/step/memory.current": "5\n",
            "sys/fs/cgroup/job/step/memory.stat": "anon 5\n",
            "sys/fs/cgroup/job/memory.max": "3000000\n",
            "sys/fs/cgroup/job/memory.current": "1500000\n",
            "sys/fs/cgroup/job/memory.stat": "inactive_file 300000\nactive_file 200000\nanon 7\n",
        },
    )
    assert free_memory(CPU, tmp_path) == 2_000_000 + 500 * 1024


def test_limits_of_the_first_version_count(tmp_path: Path) -> None:
    folder = "sys/fs/cgroup/memory"
    lay_out_system(
        tmp_path,
        {
            **SYSTEM,
            "proc/self/cgroup": "4:memory:/elsewhere\n1:cpu:/\n",
            f"{folder}/memory.limit_in_bytes": "3000000\n",
            f"{folder}/memory.usage_in_bytes": "1000000\n",
            f"{folder}/memory.stat": "total_inactive_file 10\ntotal_active_file 20\n",
        },
    )
    assert free_memory(CPU, tmp_path) == 2_000_030 + 500 * 1024


def test_unknown_free_memory_is_said(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"cannot tell how much memory is free.*give a number"):
        free_memory(CPU, tmp_path)
    with pytest.raises(TrainingError, match="free for mps"):
        free_memory(torch.device("mps"))


@pytest.mark.skipif(sys.platform != "linux", reason="for Linux alone")
def test_memory_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every other one of many small pieces is freed: gaps, which only `give_back` returns."""

    def resident() -> float:
        return memory._kilobytes(Path("/proc/self/status"), "RssAnon")

    pieces = [torch.ones(20_000) for _ in range(2000)]  # 80 kB each, from the heap
    before = resident()
    del pieces[::2]
    give_back(worth=0)
    assert before - resident() > 0.7 * 1000 * 80_000
    assert len(pieces) == 1000


@pytest.mark.slow
def test_a_run_records_its_numbers_and_goes_on_with_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_synthetic(tmp_path / "set", 6, 72)
    model = model_config("dsunet-nano", sam_size=128, dino_size=112)
    data = DataConfig(str(tmp_path / "set"), workers=0)
    lines: list[str] = []

    def run(epochs: int) -> None:
        recipe = TrainConfig(batch_size="auto", epochs=epochs, device="cpu")
        dsunet.train(
            tmp_path / "run", model, data, recipe, resume=True, on_line=lines.append, weights=None
        )

    monkeypatch.setattr(batch_size, "memory_of_a_step", lambda *_: Need(0, 1e9))
    monkeypatch.setattr(batch_size, "free_memory", lambda _: 3e9)
    run(1)
    assert any(line.startswith("batch size 2, accumulated four times") for line in lines)
    settings = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert (settings["batch_size"], settings["accumulate"]) == (2, 4)
    lines.clear()
    monkeypatch.setattr(batch_size, "free_memory", lambda _: 0.0)
    run(1)
    assert not any(line.startswith("batch size") for line in lines)
