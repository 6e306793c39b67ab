"""The command line as a user meets it; one slow test has real processes, `main` is for the rest."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from dsunet.cli import COMMANDS, main
from dsunet.cli.parser import Parser
from dsunet.cli.train import TRAIN
from helpers import ROOT


@pytest.mark.parametrize(
    "real", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["main", "processes"]
)
def test_the_straight_road(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    real: bool,
) -> None:
    """generate, train, predict and evaluate, each from one command."""
    monkeypatch.chdir(tmp_path)

    def dsunet(*arguments: str) -> str:
        if real:
            call = [sys.executable, "-m", "dsunet.cli", *arguments]
            done = subprocess.run(call, capture_output=True, text=True, timeout=300)
            status, out, err = done.returncode, done.stdout, done.stderr
        else:
            status, (out, err) = main([*arguments]), capsys.readouterr()
        assert status == 0, err
        assert "Warning" not in err
        return out

    assert "8 pairs" in dsunet("generate", "--output", "set", "--count", "8", "--size", "64")
    lines = dsunet(
        *"train --data set --model dsunet-nano --val-fraction 0.25 --output run --epochs 2".split(),
        *"--batch-size 3 --sam-size 128 --dino-size 112 --device cpu --workers 1".split(),
    ).splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("dsunet-nano: "))
    assert [line.partition(" ")[0] for line in lines[:start]] == ["mask", "object:", "share"]
    lines = lines[start:]
    assert "6 training and 2 validation pairs" in lines[0]
    assert lines[1].startswith("validation measures maps as they are")
    assert lines[2].startswith("epoch 1/2  loss ")
    assert lines[-4].startswith("best threshold: 0.")
    assert lines[-3].startswith("best epoch ")
    again = dsunet("train", "--config", "run/config.yaml", "--output", "run", "--resume")
    assert "epoch 1/2" not in again  # all is done

    out = dsunet(
        "predict",
        "set/images",
        "--weights",
        "run",
        "--output",
        "out",
        "--device",
        "cpu",
        "--save",
        "probability,overlay",
    )
    assert "8 of 8 images written to out" in out
    table = dsunet(
        "evaluate",
        "--predictions",
        "out/probability",
        "--masks",
        "set/masks",
        "--json",
        "scores.json",
        "--csv",
        "scores.csv",
    )
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert f"{scores['S']:.4f}" in table
    assert len((tmp_path / "scores.csv").read_text().splitlines()) == 10


def test_overview_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["--help"], ["-h"]):
        assert main(arguments) == 0
    main([])
    shown = capsys.readouterr().out
    assert all(f"  {name} " in shown for name in COMMANDS)
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("dsunet ")


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_hyphens_and_a_working_example(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([*name.split(), "--help"])
    assert stopped.value.code == 0
    shown = capsys.readouterr().out
    assert f"dsunet {name}" in shown.split("examples:")[1]
    flags = [word for word in shown.split() if word.startswith("--")]
    assert not [flag for flag in flags if "_" in flag]


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        ("trian", 2, "no command 'trian'; did you mean train?"),
        ("nonsense-word", 2, "known: train"),
        ("data chekc", 2, "no command 'data chekc'; did you mean data check?"),
        ("data check absent", 1, "there is no folder absent"),
        ("train --output x", 1, "no training data: give --data DIR"),
        ("train --output x --data d --epochs soon", 2, "epochs"),
        ("train --output x --data d --bogus 1", 2, "--bogus"),
        ("train --data d", 2, "output"),
        ("train --output x --data d --val-fraction 1", 1, "val_fraction is 1.0, but needs [0, 1)"),
        ("train --output x --data d --val v --val-fraction 0.1", 1, "exclude each other"),
        ("train --output x --data d --model big", 1, "model 'big' is unknown"),
        ("train --output x --data absent --weights none", 1, "there is no folder absent"),
        ("predict absent.jpg --weights w --output o", 1, "there is no file or folder absent.jpg"),
        ("predict . --weights w --output o --save mask", 1, "needs some of probability"),
        ("predict . --weights w --output o --threshold 2", 1, "--threshold is 2.0"),
        ("evaluate --predictions a --masks b", 1, "there is no folder a"),
        ("evaluate --predictions a", 2, "masks"),
        ("generate --output g --count 0", 1, "at least 1"),
    ],
)
def test_bad_usage_is_one_clear_line(
    arguments: str,
    status: int,
    message: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments.split()) == status
    shown = capsys.readouterr()
    assert message in shown.err
    assert shown.err.startswith("dsunet")
    assert len(shown.err.splitlines()) == 1
    assert shown.out == ""
    assert not any(tmp_path.iterdir())


def test_wrong_weights_and_device(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    command = ["predict", str(tmp_path / "a.png"), "--output", str(tmp_path / "o"), "--weights"]
    assert main([*command, str(tmp_path / "absent.safetensors")]) == 1
    assert "there is no weights file" in capsys.readouterr().err
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert main([*command, "x", "--device", "cuda"]) == 1
    assert "no usable NVIDIA GPU" in capsys.readouterr().err


def test_failures_give_status_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import dsunet
    from helpers import nano

    dsunet.save(nano(), tmp_path / "w.safetensors")
    (tmp_path / "in").mkdir()
    Image.new("RGB", (20, 30)).save(tmp_path / "in" / "good.png")
    (tmp_path / "in" / "bad.png").write_bytes(b"bad")
    status = main(
        ["predict", str(tmp_path / "in"), "--weights", str(tmp_path / "w.safetensors")]
        + ["--output", str(tmp_path / "out"), "--device", "cpu"]
    )
    shown = capsys.readouterr()
    assert status == 1
    assert "bad.png: not a readable image" in shown.err
    assert "1 of 2 images written" in shown.out
    with Image.open(tmp_path / "out" / "good.png") as image:
        assert image.size == (20, 30)


def test_models_lists_every_preset(models_shown: str) -> None:
    assert "7,225,830" in models_shown
    assert "1.38 %" in models_shown
    assert "216,529,891   4,380,595     2.02 %" in models_shown  # SAM2-UNet as published
    assert models_shown.count("dsunet-") == 8


@pytest.mark.parametrize("file", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda f: f.name)
def test_configs_parse(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every config is accepted; it then fails on the data folder, which is not there."""
    data = str(tmp_path / "absent")
    flag = "--benchmarks" if "task:" in file.read_text() else "--data"
    assert main(["train", "--config", str(file), flag, data, "--output", "x"]) == 1
    assert f"there is no folder {data}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--deterministic"], True),
        (["--deterministic", "--epochs", "2"], True),
        (["--deterministic", "true"], True),
        (["--deterministic=false"], False),
        (["--deterministic", "false"], False),
        ([], False),
    ],
)
def test_true_needs_not_be_written(flags: list[str], expected: bool) -> None:
    parser = Parser("train", "", "")
    TRAIN.add_arguments(parser)
    arguments = parser.parse(["--data", "x", "--output", "y", *flags])
    assert arguments.deterministic is expected


def test_a_folder_behind_a_flag_is_no_value_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", "--draft", "nowhere"]) == 1
    assert "nowhere" in capsys.readouterr().err


# What a command with `--model` needs besides, and what it says of a network of the user's own
# before it looks at anything else; nothing where it takes one.
MODELS = {
    "train": ("--data d --output o", ""),
    "plan": ("d", ""),
    "distill": ("--data d --output o --teacher t", ""),
    "data check": ("d", ""),
    "predict": ("a.png", ""),
    "features": ("a.png --output o", "features are of dsunet's models only"),
    "cache build": ("--data d", "dsunet does not know what could be kept"),
    "benchmark train": ("", "timed are settings of dsunet's models"),
    "benchmark predict": ("", "timed are settings of dsunet's models"),
    "benchmark data": ("", "timed are settings of dsunet's models"),
}


def test_these_are_all_commands_with_a_model() -> None:
    found = []
    for name, command in COMMANDS.items():
        parser = Parser(name, command.summary, command.examples)
        command.add_arguments(parser)
        if any("--model" in action.option_strings for action in parser._actions):
            found.append(name)
    assert sorted(found) == sorted(MODELS)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_is_meant_alike_in_every_command(
    name: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    needed, refusal = MODELS[name]

    def error_of(model: str) -> str:
        assert main([*name.split(), *needed.split(), "--model", model]) == 1
        return " ".join(capsys.readouterr().err.split())

    assert "model 'big' is unknown; known: dsunet-base" in error_of("big")
    assert "PACKAGE.MODULE:NAME" in error_of("big")
    if refusal:
        assert "--model mynet:tiny is a network of your own" in error_of("mynet:tiny")
        assert refusal in error_of("mynet:tiny")
    else:
        assert "there is no module 'mynet'" in error_of("mynet:tiny")
    parser = Parser(name, "", "")
    COMMANDS[name].add_arguments(parser)
    said = " ".join(parser.format_help().split())
    assert "or a network of your own, as PACKAGE.MODULE:NAME of what makes it" in said
    assert refusal in said


def test_predict_takes_a_preset_that_has_weights(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (8, 8)).save("a.png")
    command = "predict a.png --device cpu --output".split()
    assert main([*command, "named", "--model", "dsunet-lite"]) == 0
    assert main([*command, "default"]) == 0
    maps = [Path(folder, "a.png").read_bytes() for folder in ("named", "default")]
    assert maps[0] == maps[1]
    capsys.readouterr()
    for more in (["--model", "dsunet-nano"], ["--model", "dsunet-lite", "--weights", "w"]):
        assert main([*command, "other", *more]) == 1
        assert "of which the weights file says which" in capsys.readouterr().err


def test_a_sheet_shows_the_view_of_a_network_of_ones_own(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "sheetnet", raising=False)
    Path("sheetnet.py").write_text(
        "import torch, dsunet\n"
        "def make():\n    return dsunet.CustomModel(torch.nn.Conv2d(3, 1, 1), 352)\n"
    )
    assert main("generate --output set --count 2 --size 64".split()) == 0
    for name, model in (("own", "sheetnet:make"), ("preset", "dsunet-large")):
        assert main(["data", "check", "set", "--sheet", f"{name}.png", "--model", model]) == 0
    assert Path("own.png").read_bytes() == Path("preset.png").read_bytes()
