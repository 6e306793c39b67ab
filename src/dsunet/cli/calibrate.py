"""`dsunet calibrate`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from jsonargparse import Namespace

from dsunet.cli.output import Progress, check_outputs, print_failures, print_line, visible
from dsunet.cli.parser import (
    LIST_HELP,
    Command,
    Parser,
    add_encoder_arguments,
    add_max_pixels,
    add_reading_arguments,
    reading_of,
)
from dsunet.config import DataConfig, require_one_class
from dsunet.errors import ConfigError, few

if TYPE_CHECKING:
    from dsunet.calibration import Calibration
    from dsunet.calibration.thresholds import Effect
    from dsunet.data import Pair
    from dsunet.predict import Segmenter

__all__ = ["CALIBRATE"]


def _calibrate_arguments(parser: Parser) -> None:
    parser.add_argument(
        "weights",
        type=str,
        help="A run's folder, whose validation pictures are taken unless --data says others; or a "
        "weights file.",
    )
    parser.add_argument(
        "--data",
        type=str,
        help="Folder that holds images/ and masks/ that the model was not trained on; by default "
        "the pictures that a run validates on.",
    )
    parser.add_argument("--list", type=str, help=LIST_HELP)
    parser.add_argument(
        "--by",
        choices=("Dice", "IoU", "F"),
        default="Dice",
        help="Take the threshold where this measure is highest; F has β² = 0.3.",
    )
    parser.add_argument(
        "--recall",
        type=float,
        help="Take the highest threshold at which so much of an object is found, 0 to 1.",
    )
    parser.add_argument(
        "--false_alarm_rate",
        type=float,
        help="Take the lowest threshold at which no more than this share of the pictures without "
        "an object have a false alarm, 0 to 1.",
    )
    parser.add_argument(
        "--output",
        type=str,
        help="Write weights and thresholds here; by default into the weights file itself.",
    )
    parser.add_argument(
        "--figure",
        type=str,
        help="Draw the curves here, as PNG; by default calibration.png in a run's folder, and "
        "beside other weights with their name.",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps.")
    add_encoder_arguments(parser, "that the weights file refers to")
    add_reading_arguments(parser)
    add_max_pixels(parser)


def _calibrate(arguments: Namespace) -> int:
    from dsunet.calibration import Wanted, calibrate
    from dsunet.calibration.run import place_for

    wanted = Wanted(arguments.by, arguments.recall, arguments.false_alarm_rate)
    check_outputs(arguments.output, arguments.figure)
    if arguments.figure and Path(arguments.figure).suffix.lower() != ".png":
        raise ConfigError(f"--figure is {arguments.figure!r}, but needs a name that ends with .png")
    segmenter, pairs = _material(arguments)
    target = place_for(segmenter.weights, arguments.output)
    figure = arguments.figure or _beside(target)
    lost: list[str] = []
    with Progress("looking at") as progress:
        found = calibrate(
            segmenter,
            pairs,
            wanted,
            output=arguments.output,
            figure=figure,
            on_failure=lost.append,
            progress=progress,
        )
    for line in described(found):
        print_line(line)
    print(f"curves: {visible(str(figure))}")
    print(
        f"kept in {visible(str(target))}: predict, Segmenter, export and serve take the threshold "
        "from there"
    )
    print_failures("dsunet calibrate", lost, "could not be read and were left out")
    return 1 if lost else 0


def _material(arguments: Namespace) -> tuple[Segmenter, list[Pair]]:
    """The model, and the pictures to choose by."""
    from dsunet.data.pairs import read_names, select_pairs
    from dsunet.data.split import split_data
    from dsunet.data.survey import survey
    from dsunet.predict import Segmenter
    from dsunet.report.folder import read_run

    encoders = {
        name: arguments[name]
        for name in ("pyramid_weights", "semantic_weights")
        if arguments[name] is not None
    }
    folder = Path(arguments.weights)
    is_run = (folder / "config.yaml").is_file()
    run = read_run(folder) if is_run else None
    if run is not None and not encoders:
        segmenter = run.segmenter(arguments.device)
    else:
        segmenter = Segmenter(arguments.weights, arguments.device, **encoders)
    require_one_class(segmenter.classes, "calibration", "labels need no threshold")
    if arguments.data is None:
        if run is None:
            raise ConfigError(
                f"{arguments.weights} is no run's folder, so that there are no validation pictures "
                "to be found by it; give pictures that it was not trained on as --data"
            )
        if not run.validates:
            raise ConfigError(
                f"the run in {run.folder} holds no pictures out; give some that it was not trained "
                "on as --data"
            )
        if arguments.list:
            raise ConfigError("--list names pairs of --data, which is not given")
        return segmenter, list(run.validation(None, segmenter.intensity))
    reading = reading_of(arguments)
    data = DataConfig(arguments.data, **dataclasses.asdict(reading))
    split = split_data(data, 0).seen_with(segmenter.intensity)
    pairs = split.validation or split.training  # what a data set's own folders hold out, if they do
    survey([pair.mask for pair in pairs], reading).raise_if_unclear()
    if arguments.list:
        return segmenter, select_pairs(pairs, read_names(arguments.list), arguments.list)
    trained = set(read_names(folder / "train.txt")) if run is not None else set()
    if known := [pair.name for pair in pairs if pair.name in trained]:
        raise ConfigError(
            f"{len(known)} of the {len(pairs)} pictures in {arguments.data} have names that the "
            f"run was trained on ({few(known)}), and thresholds chosen on those are too good; name "
            f"the others: --list {folder / 'val.txt'}"
        )
    return segmenter, pairs


def _beside(weights: Path) -> str:
    if weights.name in ("best.safetensors", "last.safetensors"):
        return str(weights.with_name("calibration.png"))
    return str(weights.with_name(f"{weights.stem}-calibration.png"))


def described(found: Calibration) -> list[str]:
    """A calibration in words."""
    about = found.after.detection
    low, high = found.interval
    lines = [
        f"chosen on {about.with_object} pictures with an object and {about.without} without, by "
        f"{found.wanted.rule}",
        f"threshold {found.threshold:g} (95 % of bootstrap samples: {low:g} to {high:g}): "
        f"{_effect(found.after)}; at 0.5: {_effect(found.before)}",
    ]
    if found.by_image_alone:
        lines.append(
            "no threshold of a pixel comes to that rate, so it is the one with the best "
            f"{found.wanted.by}; the image threshold does: predict with --abstain"
        )
    if found.image_threshold is not None and found.image_interval and found.abstaining:
        low, high = found.image_interval
        lines.append(
            f"image threshold {found.image_threshold:.4g} ({low:.3g} to {high:.3g}), AUROC "
            f"{about.auroc:.4f}: with --abstain, {_effect(found.abstaining)}"
        )
    return lines


def _effect(effect: Effect) -> str:
    about = effect.detection
    parts = []
    if about.with_object:
        parts.append(f"Dice {effect.dice:.4f}, {about.missed} objects missed")
    if about.without:
        parts.append(f"{about.alarmed} of {about.without} false alarms")
    return ", ".join(parts)


CALIBRATE = Command(
    "Choose the threshold that a model is used with, and keep it with its weights.",
    "  dsunet calibrate RUN\n"
    "  dsunet calibrate RUN --recall 0.9 --output sensitive.safetensors\n"
    "  dsunet calibrate RUN --data DIR --list RUN/val.txt --by IoU --output by-iou.safetensors\n",
    _calibrate_arguments,
    _calibrate,
)
