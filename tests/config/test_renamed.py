"""Settings, arguments, flags and files by the names that they had before."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import safetensors
import torch
import yaml

import dsunet
from dsunet.cli import main
from dsunet.cli.entry import COMMANDS
from dsunet.cli.output import with_flags
from dsunet.cli.parser import Parser
from dsunet.config import DistillConfig, ModelConfig, PruneConfig
from dsunet.config.renamed import RENAMED, as_on_disk, todays
from dsunet.errors import ConfigError
from helpers import nano


def test_settings_take_old_names_and_say_so() -> None:
    with pytest.warns(FutureWarning, match="hiera is called pyramid now"):
        old = ModelConfig(hiera="sam2_hiera_tiny", injection="none")
    new = ModelConfig(pyramid="sam2_hiera_tiny", injection="none")
    assert old == new
    assert old.hiera == "sam2_hiera_tiny"  # type: ignore[attr-defined]
    with pytest.warns(FutureWarning):
        assert PruneConfig(drop_dino_blocks=2).drop_semantic_blocks == 2
    with pytest.warns(FutureWarning):
        assert DistillConfig("t", teacher_hiera_weights="f").teacher_pyramid_weights == "f"


def test_both_names_are_too_many() -> None:
    with (
        pytest.warns(FutureWarning),
        pytest.raises(ConfigError, match="`hiera` is the old name of `pyramid`, and both"),
    ):
        ModelConfig(hiera="a", pyramid="b")


def test_every_setting_goes_to_disk_and_back() -> None:
    settings = ModelConfig().to_dict()
    assert {"hiera", "dinov2", "dinov2_norm", "dino_depth"} <= as_on_disk(settings).keys()
    assert todays(as_on_disk(settings)) == settings
    assert len(set(RENAMED.values())) == len(RENAMED)


def test_functions_take_old_names() -> None:
    with pytest.warns(FutureWarning, match="hiera_weights is called pyramid_weights now"):
        model = dsunet.create_model("dsunet-nano", None, hiera_weights=None, sam_size=128)
    assert model.hiera is model.pyramid
    assert model.dinov2 is model.semantic
    with pytest.warns(FutureWarning, match="train_hiera is called train_pyramid now"):
        model = dsunet.create_model("dsunet-nano", None, train_hiera=False)
    assert not model.pyramid.trainable
    parts = {"fusion": model.fusion, "decoder": model.decoder}
    with pytest.warns(FutureWarning) as said:
        same = dsunet.DSUNet(hiera=model.pyramid, dinov2=model.semantic, **parts)
    assert [str(each.message) for each in said] == [
        "dinov2 is called semantic now",
        "hiera is called pyramid now",
    ]
    assert same.semantic is model.semantic


@pytest.mark.slow
def test_files_keep_their_names(tmp_path: Path) -> None:
    """So that files and other versions of dsunet read each other."""
    model = nano()
    dsunet.save(model, tmp_path / "m.safetensors")
    with safetensors.safe_open(tmp_path / "m.safetensors", framework="pt") as file:
        about = json.loads(file.metadata()["dsunet"])
        assert {name.split(".")[0] for name in file.keys()} == {  # noqa: SIM118
            "hiera",
            "dinov2",
            "fusion",
            "decoder",
        }
    assert about["encoders"].keys() == {"hiera", "dinov2"}
    assert about["model"]["hiera"] == "hiera_nano"
    assert not {"pyramid", "semantic", "semantic_norm"} & about["model"].keys()
    again = dsunet.load(tmp_path / "m.safetensors")
    assert again.config == model.config
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name])


def test_flags_and_yaml_by_old_names_are_said_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "old.yaml"
    config.write_text(yaml.safe_dump({"hiera": "hiera_nano", "dinov2_norm": False}))
    flags = ["--model", "dsunet-nano", "--data", str(tmp_path / "nothing")]
    flags += ["--dinov2-weights", "f", "--train-hiera"]
    output = ["--output", str(tmp_path / "run")]
    assert main(["train", "--config", str(config), *flags, *output]) == 1
    said = capsys.readouterr().err
    assert said.count("--dinov2-weights is called --semantic-weights now") == 1
    assert said.count("--train-hiera is called --train-pyramid now") == 1
    assert said.count("hiera is called pyramid now") == 1
    assert said.count("dinov2_norm is called semantic_norm now") == 1
    assert "there is no folder" in said or "nothing" in said.splitlines()[-1]


def test_a_file_with_both_names_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "both.yaml"
    config.write_text("hiera: hiera_nano\npyramid: hiera_nano\n")
    assert main(["train", "--config", str(config), "--data", "d", "--output", "o"]) == 2
    said = capsys.readouterr().err
    assert "--hiera is the old name of --pyramid, and both are given: leave it out" in said
    assert said.count("\n") == 1


def test_a_flag_by_both_names_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    both = ["--hiera-weights=a", "--pyramid-weights", "b"]
    assert main(["train", "--data", "d", "--output", "o", *both]) == 2
    said = capsys.readouterr().err
    assert "--hiera-weights is the old name of --pyramid-weights, and both are given" in said
    assert said.count("\n") == 1


def test_only_arguments_are_written_as_flags() -> None:
    assert with_flags("raise `cache_budget`, or leave `draft` out") == (
        "raise --cache-budget, or leave --draft out"
    )
    for path in ("r--x_y/`save`.jpg", "a_b/`c`/d.png", "`Not` a name"):
        assert with_flags(path) == path


def test_the_hubs_settings_keep_their_names(tmp_path: Path) -> None:
    nano().save_pretrained(tmp_path)
    settings = json.loads((tmp_path / "config.json").read_text())
    assert settings == as_on_disk(nano().config.to_dict())  # type: ignore[union-attr]
    assert dsunet.DSUNet.from_pretrained(tmp_path).config == nano().config


@pytest.mark.parametrize(
    ("command", "old", "new"),
    [
        ("features", ["--size", "128"], ("sam_size", 128)),
        ("features", ["--crop=false"], ("centre_crop", False)),
        ("reproduce", ["--size", "nano"], ("model_size", "nano")),
    ],
)
def test_flags_that_meant_something_else_in_one_command(
    command: str, old: list[str], new: tuple[str, object]
) -> None:
    parser = Parser(command, "", "")
    COMMANDS[command].add_arguments(parser)
    needed = {"features": ["photo.jpg"], "reproduce": ["III", "--benchmarks", "data"]}[command]
    parsed = parser.parse([*needed, "--output", "out", *old])
    assert parsed[new[0]] == new[1]
    assert parser.renamed == {old[0].partition("=")[0]: f"--{new[0]}"}


def test_each_shared_name_means_one_thing() -> None:
    """What several commands have by one name has one meaning, and one kind of value."""
    kinds: dict[str, set[str]] = {"size": set(), "crop": set(), "workers": set()}
    for name, command in COMMANDS.items():
        parser = Parser(name, "", "")
        command.add_arguments(parser)
        for action in parser._actions:
            if action.dest in kinds:
                typed = getattr(action, "_typehint", None) or action.type
                kinds[action.dest].add(str(typed))
                if action.dest == "workers":
                    assert "rocess" in action.help or "hreads" in action.help, name
    assert len(kinds["size"]) == 1
    assert len(kinds["crop"]) == 1
