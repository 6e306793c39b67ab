"""`dsunet measure`."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import TYPE_CHECKING

from jsonargparse import Namespace

from dsunet.cli.output import Progress, print_failures, print_line
from dsunet.cli.parser import (
    LIST_HELP,
    Command,
    Parser,
    add_max_pixels,
    add_reading_arguments,
    add_sharing_workers,
    pick,
    reading_of,
    sharing_workers,
)
from dsunet.config.objects import ObjectOptions
from dsunet.errors import few

if TYPE_CHECKING:
    from dsunet.objects.files import ObjectReport

__all__ = ["MEASURE"]


def _measure_arguments(parser: Parser) -> None:
    parser.add_argument(
        "paths",
        nargs="*",
        type=str,
        help="Maps or masks: files, folders (searched recursively), and patterns such as "
        "'maps/**/*.png'.",
    )
    parser.add_argument("--files_from", type=str, help="Text file with the path of one map a line.")
    parser.add_argument(
        "--output",
        default="objects.csv",
        type=str,
        help="CSV file with a row for each object. Beside it, objects-images.csv gets a row for "
        "each picture, and objects-failures.csv what could not be read.",
    )
    parser.add_argument(
        "--coco",
        type=str,
        help="Write the objects as COCO's JSON here, too: outlines, boxes, classes, scores.",
    )
    parser.add_argument(
        "--images",
        type=str,
        help="Folder of the pictures that the maps are of: their resolution tags count for "
        "--pixel-size file, and --coco names them.",
    )
    parser.add_argument("--list", type=str, help=LIST_HELP)
    parser.add_class_arguments(ObjectOptions)
    add_reading_arguments(parser)
    add_sharing_workers(parser)
    add_max_pixels(parser)


def _measure(arguments: Namespace) -> int:
    from dsunet.data.pairs import read_names
    from dsunet.objects.files import beside, measure_objects

    options: ObjectOptions = pick(ObjectOptions, arguments)
    names = read_names(arguments.list) if arguments.list else None
    with Progress("measuring") as progress:
        report = measure_objects(
            arguments.paths,
            arguments.output,
            options,
            images=arguments.images,
            coco=arguments.coco,
            names=names,
            files_from=arguments.files_from,
            reading=reading_of(arguments),
            workers=sharing_workers(arguments),
            progress=progress,
        )
    output = Path(arguments.output)
    for line in _told(report):
        print_line(line)
    failures = beside(output, "failures")
    print_failures(
        "dsunet measure",
        [f"{name}: {reason}" for name, reason in report.failures],
        f"could not be measured; all are listed in {failures}",
    )
    coco = f" and {arguments.coco}" if arguments.coco else ""
    print_line(f"written to {output}, {beside(output, 'images')}{coco}")
    return 1 if report.failures else 0


def _told(report: ObjectReport) -> list[str]:
    """What was found, and what is to be known about it, a line each."""
    regions, images = report.regions, report.images
    empty = sum(not image.objects for image in images)
    lines = [
        f"{len(regions):,} objects in {len(images) - empty:,} of {len(images):,} pictures; "
        f"{empty:,} have none"
    ]
    if regions:
        areas = sorted(region.area for region in regions)
        border = sum(region.at_border for region in regions)
        square = "px" if report.unit == "px" else f"{report.unit}²"
        lines.append(
            f"area {areas[0]:.4g} to {areas[-1]:.4g} {square}, half of them up to "
            f"{statistics.median_low(areas):.4g}; longest axis up to "
            f"{max(region.longest_axis for region in regions):.4g} {report.unit}; {border:,} touch "
            "the border of their picture, and may be larger"
        )
    if report.not_square and regions:
        lines.append("pixels are not square: there is no perimeter of their objects")
    if report.unclear:
        lines.append(
            f"{len(report.unclear)} files hold next to nothing but 0 and 1 "
            f"({few(report.unclear, 3)}); if they are masks, tell `object_values` 1"
        )
    if report.untold:
        numbers = few([f"{number} in {n} files" for number, n in sorted(report.untold.items())])
        lines.append(f"numbers that are none of `classes` were taken for background: {numbers}")
    if report.without_map:
        lines.append(
            f"{len(report.without_map)} pictures have no map ({few(report.without_map, 3)})"
        )
    return lines


MEASURE = Command(
    "Measure the objects of maps or masks: number, area, length, perimeter, place, score.",
    "  dsunet measure MAPS --output objects.csv\n"
    "  dsunet measure MAPS --min-area 20 --pixel-size 0.05mm --output objects.csv\n"
    "  dsunet measure MAPS --images DIR/images --coco objects.json\n",
    _measure_arguments,
    _measure,
)
