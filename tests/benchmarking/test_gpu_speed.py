"""The script for GPUs, and measuring with few packages."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import gpu_speed
from measured import made_up, variant


def run_script(monkeypatch: pytest.MonkeyPatch, *flags: str) -> int:
    monkeypatch.setattr(sys, "argv", ["gpu_speed.py", *flags])
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    return gpu_speed.main()


def test_the_gpu_script_says_that_there_is_no_gpu(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run_script(monkeypatch) == 1
    shown = capsys.readouterr()
    assert shown.err == "torch finds no NVIDIA GPU here; --rehearse runs on the CPU\n"
    assert shown.out == ""


def test_the_gpu_script_leaves_out_what_does_not_fit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "r.json"
    flags = ("--rehearse", "--budget", "0", "--output", str(target))
    assert run_script(monkeypatch, *flags) == 1  # nothing was measured
    assert "train, bfloat16: left out, only 0 s were left" in capsys.readouterr().out
    left_out = json.loads(target.read_text())["left_out"]
    assert len(left_out) == 8


def test_the_gpu_scripts_goals() -> None:
    naive = replace(made_up(variant().baseline(), (6.0,)), peak_bytes=30 * 10**9)
    ours = replace(made_up(variant(), (1.0,)), peak_bytes=9 * 10**9)
    light = replace(made_up(variant(checkpointing=True), (1.5,)), peak_bytes=8_100_000_000)
    predicted = made_up(variant(task="predict"), (0.001,))
    groups = [("train, x", [naive, ours, light]), ("predict, x", [naive, predicted])]
    answers = [(each["reached"], each["value"]) for each in gpu_speed.goals(groups)]
    assert answers == [(True, 6.0), (True, 9.0), (False, 8.1)]
    assert gpu_speed.goals([])[0]["reached"] is None


@pytest.mark.slow
def test_measuring_needs_few_packages() -> None:
    lacking = ["jsonargparse", "rich", "lightning", "cv2", "scipy", "matplotlib"]
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({lacking!r})); import dsunet.benchmarking; "
        "dsunet.benchmarking.table_of"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(("group", "variants"), [("train, bfloat16", 4), ("predict, batch 1", 4)])
@pytest.mark.slow
def test_the_gpu_script_rehearses(tmp_path: Path, group: str, variants: int) -> None:
    """One group of each task; all others start the same processes with other variants."""
    target = tmp_path / "r.json"
    flags = ["--rehearse", "--only", group, "--output", str(target), "--repeats", "1"]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([sys.executable, gpu_speed.__file__, *flags], env=environment)
    assert done.returncode == 0
    written = json.loads(target.read_text())
    assert written["left_out"] == []
    assert [each["group"] for each in written["groups"]] == [group]
    (results,) = (each["results"] for each in written["groups"])
    assert len(results) == variants
    assert all("failure" not in result for result in results)
    assert len(written["groups"][0]["comparisons"]) == variants - 1
