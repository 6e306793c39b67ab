"""`dsunet train`."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

import yaml
from jsonargparse import Namespace

import dsunet
from dsunet.cli.output import fail, one_line, print_line, scores, visible, with_flags
from dsunet.cli.parser import (
    GIVEN,
    Command,
    Parser,
    add_encoder_arguments,
    add_model_argument,
    fields_of,
    model_of,
    pick,
)
from dsunet.config import DataConfig, DistillConfig, LossConfig, ModelConfig, TrainConfig
from dsunet.config.renamed import todays
from dsunet.errors import ConfigError, DsunetError
from dsunet.support.files import write_json
from dsunet.support.packages import needing

if TYPE_CHECKING:
    from dsunet.network.source import CustomSource
    from dsunet.training import TrainResult

__all__ = [
    "NO_FILES",
    "TRAIN",
    "add_minutes",
    "add_recipe_arguments",
    "add_train_arguments",
    "chosen_model",
    "run_training",
]


def add_train_arguments(parser: Parser, *aliases: str) -> None:
    """The flags of a training; `aliases` are further names of `--model`."""
    parser.add_argument("--output", type=str, required=True, help="The run's folder.")
    parser.add_argument("--resume", action="store_true", help="Go on with the run in --output.")
    add_recipe_arguments(parser, *aliases)


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
    parser.add_class_arguments(ModelConfig, skip={"name"})
    # not given means: as the preset has it
    parser.set_defaults(dict.fromkeys(fields_of(ModelConfig)))


def _train_arguments(parser: Parser) -> None:
    add_train_arguments(parser)
    parser.add_argument(
        "--folds",
        type=int,
        help="Train so many times, each with another --fold held out, in OUTPUT/fold-1 and so on; "
        "mean and deviation of the measures go to OUTPUT/folds.json.",
    )
    parser.add_argument(
        "--plan",
        type=str,
        metavar="auto",
        help="auto looks at data and machine first, tries some steps, and chooses what is not "
        "given; it says all with reasons, and keeps them as plan.yaml in the run's folder. See "
        "dsunet plan.",
    )
    add_minutes(parser)


def add_minutes(parser: Parser) -> None:
    """`--minutes` of a plan."""
    parser.add_argument(
        "--minutes",
        type=float,
        default=60.0,
        help="How long the training of a plan may take; of all folds together.",
    )


def _train(arguments: Namespace) -> int:
    if arguments.plan not in (None, "auto"):
        raise ConfigError(
            f"--plan is {arguments.plan!r}, but needs auto; a plan in a file goes by --config"
        )
    if arguments.plan is None and "minutes" in arguments[GIVEN]:
        raise ConfigError("--minutes is about a plan: add --plan auto, or leave it out")
    if arguments.folds is not None:
        return _train_folds(arguments)
    return run_training(arguments, plan=_planned(arguments, Path(arguments.output)))


def _planned(arguments: Namespace, folder: Path, folds: int = 1) -> str | None:
    """Fills in what a plan chooses, if one is asked for; gives it as YAML.

    A run that is gone on with, and a process that another one has started beside itself, take the
    plan that lies in the run's folder.
    """
    if arguments.plan is None:
        return None
    from dsunet.cli.plan import make, use
    from dsunet.planning import as_yaml, read_plan, told
    from dsunet.training.folder import check_free

    kept = folder / "plan.yaml"
    begun = arguments.resume and (folder / "config.yaml").is_file()
    if begun or int(os.environ.get("LOCAL_RANK", 0)) > 0:
        use(arguments, read_plan(kept))
        return None
    check_free(folder, arguments.resume)
    plan = make(arguments, arguments.minutes / folds)
    for line in told(plan):
        print_line(line)
    use(arguments, plan.settings)
    return as_yaml(plan)


def _train_folds(arguments: Namespace) -> int:
    """One training for each fold; the exit status of the first that fails, else 0."""
    count, root = arguments.folds, Path(arguments.output)
    if count < 2:
        raise ConfigError(f"--folds is {count}, but needs at least 2")
    if arguments.fold is not None:
        raise ConfigError("--fold and --folds exclude each other: give one")
    arguments.fold = f"1/{count}"  # which a plan is made for
    plan = _planned(arguments, root / "fold-1", count)
    results: list[TrainResult] = []
    for number in range(1, count + 1):
        print_line(f"fold {number} of {count}: {root / f'fold-{number}'}")
        own = arguments.clone()
        own.fold, own.output = f"{number}/{count}", str(root / f"fold-{number}")
        if status := run_training(own, results=results, plan=plan):
            if status == _INTERRUPTED:
                print_line("the command with --resume goes on with all folds")
            return status
    spread = _spread([result.measures for result in results])
    write_json(
        root / "folds.json",
        {
            "folds": [
                {"folder": str(result.folder), "epoch": result.best_epoch, **result.measures}
                for result in results
            ],
            "mean": {name: mean for name, (mean, _) in spread.items()},
            "deviation": {name: deviation for name, (_, deviation) in spread.items()},
        },
    )
    told = "  ".join(f"{name} {mean:.4f} ± {off:.4f}" for name, (mean, off) in spread.items())
    print_line(f"mean ± standard deviation of {count} folds: {told}")
    return 0


def _spread(measures: Sequence[dict[str, float]]) -> dict[str, tuple[float, float]]:
    """Mean and standard deviation (of a sample) of the measures that all folds have."""
    shared = [name for name in measures[0] if all(name in each for each in measures)]
    values = {name: [each[name] for each in measures] for name in shared}
    return {name: (fmean(each), stdev(each)) for name, each in values.items()}


_INTERRUPTED = 130  # the exit status


def run_training(
    arguments: Namespace,
    distill: DistillConfig | None = None,
    command: str = "dsunet train",
    results: list[TrainResult] | None = None,
    plan: str | None = None,
) -> int:
    """Trains as the flags say; returns the exit status, and adds to `results` what came of it.

    `plan` is kept in the run's folder.
    """
    notes: list[str] = []
    model = chosen_model(arguments, notes)

    def say(line: str) -> None:
        while notes:  # once it is known that there is something to train on
            print_line(notes.pop(0))
        print_line(line)

    data, recipe = pick(DataConfig, arguments), pick(TrainConfig, arguments)
    loss = pick(LossConfig, arguments)
    try:
        result = dsunet.train(
            arguments.output,
            model,
            data,
            recipe,
            loss,
            weights=None if arguments.weights == "none" else arguments.weights,
            pyramid_weights=arguments.pyramid_weights,
            semantic_weights=arguments.semantic_weights,
            distill=distill,
            resume=arguments.resume,
            plan=plan,
            on_line=say,
            progress_bar=sys.stderr.isatty() and sys.stdout.isatty(),
        )
    except KeyboardInterrupt:
        folder = arguments.output
        if not Path(folder, "config.yaml").exists():
            return fail(command, "interrupted before the start", _INTERRUPTED)
        go_on = f"{command} --config {folder}/config.yaml --output {folder} --resume"
        return fail(command, f"interrupted; go on with: {go_on}", _INTERRUPTED)
    if results is not None:
        results.append(result)
    if int(os.environ.get("LOCAL_RANK", 0)) > 0:  # the first process speaks for all
        return 0
    if result.measures:
        print(f"best epoch {result.best_epoch}: {scores(result.measures)}")
    print(f"weights: {result.weights}")
    if arguments.report:
        _show(command, arguments)
    return 0


def _show(command: str, arguments: Namespace) -> None:
    """Makes the run's report; the training is done, whatever becomes of that."""
    try:
        with needing("a report"):
            from dsunet.report import make_report

            path = make_report(arguments.output, device=arguments.device)
    except (DsunetError, OSError) as error:
        said = with_flags(visible(one_line(error)))
        print(f"{command}: there is no report: {said}", file=sys.stderr)
    else:
        print(f"report: {visible(str(path))}")


def chosen_model(arguments: Namespace, notes: list[str]) -> ModelConfig | CustomSource:
    """What to train: what `--model` says; else what the run or the weights to start from say.

    What is to be said of that is added to `notes`.

    Raises:
        ConfigError: A setting does not fit.
        CheckpointError: The weights do not say of which model they are.
    """
    settings = fields_of(ModelConfig)
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


NO_FILES = ("default", "encoders", "full", "none")
"""What `--weights` may be that is no file."""


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


TRAIN = Command(
    "Train a network on a folder of images and masks, or on public sets.",
    "  dsunet train --data DIR --plan auto --minutes 20 --output RUN\n"
    "  dsunet train --data DIR --model dsunet-nano --val-fraction 0.2 --output RUN\n"
    "  dsunet train --benchmarks ROOT --task cod --limit 100 --model dsunet-nano --output TRIAL\n"
    "  dsunet train --config RUN/config.yaml --output RUN --resume\n",
    _train_arguments,
    _train,
)
