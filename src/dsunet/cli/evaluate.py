"""`dsunet evaluate`."""

from __future__ import annotations

from pathlib import Path

from jsonargparse import Namespace

from dsunet.cli.output import Progress, check_outputs, print_failures
from dsunet.cli.parser import LIST_HELP, Command, Parser
from dsunet.errors import ConfigError, few

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
        "--workers", type=int, default=0, help="Processes to share the work; 0 for one per core."
    )


def _evaluate(arguments: Namespace) -> int:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from dsunet.data.pairs import read_names
    from dsunet.metrics import MEASURES, evaluate_folders
    from dsunet.support.processes import available_cores

    names = read_names(arguments.list) if arguments.list else None
    if arguments.workers < 0:
        raise ConfigError(f"--workers is {arguments.workers}, but needs at least 0")
    workers = arguments.workers or available_cores()
    check_outputs(arguments.json, arguments.csv)
    with Progress("evaluating") as progress:
        result = evaluate_folders(arguments.predictions, arguments.masks, names, progress, workers)
    table = Table(box=box.SIMPLE_HEAD)
    for title in ("images", "S ↑", "F ↑", "E ↑", "MAE ↓"):
        table.add_column(title, justify="right")
    values = [f"{result.scores[name]:.4f}" for name in MEASURES]
    table.add_row(str(len(result.per_image)), *values)
    Console().print(table)
    if arguments.json:
        result.write_json(Path(arguments.json))
    if arguments.csv:
        result.write_csv(Path(arguments.csv))
    if result.resized:
        print(f"{len(result.resized)} maps had another size than their mask and were resized to it")
    if result.empty:
        print(f"{len(result.empty)} masks are empty; F is 0 for them, whatever the map")
    if result.turned:
        print(
            f"{len(result.turned)} maps lie across their mask ({few(result.turned)}): the images "
            "have an EXIF orientation that their masks ignore; predict them with "
            "--ignore-orientation"
        )
    print_failures(
        "dsunet evaluate",
        result.failures.values(),
        f"could not be measured and do not count ({few(result.failures)})",
    )
    return 1 if result.failures else 0


EVALUATE = Command(
    "Measure a folder of maps against a folder of masks: S, F, E, MAE.",
    "  dsunet evaluate --predictions MAPS --masks DIR/masks --list RUN/val.txt\n",
    _evaluate_arguments,
    _evaluate,
)
