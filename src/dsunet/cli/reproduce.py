"""`dsunet reproduce`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from jsonargparse import Namespace

from dsunet.cli.output import Progress, fail, print_line, print_table
from dsunet.cli.parser import PRECISIONS, Command, Parser
from dsunet.errors import ConfigError

if TYPE_CHECKING:
    from dsunet.research.experiments import Method, Plan

__all__ = ["REPRODUCE"]


def _reproduce_arguments(parser: Parser) -> None:
    parser.add_argument(
        "target", type=str, help="III, IV, V, VI, VII, VIII, sod (III, IV, VII), cod, or all."
    )
    parser.add_argument(
        "--benchmarks", required=True, type=str, help="Folder below which the data sets lie."
    )
    parser.add_argument(
        "--output", required=True, type=str, help="Folder of runs, maps, scores, tables, figures."
    )
    parser.add_argument(
        "--dry_run",
        action="store_true",
        help="Show what is to do, the disk it takes and, from a short measurement, the time.",
    )
    parser.add_argument(
        "--limit",
        type=int,
        help="A rehearsal: train on this many pairs, test on this many of each set.",
    )
    parser.add_argument(
        "--model_size",
        default="large",
        help="Size of the networks: large is the paper's; base, small, tiny; nano needs no "
        "pretrained encoders.",
    )
    parser.add_argument(
        "--methods",
        type=str,
        help="What to train instead of the tables' rows, separated by commas: dsunet, sam2unet, "
        "sam2unet-matched (the baseline by DSU-Net's protocol), ablation-a, ablation-b, "
        "ablation-c.",
    )
    parser.add_argument(
        "--add",
        action="append",
        type=str,
        metavar="NAME=SPEC",
        help="A method of your own beside them, any number of times: a folder of maps "
        "(SPEC/DUTS-TE/*.png), or PACKAGE.MODULE:NAME of what makes a network, which is trained by "
        "DSU-Net's protocol, or of a function that maps an image.",
    )
    parser.add_argument("--seeds", default="0", type=str, help="Seeds, separated by commas: 0,1,2.")
    parser.add_argument("--epochs", type=int, help="Epochs, instead of the paper's.")
    parser.add_argument("--batch_size", type=int, help="Batch size, instead of the paper's.")
    parser.add_argument(
        "--weights",
        default="default",
        help="What encoders start from: default (their public weights; random ones for nano) or "
        "none.",
    )
    parser.add_argument(
        "--encoders", type=str, help="Folder with SAM2's and DINOv2's official files."
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps.")
    parser.add_argument("--precision", default="auto", choices=PRECISIONS, help="Number type.")
    parser.add_argument(
        "--workers", type=int, default=2, help="Processes that read images beside a training."
    )
    parser.add_argument(
        "--feature_cache",
        default="off",
        help="Keep DINOv2's maps on disk, so that each is computed once only, rounded to float16: "
        "auto, or a folder. The networks of a task with the same maps share them.",
    )
    parser.add_argument(
        "--cache_budget",
        type=float,
        default=50.0,
        help="The most that the maps of one method and task may take of the disk, in GB.",
    )


def _reproduce(arguments: Namespace) -> int:
    from dsunet.research.experiments import (
        Protocol,
        Results,
        check_protocol,
        make_plan,
        reproduce,
        write_figures,
        write_tables,
    )

    protocol = Protocol(
        arguments.model_size,
        _numbers(arguments.seeds),
        arguments.epochs,
        arguments.batch_size,
        arguments.limit,
        arguments.weights,
        arguments.encoders,
        arguments.device,
        arguments.precision,
        arguments.workers,
        arguments.feature_cache,
        arguments.cache_budget,
    )
    methods = [key.strip() for key in arguments.methods.split(",")] if arguments.methods else None
    plan = make_plan(
        arguments.target,
        arguments.benchmarks,
        arguments.output,
        protocol,
        methods,
        _added(arguments.add),
    )
    if plan.absent:
        print_line(f"not found, and left out: {', '.join(plan.absent)}")
    check_protocol(plan)
    if arguments.dry_run:
        _show(plan)
        return 0
    try:
        outcome = reproduce(plan, print_line, Progress)
        results = Results(plan)
        tables = write_tables(results)
        figures = write_figures(plan, results)
    except KeyboardInterrupt:
        return fail("dsunet reproduce", "interrupted; the same command goes on", 130)
    for table, paths in tables:
        if "paired" in paths[0].stem:
            print_line(f"{table.title}: {paths[0]}")
        else:
            print_table(table)
    print_line(f"tables: {Path(arguments.output, 'tables')}")
    if figures:
        print_line(f"figures: {Path(arguments.output, 'figures')}")
    for what, reason in outcome.failures.items():
        fail("dsunet reproduce", f"{what}: {reason}", 1)
    return 1 if outcome.failures else 0


def _added(given: list[str] | None) -> list[Method]:
    from dsunet.research.experiments import added_method

    parts = [each.partition("=") for each in given or []]
    for name, sign, spec in parts:
        if not (name and sign and spec):
            raise ConfigError(f"--add is {name + sign + spec!r}, but needs NAME=SPEC")
    return [added_method(name, spec) for name, _, spec in parts]


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"--seeds is {text!r}, but needs numbers such as 0,1,2") from None


def _show(plan: Plan) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from dsunet.research.experiments import estimate

    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("run", no_wrap=True)
    for title in ("epochs left", "pairs", "to test", "time", "disk"):
        table.add_column(title, justify="right")
    estimates = estimate(plan, print_line)
    for each in estimates:
        table.add_row(
            each.run.key,
            str(each.epochs_left),
            f"{plan.training_pairs[each.run.task]:,}",
            f"{each.images_left:,}",
            _duration(each.seconds),
            f"{each.bytes / 1e9:.2f} GB",
        )
    table.add_section()
    table.add_row(
        "all",
        *("", "", ""),
        _duration(sum(each.seconds for each in estimates)),
        f"{sum(each.bytes for each in estimates) / 1e9:.2f} GB",
    )
    Console().print(table)
    print_line(
        "Times are from some seconds of measurement on this machine, with images that are read "
        "already; disk is what everything takes in the end. Nothing was trained."
    )


def _duration(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds / 60:.1f} min"


REPRODUCE = Command(
    "Train, test and print the paper's tables beside the published ones.",
    "  dsunet reproduce III --benchmarks DATA --output OUT --dry-run\n"
    "  dsunet reproduce cod --benchmarks DATA --output OUT --encoders WEIGHTS --seeds 0,1,2\n"
    "  dsunet reproduce all --benchmarks DATA --output TRY --model-size nano --limit 40\n",
    _reproduce_arguments,
    _reproduce,
)
