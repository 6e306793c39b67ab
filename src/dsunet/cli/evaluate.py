"""`dsunet evaluate`."""

from __future__ import annotations

import math
import statistics
from pathlib import Path
from typing import TYPE_CHECKING

from jsonargparse import Namespace

from dsunet.cli.output import Progress, check_outputs, print_failures, with_flags
from dsunet.cli.parser import (
    GIVEN,
    LIST_HELP,
    Command,
    Parser,
    add_classes_argument,
    add_max_pixels,
    add_reading_arguments,
    add_sharing_workers,
    pick,
    reading_of,
    sharing_workers,
)
from dsunet.config import Measuring
from dsunet.errors import ConfigError, few

if TYPE_CHECKING:
    from dsunet.metrics import Evaluation
    from dsunet.metrics.class_evaluation import ClassEvaluation
    from dsunet.metrics.instances import ObjectScores

__all__ = ["EVALUATE"]


def _evaluate_arguments(parser: Parser) -> None:
    parser.add_argument("--predictions", required=True, type=str, help="Folder of grey maps.")
    parser.add_argument(
        "--masks", required=True, type=str, help="Folder of masks with the same stems."
    )
    parser.add_argument("--list", type=str, help=LIST_HELP)
    parser.add_argument("--json", type=str, help="Write means and every image's values here.")
    parser.add_argument("--csv", type=str, help="Write a row per image here.")
    parser.add_argument(
        "--objects",
        action="store_true",
        help="Count objects, too: how many are found (IoU from 0.5), missed and invented, with "
        "precision, recall, F1, and PRO, the overlap with each region.",
    )
    parser.add_argument(
        "--min_area",
        type=int,
        help="With --objects: leave out objects of maps that have fewer pixels.",
    )
    add_classes_argument(
        parser,
        "Of several classes: their names, separated by commas. The predictions are numbers, 1 for "
        "the first, as dsunet predict writes labels; the masks are the same, or as --class-table "
        "or --object-values says; measures are of each class and their mean",
    )
    parser.add_argument(
        "--class_table",
        type=str,
        help="CSV file with a line for each class, its name and its value or colour in the masks; "
        "enough without --classes.",
    )
    add_sharing_workers(parser)
    parser.add_class_arguments(Measuring)
    add_reading_arguments(parser)
    add_max_pixels(parser)


def _evaluate(arguments: Namespace) -> int:
    if arguments.classes is not None or arguments.class_table is not None:
        return _evaluate_classes(arguments)
    from dsunet.data.pairs import read_names
    from dsunet.metrics import evaluate_folders

    names = read_names(arguments.list) if arguments.list else None
    workers = sharing_workers(arguments)
    measuring: Measuring = pick(Measuring, arguments)
    least = _least(arguments)
    check_outputs(arguments.json, arguments.csv)
    with Progress("evaluating") as progress:
        result = evaluate_folders(
            arguments.predictions,
            arguments.masks,
            names,
            progress,
            workers,
            protocol=measuring.protocol,
            threshold=measuring.threshold,
            reading=reading_of(arguments),
            objects=arguments.objects,
            min_area=least,
        )
    _print_scores(result)
    if result.objects is not None:
        _print_objects(result.objects)
    _write(result, arguments)
    _remark(result)
    return _status(result)


def _evaluate_classes(arguments: Namespace) -> int:
    """Of several classes."""
    from dsunet.config.classes import as_classes
    from dsunet.data.class_tables import reading_of_classes
    from dsunet.data.pairs import read_names
    from dsunet.metrics.class_evaluation import evaluate_classes

    given = arguments[GIVEN]
    for flag in ("objects", "min_area", "protocol", "threshold", "invert"):
        if flag in given:
            raise ConfigError(
                f"`{flag}` is for maps of one object, and there are classes: leave it out"
            )
    reading = reading_of_classes(
        as_classes(arguments.classes),
        arguments.class_table,
        arguments.object_values,
        arguments.ignore_value,
        exclusive=False,  # a pixel may be of several in folders of each
    )
    names = read_names(arguments.list) if arguments.list else None
    check_outputs(arguments.json, arguments.csv)
    with Progress("evaluating") as progress:
        result = evaluate_classes(
            *(arguments.predictions, arguments.masks, reading, names, progress),
            workers=sharing_workers(arguments),
        )
    _print_classes(result)
    _write(result, arguments)
    return _status(result)


def _write(result: Evaluation | ClassEvaluation, arguments: Namespace) -> None:
    """Writes the files that are asked for."""
    if arguments.json:
        result.write_json(Path(arguments.json))
    if arguments.csv:
        result.write_csv(Path(arguments.csv))


def _status(result: Evaluation | ClassEvaluation) -> int:
    """Tells of what could not be measured; gives the exit status."""
    print_failures(
        "dsunet evaluate",
        result.failures.values(),
        f"could not be measured and do not count ({few(result.failures)})",
    )
    return 1 if result.failures else 0


def _print_classes(result: ClassEvaluation) -> None:
    """Prints a row for each class, and the mean."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from dsunet.metrics.class_evaluation import OF_PICTURES, OF_SET

    keys = (*OF_SET, *OF_PICTURES)
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("class")
    table.add_column("images", justify="right")
    for key in keys:
        table.add_column(f"{key} {'↓' if key == 'MAE' else '↑'}", justify="right")
    rows = [(name, result.with_class[name], values) for name, values in result.scores.items()]
    for name, images, values in [*rows, ("mean", len(result.per_image), result.mean)]:
        texts = ("–" if math.isnan(values[key]) else f"{values[key]:.4f}" for key in keys)
        table.add_row(name, str(images), *texts)
    Console().print(table)
    print(
        "IoU and Dice are from the pixels of all pictures together; S, F, E and MAE are means over "
        "the pictures with the class"
    )
    if absent := [name for name, values in result.scores.items() if math.isnan(values["IoU"])]:
        print(f"neither masks nor predictions hold {few(absent)}: no part in the mean")


def _least(arguments: Namespace) -> int:
    """Pixels of the smallest object that counts."""
    least: int | None = arguments.min_area
    if least is not None and not arguments.objects:
        raise ConfigError("`min_area` is about objects: give `objects`, too")
    if (least or 0) < 0:
        raise ConfigError(f"`min_area` is {least}, but needs at least 0")
    return least or 0


def _print_scores(result: Evaluation) -> None:
    """Prints the table, and what explains it."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from dsunet.metrics import ALL_MEASURES
    from dsunet.metrics.cuts import NOTHING_TO_MEASURE, describe_alarms, describe_threshold
    from dsunet.metrics.detection import describe_detection

    alarms, raw = result.false_alarms, result.protocol == "raw"
    counted = len(result.per_image) - (alarms.images if raw else 0)
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("images", justify="right")
    for key in result.scores:
        arrow = "↑" if ALL_MEASURES[key].higher_is_better else "↓"
        table.add_column(f"{key} {arrow}", justify="right")
    values = ("–" if math.isnan(value) else f"{value:.4f}" for value in result.scores.values())
    table.add_row(str(counted), *values)
    Console().print(table)
    if not raw:
        print("each map is stretched to its full range first, as the paper does")
        return
    print(f"maps are measured as they are; Dice and IoU at {result.threshold:g} (--threshold)")
    if alarms.images:
        if not counted:
            print(f"no mask has an object: the measures {NOTHING_TO_MEASURE}")
        print(describe_alarms(alarms))
        if result.detection.both:
            print(describe_detection(result.detection))
    if result.best_threshold is not None:
        print(with_flags(describe_threshold(result.best_threshold, result.threshold)))


def _print_objects(objects: ObjectScores) -> None:
    """Prints what became of the objects."""
    from dsunet.metrics.instances import IOU, PRO_LIMIT

    true = len(objects.found) + len(objects.missed)
    print(
        f"{len(objects.found):,} of {true:,} objects found (IoU from {IOU:g}); "
        f"{len(objects.invented):,} more are none"
    )
    values = {
        "precision": objects.precision,
        "recall": objects.recall,
        "F1": objects.f1,
        f"PRO to {PRO_LIMIT:g}": objects.pro,
    }
    texts = {name: "–" if math.isnan(value) else f"{value:.4f}" for name, value in values.items()}
    print("  ".join(f"{name} {text}" for name, text in texts.items()))
    sizes = {"found": objects.found, "missed": objects.missed, "invented": objects.invented}
    told = [
        f"{name}: {_range(each)} px, median {statistics.median(each):g}"
        if len(each) > 1
        else f"{name}: {each[0]} px"
        for name, each in sizes.items()
        if each
    ]
    if told:
        print("; ".join(told))


def _range(sizes: tuple[int, ...]) -> str:
    return f"{min(sizes):,} to {max(sizes):,}"


def _remark(result: Evaluation) -> None:
    """Prints what is odd about the maps."""
    if result.resized:
        print(f"{len(result.resized)} maps had another size than their mask and were resized to it")
    if result.empty and result.protocol == "benchmark":
        print(f"{len(result.empty)} masks are empty; F is 0 for them, whatever the map")
    if result.turned:
        print(
            f"{len(result.turned)} maps lie across their mask ({few(result.turned)}): the images "
            "have an EXIF orientation that their masks ignore; predict them with "
            "--ignore-orientation"
        )


EVALUATE = Command(
    "Measure a folder of maps against a folder of masks: S, F, E, MAE, Dice, IoU, false alarms.",
    "  dsunet evaluate --predictions MAPS --masks DIR/masks --list RUN/val.txt\n"
    "  dsunet evaluate --predictions MAPS --masks DIR/masks --list RUN/val.txt --objects\n",
    _evaluate_arguments,
    _evaluate,
)
