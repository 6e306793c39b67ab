"""What the command line says to slips: groups, unknown flags, values that are no numbers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dsunet.cli import main
from dsunet.cli.parser import in_plain_words


@pytest.mark.parametrize("group", ["data", "weights", "cache", "benchmark"])
@pytest.mark.parametrize("rest", [[], ["--help"], ["-h"], ["help"]])
def test_a_group_tells_its_commands(
    group: str, rest: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([group, *rest]) == 0
    said = capsys.readouterr().out
    assert f"usage: dsunet {group} COMMAND" in said
    assert said.count(f"\n  {group} ") >= 2


def test_a_group_without_such_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "chek"]) == 2
    assert "did you mean data check?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["train", "--epoch", "3"], "unrecognized arguments: --epoch 3; did you mean --epochs?"),
        (["train", "--batchsize=3"], "did you mean --batch-size?"),
        (["predict", "a.jpg", "--treshold", "0.4"], "did you mean --threshold?"),
        (["predict", "a.jpg", "--threshold", "0,4"], "is 0,4, but needs a number; write 0.4"),
        (["train", "--lr", "1e-3x"], "--lr is 1e-3x, but needs a number"),
        (["train", "--cosine-by", ""], "--cosine-by is empty, but needs epoch or step"),
        (["train", "--lr", ""], "--lr is empty, but needs a number"),
        (["train", "--epochs", "2.5"], "--epochs is 2.5, but needs a whole number"),
        (["train", "--batch-size", "atuo"], "a whole number or auto; did you mean auto?"),
        (["train", "--check", "ful"], "needs full or headers; did you mean full?"),
    ],
)
def test_slips(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    required = ["--output", "x", "--data", "d"] if arguments[0] == "train" else []
    assert main([*arguments, *required]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.splitlines()) == 1


def test_settings_of_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "c.yaml").write_text("epoch: 3\n")
    assert main(["train", "--config", str(tmp_path / "c.yaml"), "--output", "x"]) == 2
    assert "does not know: epoch; did you mean epochs?" in capsys.readouterr().err


@pytest.mark.parametrize("written", [["--data", "#set"], ["--data=#set"]])
def test_texts_that_begin_with_a_hash_are_no_comments(
    written: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *written, "--model", "dsunet-nano", "--output", "x"]) == 1
    assert "there is no folder #set" in capsys.readouterr().err


def test_models(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--model", "dsunet-lit", "--data", "d", "--output", "x"]) == 1
    assert "did you mean dsunet-lite?" in capsys.readouterr().err


def test_other_errors_stay_as_they_are() -> None:
    for error in ("no such thing", 'Parser key "x": something else. Got value: 3'):
        assert in_plain_words(error) == error


@pytest.mark.parametrize(
    "command",
    [["--help"], pytest.param(["models"], marks=pytest.mark.slow), ["train", "--help-all"]],
)
def test_whoever_reads_may_go_away(command: list[str]) -> None:
    """As `| head -1` does; also when what is printed fits into the pipe's buffer."""
    with subprocess.Popen(
        [sys.executable, "-m", "dsunet.cli", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={name: v for name, v in os.environ.items() if name != "PYTHONUNBUFFERED"},
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 0


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        ("predict photo.jpg --save overlays", "did you mean overlay?"),
        ("predict photo.jpg --format wepb", "did you mean webp?"),
        ("predict photo.jpg --output x.pgn", "did you mean x.png? A folder of that name is meant"),
        ("predict photo.jpg --output x.jpgg", "did you mean x.jpg?"),
        ("train --data x --output y --best-by iou", "did you mean IoU?"),
        ("train --benchmarks x --task sodd --output y", "did you mean sod?"),
        ("train --data x --output y --model dsunet-light", "did you mean dsunet-lite?"),
        ("features x --model dsunet-nano --output y --maps meen", "did you mean mean?"),
        ("reproduce cood --benchmarks x --output y", "did you mean cod?"),
        ("reproduce sod --benchmarks x --output y --model-size larg", "did you mean large?"),
    ],
)
def test_slips_in_values_have_a_hint(
    arguments: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments.split()) in (1, 2)
    error = capsys.readouterr().err.strip()
    assert hint in error
    assert "\n" not in error


@pytest.mark.parametrize("output", ["my.maps", "v1.0", "x.pgn/", "out"])
def test_folders_may_have_dots(output: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "absent.jpg", "--output", output]) == 1
    assert "there is no file or folder absent.jpg" in capsys.readouterr().err
