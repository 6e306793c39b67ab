"""`dsunet distill`."""

from __future__ import annotations

from jsonargparse import Namespace

from dsunet.cli.parser import Command, Parser, pick
from dsunet.cli.train import add_train_arguments, run_training
from dsunet.config import DistillConfig

__all__ = ["DISTILL"]


def _one_or_all(value: object) -> object:
    """A folder, as it is given on the command line, or the list of all from a config file."""
    return value if isinstance(value, list) else str(value)


def _arguments(parser: Parser) -> None:
    parser.add_class_arguments(DistillConfig, skip={"unlabelled"})
    parser.add_argument(
        "--unlabelled",
        action="append",
        type=_one_or_all,
        metavar="DIR",
        help="Folder of images without masks, from which the student learns what the teacher says; "
        "may be given several times.",
    )
    add_train_arguments(parser, "--student")


def _distill(arguments: Namespace) -> int:
    return run_training(arguments, pick(DistillConfig, arguments), "dsunet distill")


DISTILL = Command(
    "Train a small network on the truth and on what a larger one, its teacher, says.",
    "  dsunet distill --teacher RUN --student dsunet-nano --data DIR --output STUDENT\n"
    "  dsunet distill --teacher RUN --student dsunet-nano --data DIR --unlabelled PHOTOS "
    "--output MORE\n"
    "  dsunet distill --config STUDENT/config.yaml --output STUDENT --resume\n",
    _arguments,
    _distill,
)
