"""The processes that measure: failures, kills and deadlines."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from dsunet.benchmarking import Failure, Measured, measure
from dsunet.benchmarking.children import Child, ChildError, Matrices, _explained
from measured import small, variant


@pytest.mark.slow
def test_a_failing_child_says_why_and_leaves_the_others(tmp_path: Path) -> None:
    odd = variant("odd", model=small(dino_size=100))
    good = variant("good", task="predict", batch_size=1).baseline()
    rounds: list[tuple[int, int]] = []
    bad, result = measure(
        [odd, good],
        repeats=2,
        matrix_side=64,
        progress=lambda done, of: rounds.append((done, of)),
    )
    assert isinstance(bad, Failure)
    assert "dino_size is 100, but sides need to be multiples of 14" in bad.reason
    assert "\n" not in bad.reason
    assert isinstance(result, Measured)
    assert result.variant is good
    assert len(result.seconds) == len(result.rate.seconds) == 2
    assert rounds == [(0, 3), (1, 3), (2, 3), (3, 3)]
    # two products and sums for each multiplication; Hiera and DINOv2 and the decoder
    assert 10**8 < result.flops < 10**10
    assert result.peak_bytes is not None
    assert result.peak_bytes > 10**8


@pytest.mark.slow
def test_a_killed_child_is_noticed() -> None:
    child = Child(Matrices(64, ("float32",), "cpu"))
    try:
        child.answer()
        assert child.ask("float32") > 0
        assert child.process.pid is not None
        os.kill(child.process.pid, signal.SIGKILL)
        with pytest.raises(ChildError, match="killed, most likely because memory ran out"):
            child.ask("float32")
    finally:
        child.close()


@pytest.mark.slow
def test_a_child_out_of_time_is_given_up() -> None:
    child = Child(Matrices(64, ("float32",), "cpu"), deadline=time.monotonic())
    try:
        with pytest.raises(ChildError, match="out of time"):
            child.answer()
    finally:
        child.close()
    assert not child.process.is_alive()


CHILD = """
import sys, time
from dsunet.benchmarking.children import Child, Matrices
if __name__ == "__main__":
    child = Child(Matrices(64, ("float32",), "cpu"))
    child.answer()
    print(child.process.pid, flush=True)
    time.sleep(600)
"""


@pytest.mark.slow
def test_children_end_with_a_killed_parent(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(CHILD)
    parent = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    for _ in range(100):
        if not running(pid):
            return
        time.sleep(0.1)
    os.kill(pid, signal.SIGKILL)
    raise AssertionError("the child outlived its parent")


def running(pid: int) -> bool:
    """Not gone, nor a zombie that nobody asks about."""
    stat = Path(f"/proc/{pid}/stat")
    if Path("/proc/self").exists():
        return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_errors_become_one_line() -> None:
    cpu = RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried\nto")
    assert _explained(cpu) == "out of memory; try a smaller `batch_size`"
    assert _explained(torch.OutOfMemoryError("CUDA")) == _explained(MemoryError())
    assert _explained(ValueError("needs\n more")) == "needs more"
    assert _explained(KeyError("x")) == "KeyError: 'x'"
