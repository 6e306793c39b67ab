"""Loaders whose processes have little shared memory, die, or get signals."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch.utils.data import Dataset, get_worker_info

from dsunet.errors import DsunetError
from dsunet.running import loaders
from dsunet.running.loaders import Readers, affordable, explain_loss, make_loader

MEGABYTE = 1_000_000
PATIENCE = 60  # seconds after which a loader is taken to wait for ever


class Usage(NamedTuple):
    free: int


class Large(Dataset[torch.Tensor]):
    """Eight items of a megabyte each."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, number: int) -> torch.Tensor:
        return torch.full((MEGABYTE // 4,), float(number))


class Acting(Large):
    """Does something in the process that reads item 3."""

    def __init__(self, action: str) -> None:
        self.action = action

    def __getitem__(self, number: int) -> torch.Tensor:
        if number == 3 and self.action == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if number == 3 and self.action == "sleep":
            time.sleep(PATIENCE)
        if self.action == "signals" and get_worker_info() is not None:
            for each in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                os.kill(os.getpid(), each)
        return torch.tensor([number])


class Unpicklable(Large):
    def __getitem__(self, number: int) -> torch.Tensor:
        return threading.Lock() if number == 3 else torch.tensor([number])  # type: ignore[return-value]


def as_they_are(items: list[torch.Tensor]) -> list[torch.Tensor]:
    return items


@pytest.mark.parametrize(
    ("free", "readers"),
    [
        (100, Readers(4, 2)),
        (20, Readers(4, 2)),  # 8 of 4 processes, 2 beside them, and as many again
        (19, Readers(4, 1)),
        (12, Readers(4, 1)),
        (11, Readers(3, 1)),
        (6, Readers(1, 1)),
        (5, Readers(0, 1)),
        (0, Readers(0, 1)),
    ],
)
def test_no_more_processes_than_the_shared_memory_has_room_for(free: int, readers: Readers) -> None:
    assert affordable(4, MEGABYTE, free * MEGABYTE) == readers


@pytest.mark.parametrize("megabytes", [64, 11, 3])
def test_a_small_shared_memory_is_found_at_the_start(
    megabytes: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Every batch comes, whatever there is; fewer processes are told of in one line."""
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(megabytes * MEGABYTE))
    with caplog.at_level(logging.WARNING, loaders.__name__):
        loader = make_loader(Large(), 2, torch.stack, workers=2)
    expected = {64: 2, 11: 0, 3: 0}[megabytes]
    assert loader.num_workers == expected
    assert len(caplog.messages) == (expected < 2)
    if caplog.messages:
        assert f"has {megabytes}" in caplog.messages[0]
        assert "--shm-size" in caplog.messages[0]
        assert "batches of 2.0 MB by 2 processes" in caplog.messages[0]
    assert [batch[:, 0].tolist() for batch in loader] == [[0, 1], [2, 3], [4, 5], [6, 7]]


def test_processes_on_one_machine_share_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(12 * MEGABYTE))
    assert make_loader(Large(), 1, torch.stack, workers=2).num_workers == 2
    assert make_loader(Large(), 1, torch.stack, workers=2, sharing=2).num_workers == 1


def test_where_there_is_no_such_folder_nothing_is_lowered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loaders, "SHARED", "/there/is/none")
    assert make_loader(Large(), 2, torch.stack, workers=2).num_workers == 2


def test_measuring_takes_nothing_from_an_order_that_ends() -> None:
    order: Iterator[int] = iter([5, 6])
    loader = make_loader(Large(), None, torch.mean, order=order, workers=1)
    assert [float(each) for each in loader] == [5, 6]


def test_a_process_that_is_killed_is_one_clear_line() -> None:
    started = time.monotonic()
    with pytest.raises(DsunetError, match=r"has died.*/dev/shm \(.* free\).*fewer `workers`"):
        list(make_loader(Acting("die"), 1, torch.stack, workers=2))
    assert time.monotonic() - started < PATIENCE / 2


def test_a_batch_that_cannot_be_handed_over_is_not_waited_for() -> None:
    """As one that the shared memory has no room for, too."""
    started = time.monotonic()
    with pytest.raises(DsunetError, match="has died"):
        list(make_loader(Unpicklable(), 1, as_they_are, workers=1))
    assert time.monotonic() - started < PATIENCE / 2


def test_a_loss_is_told_of_wherever_it_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch raises it from a handler of signals, between any two steps of Python's."""

    def noticed(self: object, *_: object) -> None:
        raise RuntimeError("DataLoader worker (pid 7) exited unexpectedly with exit code 1. More.")

    batches = iter(make_loader(Acting("nothing"), 1, torch.stack, workers=1))
    next(batches)
    with monkeypatch.context() as patched:
        patched.setattr(torch.autograd.profiler.record_function, "__exit__", noticed)
        with pytest.raises(DsunetError, match=r"has died \(DataLoader worker \(pid 7\)"):
            next(batches)


def test_waiting_for_a_batch_can_be_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loaders, "_SECONDS", 0.2)
    monkeypatch.setattr("torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL", 0.2)
    asked = []
    loader = make_loader(
        Acting("sleep"), 1, torch.stack, workers=1, interrupted=lambda: not asked.append(1)
    )
    started, batches = time.monotonic(), iter(loader)
    assert [int(next(batches)) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(KeyboardInterrupt):
        next(batches)
    assert time.monotonic() - started < PATIENCE / 2


@pytest.mark.skipif(sys.platform != "linux", reason="needs sigwaitinfo")
def test_processes_leave_signals_to_the_one_that_asked() -> None:
    """What a group of processes gets; yet the one that asked can end them."""
    loader = make_loader(Acting("signals"), 1, torch.stack, workers=2, keep_workers=True)
    assert [int(each) for each in loader] == list(range(8))
    worker = loader._iterator._workers[0]  # type: ignore[union-attr]
    assert worker.is_alive()
    worker.terminate()
    worker.join(PATIENCE)
    assert worker.exitcode == 0


def test_other_errors_are_no_lost_process() -> None:
    assert explain_loss(RuntimeError("a wrong shape")) is None
    assert explain_loss(RuntimeError("Caught X in DataLoader worker process 0.\n")) is None
    assert explain_loss(ValueError("DataLoader worker (pid 3)")) is None


SMALL = """
import sys, torch
from dsunet.errors import DsunetError
from dsunet.running import loaders

class Large(torch.utils.data.Dataset):
    def __len__(self):
        return 8
    def __getitem__(self, number):
        return torch.ones(300_000 * (1 + 9 * (number > 4)))

try:
    for batch in loaders.make_loader(Large(), None, torch.Tensor.clone, workers=2):
        print(len(batch), flush=True)
except DsunetError as error:
    print(error)
"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs Linux's unshare")
def test_a_real_small_shared_memory(tmp_path: Path) -> None:
    """Items that turn out larger than the first one: an error, not a wait for ever."""
    script = tmp_path / "small.py"
    script.write_text(SMALL)
    inside = f"mount -t tmpfs -o size=8m tmpfs /dev/shm && {sys.executable} {script}"
    command = ["unshare", "-rm", "sh", "-c", inside]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    if "mount" in done.stderr or "unshare" in done.stderr:
        pytest.skip("mounting is not allowed here")
    lines = done.stdout.splitlines()
    assert lines[:5] == ["300000"] * 5, done.stderr
    assert "has died" in lines[-1]
