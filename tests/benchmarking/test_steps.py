"""Single steps, their seconds and their memory."""

from __future__ import annotations

import time

import pytest
import torch

from dsunet.benchmarking.memory import peak_bytes
from dsunet.benchmarking.networks import network_of
from dsunet.benchmarking.steps import example_batch, example_views, seconds_of, training_step
from dsunet.running.place import Place
from measured import CPU, variant


def test_a_step_trains_what_is_trained() -> None:
    model = network_of(variant()).train()
    batch = example_batch(model.view_sizes, 2, CPU)
    assert batch.sam.shape == (2, 3, 128, 128)
    assert batch.mask.min() >= 0
    assert 0 < batch.mask.mean() < 1
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    step = training_step(model, batch, Place(CPU))
    step()
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name]) is not parameter.requires_grad, name


def test_pictures_repeat_after_four() -> None:
    views = example_views(((32, 64), (28, 42)), 6)
    assert {each.sam.shape for each in views} == {(3, 32, 64)}
    assert not torch.equal(views[0].sam, views[1].sam)
    assert torch.equal(views[0].sam, views[4].sam)


def test_time_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 5.0

    def work() -> None:
        nonlocal now
        now += 2.5

    monkeypatch.setattr(time, "perf_counter", lambda: now)
    assert seconds_of(work, CPU) == 2.5


def test_memory_is_measured() -> None:
    before = peak_bytes(CPU)
    taken = torch.ones(1 << 26)  # 256 MB
    after = peak_bytes(CPU)
    assert before is not None
    assert after is not None
    assert after - before <= 1.1 * taken.nbytes
    del taken
    later = peak_bytes(CPU)
    assert later is not None
    assert later > after - 10**7  # the most, not what is left; Linux counts roughly
