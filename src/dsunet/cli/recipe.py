"""The flags of a recipe, which `dsunet train` and `dsunet plan` share, and the model meant."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from jsonargparse import Namespace

from dsunet.cli.parser import (
    Parser,
    add_blocks_argument,
    add_classes_argument,
    add_encoder_arguments,
    add_model_argument,
    fields_of,
    model_of,
)
from dsunet.config import BLOCKS, DataConfig, LossConfig, ModelConfig, TrainConfig
from dsunet.config.renamed import todays
from dsunet.errors import ConfigError
from dsunet.support.imports import is_import_path

if TYPE_CHECKING:
    from dsunet.network.source import CustomSource

__all__ = ["NO_FILES", "add_minutes", "add_recipe_arguments", "chosen_model"]

NO_FILES = ("default", "encoders", "full", "none")
"""What `--weights` may be that is no file."""


def add_recipe_arguments(parser: Parser, *aliases: str, skip: Collection[str] = ()) -> None:
    """Those of its flags that say what is trained on what, and how; `skip` are not added."""
    parser.add_argument(
        "--config",
        action="config",
        help="YAML file with any of these settings, or the name of a "
        "recipe that comes with dsunet, such as duts-lite; flags beat it.",
    )
    own = "of the settings below it takes --sam_size, and --dino_size if it has two views"
    without = (
        "without it a weights file or run in --weights says which, and else it is dsunet-large on "
        "a GPU and dsunet-lite without one"
    )
    add_model_argument(parser, "What to train", f"{own}; {without}", *aliases, default=None)
    parser.add_argument(
        "--weights",
        default="default",
        help="What to start from: encoders (SAM2's and DINOv2's public weights; for lite "
        "ImageNet's, of the extra dsunet[lite]), full (a trained model that comes with dsunet: "
        "dsunet-lite), none (random), a weights file, or default: full for dsunet-lite, none for "
        "nano, encoders for the others.",
    )
    add_encoder_arguments(parser, "to start from instead of the public ones")
    add_blocks_argument(parser)
    parser.add_argument(
        "--report",
        type=bool,
        default=True,
        help="Show in the end what came of it, as report.html in the run's folder; dsunet report "
        "does so later.",
    )
    parser.add_class_arguments(DataConfig, skip=set(skip))
    parser.add_class_arguments(TrainConfig)
    parser.add_class_arguments(LossConfig)
    parser.add_class_arguments(ModelConfig, skip={"name", "classes"})
    add_classes_argument(
        parser,
        "Names of the classes of a model of several, separated by commas: one map for each. Their "
        "values in the masks are 1, 2, 3 … in this order, or as --class-table says, which alone "
        "is enough",
    )
    # not given means: as the preset has it
    parser.set_defaults(dict.fromkeys(fields_of(ModelConfig)))


def add_minutes(parser: Parser) -> None:
    """`--minutes` of a plan."""
    parser.add_argument(
        "--minutes",
        type=float,
        default=60.0,
        help="How long the training of a plan may take; of all folds together.",
    )


def chosen_model(arguments: Namespace, notes: list[str]) -> ModelConfig | CustomSource:
    """What to train: what `--model` says; else what the run or the weights to start from say.

    What is to be said of that is added to `notes`.

    Raises:
        ConfigError: A setting does not fit.
        CheckpointError: The weights do not say of which model they are.
    """
    settings = fields_of(ModelConfig)
    if named := [name for field in BLOCKS if is_import_path(name := f"{arguments[field]}")]:
        from dsunet.network.blocks import name_blocks

        name_blocks(named)
    if arguments.model is None and (run := _run_to_go_on_with(arguments)):
        arguments.model = run["model"]
        for name in settings:
            arguments[name] = run.get(name) if arguments[name] is None else arguments[name]
    elif arguments.model is None and arguments.weights not in NO_FILES:
        given = {name: arguments[name] for name in settings}
        changed = {name: value for name, value in given.items() if value is not None}
        return dataclasses.replace(_model_in(arguments.weights, notes), **changed)
    elif arguments.model is None:
        arguments.model = _usual_model(arguments, notes)
    return model_of(arguments, settings)


def _run_to_go_on_with(arguments: Namespace) -> dict[str, Any]:
    """Its settings; nothing if there is none, or they cannot be read, which is told of later."""
    if arguments.resume:
        with contextlib.suppress(OSError, ValueError, TypeError, AttributeError, yaml.YAMLError):
            settings = todays(yaml.safe_load(Path(arguments.output, "config.yaml").read_bytes()))
            return settings if isinstance(settings.get("model"), str) else {}
    return {}


def _model_in(weights: str, notes: list[str]) -> ModelConfig:
    """The model that a run's or a file's weights are of."""
    from dsunet.weights.formats import ModelFile
    from dsunet.weights.identify import config_of
    from dsunet.weights.opened import open_weights

    file = open_weights(weights).file
    if not isinstance(file, ModelFile):
        raise ConfigError(
            f"--weights {weights} holds {file.describe()} alone, not a whole model; give "
            f"it as --{file.role}-weights"
        )
    config = config_of(file)
    if config.blocks:
        from dsunet.network.blocks import require_named

        require_named(config, file.path)
    height_width = f"{config.sam_size}" + (f" and {config.dino_size}" if config.dino_size else "")
    notes.append(f"{config.name} with views of {height_width} px, as the weights say (no --model)")
    return config


def _usual_model(arguments: Namespace, notes: list[str]) -> str:
    """What is trained where nobody says."""
    if arguments.pyramid_weights or arguments.semantic_weights:
        return "dsunet-large"  # the paper's, whose weights these are as a rule
    from dsunet.running.place import choose_device

    if choose_device(arguments.device).type == "cpu":
        notes.append("no GPU and no --model: dsunet-lite, the small one (--model dsunet-large …)")
        return "dsunet-lite"
    return "dsunet-large"
