"""What a comparison is written as: a table, and a row for every image and method."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from dsunet.data.catalogue.sets import PUBLIC_SETS
from dsunet.metrics.cuts import NOTHING_TO_MEASURE, describe_alarms
from dsunet.metrics.definitions import ALL_MEASURES
from dsunet.metrics.published import PublishedResult
from dsunet.metrics.results import Comparison, as_text
from dsunet.support.files import encode_text, write_atomically
from dsunet.support.tables import Cell, Column, Row, Table

__all__ = ["comparison_table", "measure_columns", "write_per_image"]


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


def comparison_table(
    comparison: Comparison, published: Sequence[PublishedResult] = (), title: str = ""
) -> Table:
    """A row for each method, below the published ones if there are some.

    Args:
        comparison: What was measured.
        published: Published results of the same data set; those that say the same of one method,
            as the paper's tables of ablations do, are one row. They are ranked among the others if
            what was measured is the whole data set.
        title: What the table shows; by default the number of images.
    """
    evaluations = comparison.evaluations
    measures = tuple(next(iter(evaluations.values())).scores)
    rows = []
    whole = _is_whole(comparison, published)
    for result in {(row.method, *sorted(row.scores.items())): row for row in published}.values():
        rows.append(_row(result.method, result.scores, measures, "published", ranked=whole))
    group = "measured here" if published else ""
    for method, evaluation in evaluations.items():
        rows.append(_row(method, evaluation.scores, measures, group))
    title = title or f"{len(comparison.names)} images"
    notes = _notes(comparison, published)
    return Table(title, measure_columns(measures), tuple(rows), notes)


def _is_whole(comparison: Comparison, published: Sequence[PublishedResult]) -> bool:
    """Whether as many images count as the published data sets have."""
    counts = {PUBLIC_SETS[each.dataset].count for each in published}
    return counts <= {len(comparison.names)}


def _row(
    name: str,
    scores: Mapping[str, float],
    measures: Sequence[str],
    group: str,
    *,
    ranked: bool = True,
) -> Row:
    cells = (
        None if math.isnan(scores.get(key, math.nan)) else Cell(scores[key]) for key in measures
    )
    return Row(name, tuple(cells), group, ranked)


def _notes(comparison: Comparison, published: Sequence[PublishedResult]) -> tuple[str, ...]:
    count, lost = len(comparison.names), len(comparison.left_out)
    first = next(iter(comparison.evaluations.values()))
    notes: list[str] = []
    if first.protocol == "raw":
        notes.append(
            f"Maps are measured as they are (`protocol` raw); Dice and IoU at {first.threshold:g}."
        )
        notes += _false_alarms(comparison)
    else:
        notes.append(
            "Each map is stretched to its full range first, as the paper does (`protocol` "
            "benchmark)."
        )
    if published:
        about = " and ".join(dict.fromkeys(result.dataset for result in published))
        notes.append(
            f"Published values are of the whole of {about}, as papers print them; those measured "
            f"here are of {count} images"
            + ("." if _is_whole(comparison, published) else ", and are ranked among themselves.")
        )
        remarks = (f"{result.method}: {result.note}." for result in published if result.note)
        notes += dict.fromkeys(remarks)
    if lost:
        notes.append(
            f"{lost} of {count + lost} images count for no method, because a map or the mask could "
            "not be read."
        )
    return tuple(notes)


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
