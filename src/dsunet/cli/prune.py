"""`dsunet prune`."""

from __future__ import annotations

from jsonargparse import Namespace

from dsunet.cli.output import Progress, fail, print_line, print_table
from dsunet.cli.parser import Command, Parser, add_encoder_arguments, pick
from dsunet.config import FINE_TUNING, DataConfig, LossConfig, PruneConfig, TrainConfig
from dsunet.errors import ConfigError

__all__ = ["PRUNE"]


def _prune_arguments(parser: Parser) -> None:
    parser.add_argument("weights", type=str, help="A trained model's weights file, or a run.")
    parser.add_argument(
        "--output", type=str, required=True, help="Folder for the smaller model and the report."
    )
    parser.add_class_arguments(PruneConfig)
    add_encoder_arguments(parser, "that the file refers to")
    parser.add_argument(
        "--resume", action="store_true", help="Go on with the fine-tuning in --output."
    )
    parser.add_class_arguments(DataConfig)
    parser.add_class_arguments(TrainConfig)
    parser.add_class_arguments(LossConfig)
    parser.set_defaults(FINE_TUNING)


def _prune(arguments: Namespace) -> int:
    fine_tune = arguments.epochs > 0
    if arguments.epochs == 0:
        arguments.epochs = 1  # of a recipe that is not followed
    places = [arguments[name] for name in ("data", "images", "masks", "benchmarks")]
    lacking = not any(places)
    if lacking and fine_tune:
        raise ConfigError("fine-tuning needs training images: give --data; --epochs 0 goes without")
    data = None if lacking else pick(DataConfig, arguments)
    recipe = pick(TrainConfig, arguments)
    settings, loss = pick(PruneConfig, arguments), pick(LossConfig, arguments)

    from dsunet.research.pruning import prune

    try:
        with Progress("measuring blocks") as progress:
            report = prune(
                arguments.weights,
                arguments.output,
                settings,
                data,
                recipe,
                loss,
                fine_tune=fine_tune,
                pyramid_weights=arguments.pyramid_weights,
                semantic_weights=arguments.semantic_weights,
                resume=arguments.resume,
                on_line=print_line,
                progress=progress,
            )
    except KeyboardInterrupt:
        return fail("dsunet prune", "interrupted; the same command with --resume goes on", 130)
    blocks = report.block_table()
    if blocks is not None:
        print_table(blocks)
    print_table(report.table())
    print(f"weights: {report.weights}")
    return 0


PRUNE = Command(
    "Make a trained model smaller: fewer channels, fewer blocks of DINOv2; fine-tune; report.",
    "  dsunet prune RUN --data DIR --val-list RUN/val.txt --ratio 0.5 --epochs 5 --output SMALL\n"
    "  dsunet prune RUN --ratio 0.25 --epochs 0 --output NARROW\n"
    "  dsunet prune RUN --data DIR --val-fraction 0.2 --ratio 0 --drop-semantic-blocks auto --epochs 0 "
    "--output SHALLOW\n",
    _prune_arguments,
    _prune,
)
