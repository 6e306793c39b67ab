"""`dsunet plan`, and what `dsunet train --plan auto` takes of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import Namespace

from dsunet.cli.output import Progress, check_outputs, print_line
from dsunet.cli.parser import GIVEN, Command, Parser, fields_of, pick
from dsunet.cli.recipe import NO_FILES, add_minutes, add_recipe_arguments, chosen_model
from dsunet.config import DataConfig, LossConfig, ModelConfig, TrainConfig
from dsunet.errors import ConfigError
from dsunet.support.files import encode_text, write_atomically

if TYPE_CHECKING:
    from dsunet.planning import Plan, Wishes

__all__ = ["PLAN", "make", "use", "wishes_of"]

# What is given, and is none of the settings of a training.
_ASIDE = frozenset({"config", "output", "resume", "plan", "minutes", "folds", "report", "help"})


def wishes_of(arguments: Namespace, minutes: float) -> Wishes:
    """What is known before planning, by some arguments of a training.

    Args:
        arguments: What was given of them stands.
        minutes: That the training may take.

    Raises:
        DsunetError: Settings do not go together, or weights do not say of which model they are.
    """
    from dsunet.planning import Wishes
    from dsunet.training.request import Sources

    places = {name for name in ("data", "fold") if arguments[name] is not None}
    own = {name: arguments[name] for name in fields_of(ModelConfig)}
    named = arguments.model is not None or arguments.weights not in NO_FILES
    weights = None if arguments.weights == "none" else arguments.weights
    notes: list[str] = []
    model = chosen_model(arguments, notes) if named else None
    for note in notes:
        print_line(note)
    return Wishes(
        pick(DataConfig, arguments),
        pick(TrainConfig, arguments),
        pick(LossConfig, arguments),
        Sources(weights, arguments.pyramid_weights, arguments.semantic_weights),
        model,
        {name: value for name, value in own.items() if value is not None},
        frozenset((arguments[GIVEN] | places) - _ASIDE),
        minutes,
        arguments.report,
    )


def make(arguments: Namespace, minutes: float) -> Plan:
    """The plan for some arguments of a training, as of `wishes_of`.

    Raises:
        DsunetError: As of `make_plan`.
    """
    from dsunet.planning import make_plan

    wishes = wishes_of(arguments, minutes)
    with Progress("looking at pairs") as progress:
        return make_plan(wishes, say=print_line, progress=progress)


def use(arguments: Namespace, settings: Mapping[str, Any]) -> None:
    """Fills in what is planned, where nothing is given.

    Raises:
        ConfigError: The plan has a setting that is none of a training.
    """
    unknown = [name for name in settings if name not in arguments or name in _ASIDE]
    if unknown:
        raise ConfigError(f"the plan has {unknown[0]}, which is no setting of a training")
    for name, value in settings.items():
        if name not in arguments[GIVEN]:
            arguments[name] = value


def _plan_arguments(parser: Parser) -> None:
    parser.add_argument(
        "data",
        nargs="?",
        type=str,
        help="Folder, or .tar file, that holds images/ and masks/, as of dsunet train --data.",
    )
    add_minutes(parser)
    parser.add_argument(
        "--output",
        type=str,
        help="Write the plan here, as YAML with its reasons, to edit it and to train by dsunet "
        "train --config.",
    )
    add_recipe_arguments(parser, skip={"data"})


def _plan(arguments: Namespace) -> int:
    from dsunet.planning import as_yaml, told

    check_outputs(arguments.output)
    plan = make(arguments, arguments.minutes)
    for line in told(plan):
        print_line(line)
    if arguments.output:
        write_atomically(Path(arguments.output), encode_text(as_yaml(plan)))
        print_line(
            f"plan: {arguments.output}; dsunet train --config {arguments.output} --output RUN"
        )
    return 0


PLAN = Command(
    "Look at data and machine, try some steps, and choose how to train, with reasons.",
    "  dsunet plan DIR\n"
    "  dsunet plan DIR --minutes 20 --output plan.yaml\n"
    "  dsunet train --config plan.yaml --output MINE\n",
    _plan_arguments,
    _plan,
)
