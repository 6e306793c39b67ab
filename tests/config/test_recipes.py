"""Recipes that come with the package."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from dsunet.cli import main
from dsunet.cli.entry import COMMANDS
from dsunet.cli.parser import Parser
from dsunet.config.recipes import RECIPES, find_recipe
from dsunet.errors import ConfigError

ROOT = Path(__file__).parents[2]


def test_all_of_the_repository_come_with_the_package() -> None:
    """A wheel has the folder where `find_recipe` looks first."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    included = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    assert included == {"configs": "dsunet/configs"}
    assert {file.name for file in RECIPES.iterdir()} == {
        file.name for file in (ROOT / "configs").iterdir()
    }


@pytest.mark.parametrize(
    "given", ["duts-lite", "duts-lite.yaml", "configs/duts-lite.yaml", Path("configs/duts-lite")]
)
def test_found_by_name_wherever_one_is(
    given: str | Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_recipe(given) == RECIPES / "duts-lite.yaml"
    Path("duts-lite").write_text("epochs: 3\n")
    assert find_recipe("duts-lite") == Path("duts-lite")  # what is there comes first


def test_every_one_is_a_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for recipe in RECIPES.glob("*.yaml"):
        parser = Parser("train", "", "")
        COMMANDS["train"].add_arguments(parser)
        where = [] if recipe.stem.startswith(("sod", "cod")) else ["--data", "data"]
        parsed = parser.parse(["--config", recipe.stem, *where, "--output", "run", "--epochs", "7"])
        assert parsed["model"]
        assert parsed["epochs"] == 7  # flags beat it


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("duts-light", "did you mean duts-lite?"),
        ("nothing-like-it", "with dsunet come cod-ablation-a, "),
        ("folder/duts-lite.yaml", "there is no file of settings folder/duts-lite.yaml"),
        ("duts-lite.json", "there is no file of settings duts-lite.json"),
    ],
)
def test_others_are_told_in_one_line(
    given: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConfigError, match="there is no file of settings"):
        find_recipe(given)
    assert main(["train", "--config", given, "--data", "data", "--output", "run"]) == 2
    error = capsys.readouterr().err.strip()
    assert said in error
    assert "\n" not in error
