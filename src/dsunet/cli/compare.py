"""`dsunet compare`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from jsonargparse import Namespace

from dsunet.cli.compare_asked import Asked, asked_of, folders_of_sets
from dsunet.cli.compare_output import reasons_of, remark, write_all
from dsunet.cli.output import Progress, print_failures, print_table, visible
from dsunet.cli.parser import (
    LIST_HELP,
    Command,
    Parser,
    add_max_pixels,
    add_reading_arguments,
    add_sharing_workers,
    reading_of,
    sharing_workers,
)
from dsunet.config import MeasuringProtocol
from dsunet.errors import ConfigError, few

if TYPE_CHECKING:
    from dsunet.metrics import Comparison
    from dsunet.metrics.comparison_table import ModelCosts

__all__ = ["COMPARE"]

PROG = "dsunet compare"


def _compare_arguments(parser: Parser) -> None:
    parser.add_argument(
        "folders",
        nargs="+",
        type=str,
        help="Folders of grey maps, one for each method; NAME=DIR names a method otherwise than "
        "by its folder.",
    )
    parser.add_argument("--masks", type=str, help="Folder of masks with the same stems.")
    parser.add_argument(
        "--set",
        dest="sets",
        action="append",
        type=str,
        help="NAME=DIR, once for each of several data sets, in the place of --masks: the folder of "
        "its masks; each method's folder then holds a folder NAME of its maps.",
    )
    parser.add_argument("--list", type=str, help=LIST_HELP)
    parser.add_argument(
        "--measures",
        type=str,
        help="Which measures, separated by commas: S, F, Fmax, Fmean, Fw, E, Emax, Eadp, MAE, "
        "Dice, IoU, mDice, mIoU, Dicemax, IoUmax, BIoU; all by default.",
    )
    parser.add_argument(
        "--intervals",
        action="store_true",
        help="Add 95 % bootstrap intervals over images to every value.",
    )
    parser.add_argument(
        "--model_of",
        action="append",
        type=str,
        help="METHOD=MODEL, once for each method whose model is known: add parameters and FLOPs. "
        "MODEL is a run, a weights file, a preset, or a network of your own (MODULE:NAME).",
    )
    parser.add_argument(
        "--speed",
        action="store_true",
        help="Measure how many images/s the models of --model-of predict, here and now.",
    )
    parser.add_argument(
        "--device", default="auto", help="Where --speed measures: auto, cpu, cuda, cuda:1, mps."
    )
    parser.add_argument(
        "--published",
        type=str,
        help="Put the published results on this data set beside: DUTS-TE, COD10K, say; with "
        "--set, on several, separated by commas, each named as its --set.",
    )
    parser.add_argument(
        "--output",
        type=str,
        help="Folder for the table (Markdown, LaTeX, CSV, JSON), the scores of every image, and "
        "the figures (PNG, PDF); with --set, scores and figures are in a folder for each.",
    )
    parser.add_argument(
        "--images", type=str, help="Folder of images, to be shown beside their maps."
    )
    parser.add_argument(
        "--differ",
        type=str,
        help="Show the images on which these two methods differ most: A,B; the first two by "
        "default.",
    )
    parser.add_argument(
        "--differ_by", type=str, help="The measure by which they differ; S by default."
    )
    parser.add_argument("--rows", type=int, default=6, help="How many such images to show.")
    add_sharing_workers(parser)
    parser.add_argument(
        "--protocol",
        type=MeasuringProtocol | None,
        help="How maps are measured: raw, as they are, and images without an object apart, by "
        "their false alarms; benchmark, the paper's, stretches each map to its full range first "
        "and averages over all images. By default raw, and benchmark beside --published.",
    )
    parser.add_argument(
        "--threshold",
        type=float,
        default=0.5,
        help="Probability from which a pixel is object, for Dice, IoU, BIoU and false alarms; "
        "above 0 and at most 1.",
    )
    add_reading_arguments(parser)
    add_max_pixels(parser)


def _compare(arguments: Namespace) -> int:
    asked = asked_of(arguments)
    _check_figures(arguments)
    return _compare_sets(asked, arguments) if asked.sets else _compare_one(asked, arguments)


def _compare_one(asked: Asked, arguments: Namespace) -> int:
    """Compares by one folder of masks; returns the exit status."""
    from dsunet.metrics.comparison_table import comparison_table

    published = asked.published.get("", [])
    costs = _costs(asked, arguments)
    result = _measured(asked.methods, arguments.masks, asked, arguments)
    count = f"{len(result.names)} images"
    title = f"{published[0].dataset}, {count}" if published else count
    table = comparison_table(result, published, title, costs)
    print_table(table)
    lost: list[str] = []
    if arguments.output:
        shown = asked.differences._replace(masks=arguments.masks, images=arguments.images)
        lost = write_all(result, table, asked.methods, shown, Path(arguments.output))
        print(f"table, scores of every image and figures are in {visible(arguments.output)}")
    remark(result)
    return _tell_lost(result, lost)


def _compare_sets(asked: Asked, arguments: Namespace) -> int:
    """Compares by several data sets, one after the other; returns the exit status."""
    from dsunet.metrics.comparison_table import comparison_table, sets_table

    costs = _costs(asked, arguments)
    folders = folders_of_sets(asked)
    results = {
        name: _measured(methods, asked.sets[name], asked, arguments, name)
        for name, methods in folders.items()
    }
    table = sets_table(results, asked.published, costs=costs)
    print_table(table)
    status = 0
    if arguments.output:
        table.write(Path(arguments.output, "table"))
        print(f"the table is in {visible(arguments.output)}, with a folder for each data set")
    for name, result in results.items():
        lost: list[str] = []
        if arguments.output:
            own = comparison_table(result, asked.published.get(name, []), name)
            shown = asked.differences._replace(masks=asked.sets[name])
            lost = write_all(result, own, folders[name], shown, Path(arguments.output, name))
        remark(result, name)
        status = _tell_lost(result, lost, name) or status
    return max(status, int(any(len(each) < len(asked.methods) for each in folders.values())))


def _measured(
    methods: dict[str, Path], masks: str, asked: Asked, arguments: Namespace, name: str = ""
) -> Comparison:
    from dsunet.data.pairs import read_names
    from dsunet.metrics import compare_folders

    with Progress(f"comparing {name}".strip()) as progress:
        return compare_folders(
            methods,
            masks,
            read_names(arguments.list) if arguments.list else None,
            asked.measures,
            progress,
            sharing_workers(arguments),
            protocol=asked.measuring.protocol,
            threshold=asked.measuring.threshold,
            reading=reading_of(arguments),
            intervals=arguments.intervals,
            incomplete=bool(name),
        )


def _tell_lost(result: Comparison, lost: list[str], name: str = "") -> int:
    """Says which images count for no method, or are not shown; returns the exit status."""
    prog = f"{PROG}: {name}" if name else PROG
    print_failures(prog, lost, "are missing in the grid")
    print_failures(prog, reasons_of(result), f"count for no method ({few(result.left_out)})")
    return 1 if result.left_out or lost else 0


def _costs(asked: Asked, arguments: Namespace) -> dict[str, ModelCosts]:
    if not asked.models:
        return {}
    from dsunet.support.packages import needing

    with needing("--model-of", extra="torch"):
        from dsunet.benchmarking.costs import costs_of
    return costs_of(asked.models, device=arguments.device, speed=arguments.speed)


def _check_figures(arguments: Namespace) -> None:
    """Finds out early whether figures can be drawn and written, if they are asked for."""
    from dsunet.data.pairs import list_images
    from dsunet.support.files import check_writable
    from dsunet.visualize.figures import require_matplotlib

    if arguments.output:
        require_matplotlib()
        check_writable(Path(arguments.output))
        if arguments.images:
            list_images(arguments.images)
    elif given := [f"--{flag}" for flag in ("images", "differ", "differ_by") if arguments[flag]]:
        raise ConfigError(f"{' and '.join(given)} shape the figures; give --output DIR for them")


COMPARE = Command(
    "Compare methods' maps: tables, curves, histograms, and the images on which they differ.",
    "  dsunet compare MAPS OTHER_MAPS --masks DIR/masks --list RUN/val.txt\n"
    "  dsunet compare Ours=MAPS OTHER_MAPS --masks DIR/masks --list RUN/val.txt "
    "--images DIR/images --published DUTS-TE --output COMPARED\n"
    "  dsunet compare METHOD OTHER_METHOD --set DUTS-TE=DIR/masks --set CAMO=OTHER/masks "
    "--intervals --model-of METHOD=dsunet-lite --output COMPARED\n",
    _compare_arguments,
    _compare,
)
