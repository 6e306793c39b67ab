"""Tables of a reproduction, beside the published ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from dsunet.metrics import ALL_MEASURES
from dsunet.metrics.published import PublishedResult, published_rows
from dsunet.research.experiments.methods import METHODS, Method, PaperTable
from dsunet.research.experiments.plan import Plan
from dsunet.research.experiments.scores import Results
from dsunet.research.experiments.statistics import over_seeds, paired_difference
from dsunet.support.files import clear_temporaries
from dsunet.support.tables import Cell, Column, Row, Table

__all__ = ["gains_table", "paired_table", "result_table", "write_tables"]

OURS = "dsunet"


def write_tables(results: Results) -> list[tuple[Table, list[Path]]]:
    """Writes every table of a plan with all results so far, in four formats.

    Returns:
        The tables, each with its files.
    """
    plan = results.plan
    folder = plan.folder / "tables"
    folder.mkdir(parents=True, exist_ok=True)
    clear_temporaries(folder)
    written = []
    for table in plan.tables:
        for name, content in (
            (f"table-{table.number}", result_table(results, table)),
            (f"table-{table.number}-gains", gains_table(results, table)),
            (f"table-{table.number}-paired", paired_table(results, table)),
        ):
            if content.rows:
                written.append((content, content.write(folder / name)))
    return written


def result_table(results: Results, table: PaperTable) -> Table:
    """A table of the paper: the published rows, this reproduction's, and their differences."""
    plan = results.plan
    places = [(name, measure) for name in table.sets for measure in table.measures]
    published = _published(table)
    whole = not _changes(plan) and all(found.complete for found in plan.found.values())
    rows = [
        Row(
            method,
            tuple(_published_cell(of_set, *place) for place in places),
            "published",
            ranked=whole,  # beside parts of the sets they are not
        )
        for method, of_set in published.items()
    ]
    differences = []
    for method in plan.rows[table.number]:
        cells = tuple(_cell(results, method, table.task, *place) for place in places)
        if not any(cells):
            continue
        rows.append(Row(method.title, cells, "this run"))
        printed = published.get(method.published or "")
        if printed is not None:
            both = [(_published_cell(printed, *p), c) for p, c in zip(places, cells, strict=True)]
            less = tuple(Cell(c.value - p.value) if p and c else None for p, c in both)
            differences.append(Row(method.title, less, "this run less published", False, True))
    return Table(
        f"Table {table.number}. {table.title}",
        tuple(_column(name, measure) for name, measure in places),
        (*rows, *differences),
        (*_about(plan), *_counts(results, table), *_notes(published)),
    )


def gains_table(results: Results, table: PaperTable) -> Table:
    """DSU-Net's relative gain in S over the table's reference, in percent.

    The abstract's 1.02 % (DUT-OMRON) and 1.25 % (COD10K) are among them.
    """
    methods = {method.key: method for method in results.plan.rows[table.number]}
    published = _published(table)
    ours, reference = (METHODS[key].published or "" for key in (OURS, table.reference))
    rows = []
    for name in table.sets:
        printed = [_published_cell(published[which], name, "S") for which in (reference, ours)]
        here = [
            _cell(results, methods[key], table.task, name, "S") if key in methods else None
            for key in (table.reference, OURS)
        ]
        gains = (_gain(*printed), _gain(*here))
        if any(gains):
            rows.append(Row(name, gains, ranked=False, signed=True))
    columns = tuple(Column("", title, title, None, 2) for title in ("published", "this run"))
    return Table(
        f"Table {table.number}: relative gain in S of {ours} over {reference}, in percent",
        columns,
        tuple(rows),
    )


def paired_table(results: Results, table: PaperTable) -> Table:
    """DSU-Net less every other method on the same images, with bootstrap intervals."""
    rows = []
    methods = results.plan.rows[table.number]
    ours = next((method for method in methods if method.key == OURS), None)
    for other in methods:
        if ours is None or other.key == OURS:
            continue
        for name in table.sets:
            for measure in table.measures:
                both = _per_image(results, (ours, other), table.task, name, measure)
                found = paired_difference(*both) if both else None
                if found:
                    rows.append(
                        Row(
                            f"{name}, {measure}",
                            tuple(Cell(value) for value in found),
                            f"less {other.title}",
                            ranked=False,
                            signed=True,
                        )
                    )
    columns = tuple(
        Column("", title, latex, None, 4)
        for title, latex in (
            ("difference", "difference"),
            ("2.5 %", r"2.5\,\%"),
            ("97.5 %", r"97.5\,\%"),
        )
    )
    seeds = len(results.plan.protocol.seeds) > 1
    return Table(
        f"Table {table.number}: DSU-Net less other methods on the same images",
        columns,
        tuple(rows),
        (
            "Mean difference and 95 % percentile bootstrap interval over images (10,000 draws)"
            + ("; of each image, the mean over its method's seeds." if seeds else "."),
        ),
    )


def _published(table: PaperTable) -> dict[str, dict[str, PublishedResult]]:
    """The table's rows as printed, by method and data set."""
    rows: dict[str, dict[str, PublishedResult]] = {}
    for result in published_rows(table=table.number):
        rows.setdefault(result.method, {})[result.dataset] = result
    return rows


def _notes(published: Mapping[str, Mapping[str, PublishedResult]]) -> list[str]:
    """What is to be said of published rows; alike of several data sets, it is said once."""
    places: dict[tuple[str, str], list[str]] = {}
    for method, results in published.items():
        for name, result in results.items():
            if result.note:
                places.setdefault((method, result.note), []).append(name)
    return [f"{method}, {', '.join(sets)}: {note}" for (method, note), sets in places.items()]


def _published_cell(results: dict[str, PublishedResult], name: str, measure: str) -> Cell | None:
    result = results.get(name)
    return Cell(result.scores[measure]) if result and measure in result.scores else None


def _cell(results: Results, method: Method, task: str, name: str, measure: str) -> Cell | None:
    return over_seeds([each.scores[measure] for each in results.of_method(method, task, name)])


def _per_image(
    results: Results, methods: Sequence[Method], task: str, name: str, measure: str
) -> tuple[np.ndarray, np.ndarray] | None:
    """Both methods' values of the images that all their runs have, mean over seeds."""
    scored = [[each.per_image for each in results.of_method(m, task, name)] for m in methods]
    if not all(scored):
        return None
    images = sorted(set.intersection(*(set(each) for of in scored for each in of)))
    first, second = (
        np.mean([[each[image][measure] for image in images] for each in of], axis=0)
        for of in scored
    )
    return first, second


def _gain(before: Cell | None, after: Cell | None) -> Cell | None:
    if before is None or after is None or before.value == 0:
        return None
    return Cell(100 * (after.value / before.value - 1))


def _column(name: str, measure: str) -> Column:
    about = ALL_MEASURES[measure]
    return Column(name, measure, about.latex, about.higher_is_better)


def _changes(plan: Plan) -> list[str]:
    """What this run does otherwise than the paper's protocol."""
    protocol = plan.protocol
    parts = [f"size {protocol.size}"] if protocol.size != "large" else []
    parts += ["random encoders"] if protocol.weights == "none" else []
    for value, unit in (
        (protocol.epochs, "epochs"),
        (protocol.batch_size, "images a batch"),
        (protocol.limit, "pairs to train on and to test of each set"),
    ):
        if value is not None:
            parts.append(f"{value} {unit}")
    return parts


def _about(plan: Plan) -> list[str]:
    """How this run differs from the paper's protocol."""
    lines = []
    if parts := _changes(plan):
        lines.append(
            f"This run changes the paper's protocol ({', '.join(parts)}): its values cannot be "
            "compared with the published ones, and are ranked among themselves."
        )
    for name, found in plan.found.items():
        if not found.complete and not plan.protocol.limit:
            lines.append(
                f"{name}: {len(found.pairs):,} of {found.published.count:,} pairs were there."
            )
    if plan.absent:
        lines.append(f"Not found: {', '.join(plan.absent)}.")
    return lines


def _counts(results: Results, table: PaperTable) -> list[str]:
    """Over how many seeds and images the values are, where it is not plain."""
    plan, lines = results.plan, []
    for method in plan.rows[table.number]:
        for name in table.sets:
            found = results.of_method(method, table.task, name)
            if not found:
                continue
            place = f"{method.title}, {name}"
            if len(plan.protocol.seeds) > 1:
                lines.append(f"{place}: mean ± standard deviation over {len(found)} seeds.")
            whole = len(plan.tests[table.task][name].images)
            fewest = min(len(each.per_image) for each in found)
            if fewest < whole:
                lines.append(f"{place}: over {fewest:,} of {whole:,} images; others have failed.")
    return lines
