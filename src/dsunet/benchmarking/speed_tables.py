"""Measurements as a table and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from statistics import median
from typing import Any

from dsunet.benchmarking.circumstances import circumstances
from dsunet.benchmarking.loader import LoaderSpeed
from dsunet.benchmarking.measure import Failure, Measured, ratios
from dsunet.support.tables import Cell, Column, Row, Table

__all__ = ["comparisons", "describe", "loader_table", "record", "table_of"]

Results = Sequence[Measured | Failure]


def table_of(results: Results, title: str) -> Table:
    """A row for each variant that could be measured; all of one task.

    Raises:
        ValueError: There is none.
    """
    measured = [each for each in results if isinstance(each, Measured)]
    if not measured:
        raise ValueError("nothing could be measured")
    what = "step" if measured[0].variant.task == "train" else "image"
    in_ms = min(map(_seconds, measured)) < 0.5
    unit, scale, digits = ("ms", 1e3, 1) if in_ms else ("s", 1.0, 2)
    columns = (
        Column("", f"{unit}/{what}", f"{unit}/{what}", False, digits),
        Column("", "min", "min", None, digits),
        Column("", "max", "max", None, digits),
        Column("", "img/s", "img/s", True, 2),
        Column("", "GB", "GB", False, 2),
        Column("", "GFLOP", "GFLOP", None, 1),
        Column("", "% matmul", r"\% matmul", None, 0),
    )
    sizes = {each.variant.batch_size for each in measured}
    rows = []
    for each in measured:
        batch = each.variant.batch_size
        part = 1 if what == "step" else batch
        peak = None if each.peak_bytes is None else Cell(each.peak_bytes / 1e9)
        cells = (
            *(Cell(s * scale / part) for s in (each.median, min(each.seconds), max(each.seconds))),
            Cell(each.images_per_second),
            peak,
            None if each.share is None else Cell(each.flops / batch / 1e9),
            None if each.share is None else Cell(100 * each.share),
        )
        rows.append(Row(each.variant.name, cells, f"batch {batch}" if len(sizes) > 1 else ""))
    return Table(title, columns, tuple(rows), _notes(measured))


def _seconds(each: Measured) -> float:
    return each.median / (1 if each.variant.task == "train" else each.variant.batch_size)


def _notes(measured: Sequence[Measured]) -> tuple[str, ...]:
    first = measured[0]
    whose = "tensors on the GPU" if first.device.startswith("cuda") else "the whole process"
    rates = {each.rate.dtype: each.rate for each in measured}.values()
    speeds = " and ".join(
        f"{rate.flops_per_second / 1e9:,.0f} GFLOP/s ({rate.dtype})" for rate in rates
    )
    return (
        *describe(measured),
        f"Times are medians of {len(first.seconds)}, taken in turns. GB: peak memory of {whose}.",
        "GFLOP: of an image, in convolutions and matrix products. % matmul: FLOPs per second over "
        f"those of a plain {first.rate.side}³ matrix product in the same run, {speeds}.",
        *(_sentence(each) for each in comparisons(measured)),
    )


def describe(results: Results) -> list[str]:
    """For each name of a variant, what it stands for."""
    texts = {}
    for each in results:
        variant = each.variant
        if isinstance(each, Failure) or variant.name in texts:
            continue
        parts = [each.precision]
        if variant.naive:
            parts += ["whole attention matrices", "all outputs"]
        if variant.channels_last is not None:
            parts.append("channels_last" if variant.channels_last else "NCHW")
        if variant.task == "train" and variant.model.uses_semantic:
            parts.append("features from a file" if variant.feature_cache else "no feature cache")
        parts += ["activation checkpointing"] * variant.checkpointing
        parts += ["memory kept"] * variant.keep_memory
        parts += ["compiled"] * variant.compile
        parts += [option.replace("_", " ") for option in variant.options]
        texts[variant.name] = f"{variant.name}: {', '.join(parts)}."
    return list(texts.values())


def comparisons(results: Results) -> list[dict[str, Any]]:
    """Every variant beside the naive one of the same batch size, if there is one."""
    found = []
    for batch, group in groupby(results, key=lambda each: each.variant.batch_size):
        measured = [each for each in group if isinstance(each, Measured)]
        baseline = next((each for each in measured if each.variant.naive), None)
        found += [
            {"variant": each.variant.name, "batch_size": batch, **ratios(baseline, each)}
            for each in measured
            if baseline is not None and not each.variant.naive
        ]
    return found


def _sentence(comparison: dict[str, Any]) -> str:
    speedup, memory = comparison["speedup"], comparison["memory"]
    text = (
        f"{comparison['variant']}, batch {comparison['batch_size']}: {speedup:.2f} times as quick "
        "as the naive way"
    )
    return f"{text}, with {memory:.2f} of its memory." if memory else f"{text}."


def loader_table(loaders: Sequence[LoaderSpeed], steps: Results, model: str) -> Table:
    """A row for each number of processes; a sentence about each if a training step was measured.

    Args:
        loaders: What the loader came to.
        steps: What the training step came to, if it was measured.
        model: The name of whose views are made and whose step it is.
    """
    columns = (
        Column("", "img/s", "img/s", True, 1),
        Column("", "ms/image", "ms/image", False, 1),
        Column("", "min", "min", None, 1),
        Column("", "max", "max", None, 1),
    )
    rows = []
    for each in loaders:
        times = median(each.seconds), min(each.seconds), max(each.seconds)
        cells = (Cell(1e3 * seconds / each.images) for seconds in times)
        rows.append(Row(_workers(each), (Cell(each.images_per_second), *cells)))
    notes = [
        f"Medians of {len(loaders[0].seconds)} passes over {loaders[0].images} pairs, in turns; "
        "files are in memory. 0 workers: the training's own process reads."
    ]
    for step in steps:
        if isinstance(step, Measured):
            needs = step.images_per_second
            notes += [
                f"{_workers(each)}: {each.images_per_second:.1f} images/s; a step of {model} takes "
                f"{needs:.1f}: {_verdict(each, needs)}."
                for each in loaders
            ]
            if step.device == "cpu":
                notes.append("Measured apart; on a CPU, reading takes its time from the step.")
    return Table(f"{model}: reading, resizing, collating", columns, tuple(rows), tuple(notes))


def _verdict(each: LoaderSpeed, needs: float) -> str:
    if each.workers == 0:  # in turns with the step
        return f"reading adds {100 * needs / each.images_per_second:.0f} % to every step"
    return "fed" if each.images_per_second >= needs else "NOT fed"


def _workers(each: LoaderSpeed) -> str:
    return "1 worker" if each.workers == 1 else f"{each.workers} workers"


def record(command: str, results: Results, **more: Any) -> dict[str, Any]:
    """All of it, with date, commit and machine, ready for JSON.

    Args:
        command: What was run.
        results: What came of it.
        **more: Further entries.
    """
    return {
        "command": command,
        "circumstances": circumstances(),
        "weights": "random",
        "results": [each.to_dict() for each in results],
        "comparisons": comparisons(results),
        **more,
    }
