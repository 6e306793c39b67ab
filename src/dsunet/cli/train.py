"""`dsunet train`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING

from jsonargparse import Namespace

import dsunet
from dsunet.cli.importing import import_first
from dsunet.cli.output import FOLDS, fail, one_line, print_line, scores, visible, with_flags
from dsunet.cli.parser import GIVEN, Command, Parser, pick
from dsunet.cli.plan import make, use
from dsunet.cli.recipe import add_minutes, add_recipe_arguments, chosen_model
from dsunet.config import DataConfig, DistillConfig, LossConfig, TrainConfig
from dsunet.errors import ConfigError, DsunetError
from dsunet.support.files import write_json
from dsunet.support.packages import needing
from dsunet.support.ranks import Ranks

if TYPE_CHECKING:
    from dsunet.training import TrainResult

__all__ = ["TRAIN", "add_train_arguments", "run_training"]


def add_train_arguments(parser: Parser, *aliases: str) -> None:
    """The flags of a training; `aliases` are further names of `--model`."""
    parser.add_argument("--output", type=str, required=True, help="The run's folder.")
    parser.add_argument("--resume", action="store_true", help="Go on with the run in --output.")
    add_recipe_arguments(parser, *aliases)


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


def _train(arguments: Namespace) -> int:
    if arguments.plan not in (None, "auto"):
        raise ConfigError(
            f"--plan is {arguments.plan!r}, but needs auto; a plan in a file goes by --config"
        )
    if arguments.plan is None and "minutes" in arguments[GIVEN]:
        raise ConfigError("--minutes is about a plan: add --plan auto, or leave it out")
    if status := import_first(arguments):
        return status
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
    from dsunet.planning import as_yaml, read_plan, told
    from dsunet.training.folder import check_free

    kept = folder / "plan.yaml"
    begun = arguments.resume and (folder / "config.yaml").is_file()
    if begun and not kept.is_file():
        raise ConfigError(f"the run in {folder} was started without a plan; leave --plan out")
    ranks = Ranks.found()
    if begun or (ranks.starter == "dsunet" and not ranks.is_first):
        use(arguments, read_plan(kept))
        return None
    if ranks.starter in ("torchrun", "srun"):
        raise ConfigError(
            f"--plan tries steps in one process, but {ranks.starter} has started {ranks.world}; "
            "plan first (dsunet plan DIR --output plan.yaml), and train by --config plan.yaml"
        )
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
        if Ranks.found().is_first:
            print_line(f"fold {number} of {count}: {root / f'fold-{number}'}")
        own = arguments.clone()
        own.fold, own.output = f"{number}/{count}", str(root / f"fold-{number}")
        if status := run_training(own, results=results, plan=plan):
            if status == _INTERRUPTED:
                print_line("the command with --resume goes on with all folds")
            return status
    if not Ranks.found().is_first:
        return 0
    spread = _spread([result.measures for result in results])
    write_json(
        root / FOLDS,
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
    print_line(f"to predict by all of them: dsunet predict IMAGES --weights '{root}/fold-*'")
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
    try:
        model = chosen_model(arguments, notes)
        data, recipe = pick(DataConfig, arguments), pick(TrainConfig, arguments)
        loss = pick(LossConfig, arguments)
    except ConfigError:
        if Ranks.found().is_first:  # which speaks for all, as all have the same settings
            raise
        return 1

    def say(line: str) -> None:
        while notes:  # once it is known that there is something to train on
            print_line(notes.pop(0))
        print_line(line)

    # torch tells at length, in words of its own, that another process has gone
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
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
        if not Ranks.found().is_first:  # the first process speaks for all
            return _INTERRUPTED
        if not Path(folder, "config.yaml").exists():
            return fail(command, "interrupted before the start", _INTERRUPTED)
        go_on = f"{command} --config {folder}/config.yaml --output {folder} --resume"
        return fail(command, f"interrupted; go on with: {go_on}", _INTERRUPTED)
    if results is not None:
        results.append(result)
    if not Ranks.found().is_first:
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


TRAIN = Command(
    "Train a network on a folder of images and masks, on labels of COCO and others, or on public "
    "sets.",
    "  dsunet train --data DIR --plan auto --minutes 20 --output PLANNED\n"
    "  dsunet train --data DIR --model dsunet-nano --val-fraction 0.2 --output RUN\n"
    "  dsunet train --benchmarks ROOT --task cod --limit 100 --model dsunet-nano --output TRIAL\n"
    "  dsunet train --config RUN/config.yaml --output RUN --resume\n",
    _train_arguments,
    _train,
)
