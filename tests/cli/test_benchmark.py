"""The commands that measure speed."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from dsunet.benchmarking import Failure, Measured, Variant
from dsunet.cli import main
from measured import made_up

QUICK = "--model dsunet-nano --device cpu --sam-size 128 --dino-size 112 --repeats 1".split()


@pytest.mark.slow
def test_benchmark_train(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "deep" / "t.json"
    flags = (
        "--train-semantic false --feature-cache on --batch-size 2 --baseline --repeats 3".split()
    )
    assert main(["benchmark", "train", *QUICK, *flags, "--json", str(target)]) == 0
    shown = capsys.readouterr().out
    assert "dsunet-nano: training steps of 2 images" in shown
    assert max(map(len, shown.splitlines()[:8])) <= 80
    written = json.loads(target.read_text())
    ours, naive = written["results"]
    assert ours["variant"]["feature_cache"] is True
    assert naive["variant"]["naive"] is True
    assert len(ours["seconds"]) == len(naive["seconds"]) == 3
    assert naive["flops"] > ours["flops"]  # DINOv2
    assert naive["peak_bytes"] > 10**8
    (comparison,) = written["comparisons"]
    expected = naive["median_seconds"] / ours["median_seconds"]
    assert math.isclose(comparison["speedup"], expected, rel_tol=1e-3)
    assert f"{comparison['speedup']:.2f} times as quick as the naive way" in shown


def test_benchmark_data(pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "d.json"
    flags = ["--data", str(pairs), "--images", "3", "--workers", "0", "--batch-size", "1"]
    assert main(["benchmark", "data", *QUICK, *flags, "--json", str(target)]) == 0
    assert "1 passes over 3 pairs" in capsys.readouterr().out
    written = json.loads(target.read_text())
    assert written["loader"][0]["images"] == 3
    assert written["sizes"] == [[128, 128], [112, 112]]
    assert written["results"] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("train --repeats 0", "repeats is 0, but needs at least 1"),
        ("train --warmup 0", "warmup is 0, but needs at least 1"),
        ("train --batch-size 0", "batch_size is 0, but needs at least 1"),
        ("train --feature-cache on", "or freeze DINOv2 (--train-semantic false)"),
        ("train --model dsunet-huge", "model 'dsunet-huge' is unknown"),
        ("predict --batch-size 1,x", "--batch-size is '1,x', but needs numbers such as 1,8,32"),
        ("data --images 0", "--images is 0, but needs at least 1"),
        ("data --data absent", "there is no folder absent"),
        ("data --workers a", "--workers is 'a', but needs numbers such as 1,8,32"),
        ("train --device cuda", "no usable NVIDIA GPU"),
    ],
)
def test_wrong_arguments_are_one_line(
    arguments: str,
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    command, *rest = arguments.split()
    assert main(["benchmark", command, *QUICK, *rest]) == 1
    shown = capsys.readouterr()
    assert message in shown.err
    assert len(shown.err.splitlines()) == 1


def test_a_failure_is_one_line_and_status_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from dsunet import benchmarking

    def fake(variants: list[Variant], **_: object) -> list[Measured | Failure]:
        naive = Failure(variants[1], "out of memory; try a smaller `batch_size`")
        return [made_up(variants[0], (1.0,)), naive]

    monkeypatch.setattr(benchmarking, "measure", fake)
    target = tmp_path / "f.json"
    flags = ["--batch-size", "4", "--baseline", "--json", str(target)]
    assert main(["benchmark", "train", *QUICK, *flags]) == 1
    shown = capsys.readouterr()
    assert "ours" in shown.out
    expected = "naive, batch 4: out of memory; try a smaller --batch-size"
    assert shown.err == f"dsunet benchmark train: error: {expected}\n"
    written = json.loads(target.read_text())["results"]
    assert written[1]["failure"] == "out of memory; try a smaller `batch_size`"
