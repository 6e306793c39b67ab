"""Help in two layers."""

from __future__ import annotations

import re

import pytest

from dsunet.cli import main
from dsunet.cli.entry import COMMANDS
from dsunet.cli.layers import BASIC, FEW
from dsunet.cli.parser import Parser

LONG = ["train", "plan", "distill", "prune", "cache build"]


def _help(name: str, flag: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as stopped:
        main([*name.split(), flag])
    assert stopped.value.code == 0
    return capsys.readouterr().out


def _flags(shown: str) -> set[str]:
    return set(re.findall(r"^ +(--[a-z-]+)", shown, re.MULTILINE))


@pytest.mark.parametrize("name", LONG)
def test_help_shows_the_basics_and_help_all_the_rest(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    short, full = _help(name, "--help", capsys), _help(name, "--help-all", capsys)
    basic, every = _flags(short), _flags(full)
    assert basic < every
    assert len(basic) <= FEW
    end = short.splitlines()[-1]
    assert end == f"{len(every - basic)} more flags: dsunet {name} --help-all"
    assert "more flags" not in full


def test_what_train_shows_first(capsys: pytest.CaptureFixture[str]) -> None:
    short, full = _help("train", "--help", capsys), _help("train", "--help-all", capsys)
    needed = (
        "config data model weights output epochs batch-size lr val-fraction resume device workers"
    )
    assert {f"--{name}" for name in needed.split()} <= _flags(short)
    assert "--decoder-merge" not in short  # nor in the usage
    assert "--decoder-merge" in _flags(full)


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - {*LONG}))
def test_a_short_help_has_one_layer(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert _help(name, "--help", capsys) == _help(name, "--help-all", capsys)


def test_the_basics_are_flags() -> None:
    """Each name is one, so that a setting that is renamed cannot vanish from the help."""
    known: set[str] = set()
    for name in LONG:
        parser = Parser(name, "", "")
        COMMANDS[name].add_arguments(parser)
        known |= {action.dest for action in parser._actions}
    assert known >= BASIC


def test_flags_that_are_not_shown_are_taken(capsys: pytest.CaptureFixture[str]) -> None:
    refused = ["train", "--data", "absent", "--output", "x", "--decoder-merge", "ad"]
    assert main(refused) == 2
    assert "did you mean add?" in capsys.readouterr().err
