"""What a comparison is written as: a table, and a row for every image and method."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dsunet.data.catalogue.sets import PUBLIC_SETS
from dsunet.metrics.cuts import NOTHING_TO_MEASURE, describe_alarms
from dsunet.metrics.definitions import ALL_MEASURES
from dsunet.metrics.intervals import DRAWS, Interval
from dsunet.metrics.published import PublishedResult
from dsunet.metrics.results import Comparison, Evaluation, as_text
from dsunet.support.files import encode_text, write_atomically
from dsunet.support.tables import Cell, Column, Row, Table

__all__ = ["ModelCosts", "comparison_table", "measure_columns", "sets_table", "write_per_image"]


def measure_columns(measures: Sequence[str], group: str = "") -> tuple[Column, ...]:
    """Columns of a table for some keys of `ALL_MEASURES`.

    Args:
        measures: The keys.
        group: The data set that they are of; empty for none.
    """
    return tuple(
        Column(group, about.title, about.latex, about.higher_is_better, key=key)
        for key, about in ((key, ALL_MEASURES[key]) for key in measures)
    )


@dataclass(frozen=True)
class ModelCosts:
    """What a method's model takes; `None` where that cannot be told."""

    parameters: int | None = None
    flops: int | None = None
    """Of one image, see `dsunet.benchmarking.flops`."""
    images_per_second: float | None = None
    """As measured in this run."""
    note: str = ""
    """How it was measured, or why something lacks; a sentence."""


# Columns by the attributes of `ModelCosts`, and what one of their units is.
_COSTS = {
    "parameters": (Column("", "parameters (M)", "Params (M)", None, 1, "parameters_M"), 1e6),
    "flops": (Column("", "FLOPs (G)", "FLOPs (G)", None, 1, "FLOPs_G"), 1e9),
    "images_per_second": (Column("", "images/s", "images/s", None, 1), 1.0),
}


def comparison_table(
    comparison: Comparison,
    published: Sequence[PublishedResult] = (),
    title: str = "",
    costs: Mapping[str, ModelCosts] | None = None,
) -> Table:
    """A row for each method, below the published ones if there are some.

    Args:
        comparison: What was measured.
        published: Published results of the same data set; those that say the same of one method,
            as the paper's tables of ablations do, are one row. They are ranked among the others if
            what was measured is the whole data set.
        title: What the table shows; by default the number of images.
        costs: What methods' models take, by method: columns in front of the measures.
    """
    title = title or f"{len(comparison.names)} images"
    return _table({"": comparison}, {"": published}, title, costs or {})


def sets_table(
    comparisons: Mapping[str, Comparison],
    published: Mapping[str, Sequence[PublishedResult]] | None = None,
    title: str = "",
    costs: Mapping[str, ModelCosts] | None = None,
) -> Table:
    """One table of several data sets: a row for each method, columns grouped by set.

    Args:
        comparisons: What was measured, by the set's name. A method may lack in some.
        published: Published results by the set's name, see `comparison_table`. They are ranked if
            all of these sets were measured as a whole.
        title: What the table shows; by default the sets with their numbers of images.
        costs: As of `comparison_table`.
    """
    about = (f"{name} ({len(each.names)} images)" for name, each in comparisons.items())
    return _table(comparisons, published or {}, title or ", ".join(about), costs or {})


def _table(
    comparisons: Mapping[str, Comparison],
    published: Mapping[str, Sequence[PublishedResult]],
    title: str,
    costs: Mapping[str, ModelCosts],
) -> Table:
    first = next(iter(comparisons.values()))
    measures = tuple(next(iter(first.evaluations.values())).scores)
    methods = dict.fromkeys(name for each in comparisons.values() for name in each.evaluations)
    known = {
        key: about
        for key, about in _COSTS.items()
        if any(getattr(each, key) is not None for each in costs.values())
    }
    whole = _is_whole(comparisons, published)
    rows = []
    for method, by_set in _merged(published):
        cells: list[Cell | None] = [None] * len(known)
        for name in comparisons:
            scores = by_set.get(name, {})
            cells += [_cell(scores.get(key)) for key in measures]
        rows.append(Row(method, tuple(cells), "published", whole))
    group = "measured here" if rows else ""
    for method in methods:
        own = costs.get(method, ModelCosts())
        values = ((getattr(own, key), unit) for key, (_, unit) in known.items())
        cells = [None if value is None else Cell(value / unit) for value, unit in values]
        for each in comparisons.values():
            one = each.evaluations.get(method, Evaluation())
            cells += [_cell(one.scores.get(key), one.intervals.get(key)) for key in measures]
        rows.append(Row(method, tuple(cells), group))
    columns = [column for column, _ in known.values()]
    columns += [c for name in comparisons for c in measure_columns(measures, name)]
    notes = (*_notes(comparisons, published, whole), *_costs_notes(costs))
    return Table(title, tuple(columns), tuple(rows), notes)


def _cell(value: float | None, interval: Interval | None = None) -> Cell | None:
    return None if value is None or math.isnan(value) else Cell(value, interval=interval)


def _merged(
    published: Mapping[str, Sequence[PublishedResult]],
) -> list[tuple[str, dict[str, Mapping[str, float]]]]:
    """Methods with their scores by set; what two tables say alike of a method is said once."""
    rows: list[tuple[str, dict[str, Mapping[str, float]]]] = []
    for name, results in published.items():
        for result in results:
            same = [by_set for method, by_set in rows if method == result.method]
            if any(by_set.get(name) == result.scores for by_set in same):
                continue
            free = next((by_set for by_set in same if name not in by_set), None)
            if free is None:
                rows.append((result.method, {name: result.scores}))
            else:
                free[name] = result.scores
    return rows


def _is_whole(
    comparisons: Mapping[str, Comparison], published: Mapping[str, Sequence[PublishedResult]]
) -> bool:
    """Whether as many images count as the published data sets have."""
    return all(
        PUBLIC_SETS[result.dataset].count == len(comparisons[name].names)
        for name, results in published.items()
        for result in results
    )


def _notes(
    comparisons: Mapping[str, Comparison],
    published: Mapping[str, Sequence[PublishedResult]],
    whole: bool,
) -> list[str]:
    first = next(iter(next(iter(comparisons.values())).evaluations.values()))
    notes: list[str] = []
    if first.protocol == "raw":
        notes.append(
            f"Maps are measured as they are (`protocol` raw); Dice and IoU at {first.threshold:g}."
        )
    else:
        notes.append(
            "Each map is stretched to its full range first, as the paper does (`protocol` "
            "benchmark)."
        )
    if any(one.intervals for each in comparisons.values() for one in each.evaluations.values()):
        notes.append(
            f"In brackets: 95 % percentile bootstrap interval over images, {DRAWS:,} draws."
        )
    results = [result for each in published.values() for result in each]
    if results:
        about = " and ".join(dict.fromkeys(result.dataset for result in results))
        count = " and ".join(
            dict.fromkeys(f"{len(each.names)} images" for each in comparisons.values())
        )
        notes.append(
            f"Published values are of the whole of {about}, as papers print them; those measured "
            f"here are of {count}" + ("." if whole else ", and are ranked among themselves.")
        )
        notes += dict.fromkeys(f"{each.method}: {each.note}." for each in results if each.note)
    methods = {method for each in comparisons.values() for method in each.evaluations}
    for name, each in comparisons.items():
        notes += [f"{name}: {note}" if name else note for note in _notes_of_set(each)]
        lacking = sorted(methods - each.evaluations.keys())
        notes += [f"{method} has no maps of {name}." for method in lacking]
    return notes


def _notes_of_set(comparison: Comparison) -> list[str]:
    """What is said of the images without an object, and of those that count for no method."""
    notes = _false_alarms(comparison) if _protocol(comparison) == "raw" else []
    count, lost = len(comparison.names), len(comparison.left_out)
    if lost:
        whose = ", ".join(
            f"{len(each.failures)} of {method}"
            for method, each in comparison.evaluations.items()
            if each.failures
        )
        notes.append(
            f"{lost} of {count + lost} images count for no method, because a map or the mask could "
            f"not be read or lacks ({whose})."
        )
    return notes


def _protocol(comparison: Comparison) -> str:
    return next(iter(comparison.evaluations.values())).protocol


def _costs_notes(costs: Mapping[str, ModelCosts]) -> list[str]:
    notes: list[str] = []
    if any(each.flops for each in costs.values()):
        notes.append(
            "FLOPs: of one image, in convolutions and matrix products; a multiplication and an "
            "addition count as two."
        )
    return notes + list(dict.fromkeys(each.note for each in costs.values() if each.note))


def _false_alarms(comparison: Comparison) -> list[str]:
    """What is said of the images without an object, if there are some."""
    notes: list[str] = []
    for method, evaluation in comparison.evaluations.items():
        alarms = evaluation.false_alarms
        if not alarms.images:
            continue
        if not notes:
            objects = len(comparison.names) - alarms.images
            notes.append(
                f"{alarms.images} of {len(comparison.names)} images have no object; the measures "
                + (f"are over the other {objects}." if objects else NOTHING_TO_MEASURE)
            )
        notes.append(f"{method}: {describe_alarms(alarms)}.")
    return notes


def write_per_image(comparison: Comparison, path: Path) -> None:
    """Writes a row of CSV for every image and method.

    The columns: `image`, `method`, every measure in full precision (empty where an image has none,
    because there is no object in it), `object_share` (object pixels
    over all), `object_count` (8-connected objects), `height` and `width` of the mask.
    """
    measures = tuple(next(iter(comparison.evaluations.values())).scores)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    facts = ("object_share", "object_count", "height", "width")
    writer.writerow(["image", "method", *measures, *facts])
    for name in comparison.names:
        about = comparison.objects[name]
        for method, evaluation in comparison.evaluations.items():
            values = [as_text(evaluation.per_image[name].get(key)) for key in measures]
            last = (repr(about.share), about.count, about.height, about.width)
            writer.writerow([name, method, *values, *last])
    write_atomically(path, encode_text(text.getvalue()))
