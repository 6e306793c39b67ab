"""`dsunet report`."""

from __future__ import annotations

from jsonargparse import Namespace

from dsunet.cli.output import Progress, print_failures, visible
from dsunet.cli.parser import Command, Parser, add_max_pixels

__all__ = ["REPORT"]

_PICTURES = 48  # as of `dsunet.report.page`, which imports much


def _report_arguments(parser: Parser) -> None:
    parser.add_argument("run", type=str, help="The folder of a run of dsunet train.")
    parser.add_argument(
        "--output", type=str, help="The file to write; by default report.html in the run's folder."
    )
    parser.add_argument(
        "--data", type=str, help="Folder of the data, if they have moved since the training."
    )
    parser.add_argument(
        "--pictures",
        type=int,
        default=_PICTURES,
        help="How many of the validation pictures to show, the worst first.",
    )
    add_max_pixels(parser)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps.")


def _report(arguments: Namespace) -> int:
    from dsunet.report import make_report

    lost: list[str] = []
    with Progress("looking at") as progress:
        path = make_report(
            arguments.run,
            arguments.output,
            data=arguments.data,
            pictures=arguments.pictures,
            device=arguments.device,
            on_line=lost.append,
            progress=progress,
        )
    print(f"report: {visible(str(path))}")
    print_failures("dsunet report", lost, "are not in the report")
    return 1 if lost else 0


REPORT = Command(
    "Show a run as one page: curves, measures, the worst pictures, what was found and missed.",
    "  dsunet report RUN\n  dsunet report RUN --data DIR --pictures 100 --output run.html\n",
    _report_arguments,
    _report,
)
