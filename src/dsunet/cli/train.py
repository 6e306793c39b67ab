"""`dsunet train`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from jsonargparse import Namespace

import dsunet
from dsunet.cli.output import fail, print_line, scores
from dsunet.cli.parser import (
    Command,
    Parser,
    add_encoder_arguments,
    add_model_argument,
    fields_of,
    model_of,
    pick,
)
from dsunet.config import DataConfig, DistillConfig, LossConfig, ModelConfig, TrainConfig

__all__ = ["TRAIN", "add_train_arguments", "run_training"]


def add_train_arguments(parser: Parser, *aliases: str) -> None:
    """The flags of a training; `aliases` are further names of `--model`."""
    parser.add_argument(
        "--config", action="config", help="YAML file with any of these settings; flags beat it."
    )
    parser.add_argument("--output", type=str, required=True, help="The run's folder.")
    own = "of the settings below it takes --sam_size, and --dino_size if it has two views"
    add_model_argument(parser, "What to train", own, *aliases)
    parser.add_argument(
        "--weights",
        default="default",
        help="What to start from: encoders (SAM2's and DINOv2's public weights; for lite "
        "ImageNet's, of the extra dsunet[lite]), full (a trained model that comes with dsunet: "
        "dsunet-lite), none (random), a weights file, or default: full for dsunet-lite, none for "
        "nano, encoders for the others.",
    )
    add_encoder_arguments(parser, "to start from instead of the public ones")
    parser.add_argument("--resume", action="store_true", help="Go on with the run in --output.")
    parser.add_class_arguments(DataConfig)
    parser.add_class_arguments(TrainConfig)
    parser.add_class_arguments(LossConfig)
    parser.add_class_arguments(ModelConfig, skip={"name"})
    # not given means: as the preset has it
    parser.set_defaults(dict.fromkeys(fields_of(ModelConfig)))


def _train(arguments: Namespace) -> int:
    return run_training(arguments)


def run_training(
    arguments: Namespace, distill: DistillConfig | None = None, command: str = "dsunet train"
) -> int:
    """Trains as the flags say; returns the exit status."""
    model = model_of(arguments, fields_of(ModelConfig))
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
            on_line=print_line,
            progress_bar=sys.stderr.isatty() and sys.stdout.isatty(),
        )
    except KeyboardInterrupt:
        folder = arguments.output
        if not Path(folder, "config.yaml").exists():
            return fail(command, "interrupted before the start", 130)
        go_on = f"{command} --config {folder}/config.yaml --output {folder} --resume"
        return fail(command, f"interrupted; go on with: {go_on}", 130)
    if int(os.environ.get("LOCAL_RANK", 0)) > 0:  # the first process speaks for all
        return 0
    if result.measures:
        print(f"best epoch {result.best_epoch}: {scores(result.measures)}")
    print(f"weights: {result.weights}")
    return 0


TRAIN = Command(
    "Train a network on a folder of images and masks, or on public sets.",
    "  dsunet train --data DIR --model dsunet-nano --val-fraction 0.2 --output RUN\n"
    "  dsunet train --benchmarks ROOT --task cod --limit 100 --model dsunet-nano --output TRIAL\n"
    "  dsunet train --config RUN/config.yaml --output RUN --resume\n",
    add_train_arguments,
    _train,
)
