"""The published results that the paper prints, and a later one, as data.

`published.csv` holds the facts of tables III to VIII of the DSU-Net paper. Digits that could not be
read there, and values that other papers print otherwise, carry a note.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from dsunet.errors import ConfigError

__all__ = ["PublishedResult", "published_datasets", "published_rows", "published_tables"]

MEASURES = ("S", "F", "E", "MAE")


@dataclass(frozen=True)
class PublishedResult:
    """What one table prints of one method on one data set."""

    table: str
    """The paper's table, `III` to `VIII`; `later` for results that the paper does not have."""
    method: str
    dataset: str
    scores: Mapping[str, float]
    """S, F, E and MAE in 0..1, those of them that are printed."""
    note: str = ""


def published_rows(dataset: str | None = None, table: str | None = None) -> list[PublishedResult]:
    """The published results, in the paper's order.

    Tables VII and VIII, the ablations, repeat DSU-Net's rows of tables III, V and VI.

    Args:
        dataset: Those on this data set only; upper and lower case are alike.
        table: Those of this table only: `III` to `VIII`, or `later`.

    Raises:
        ConfigError: There is no such data set or table.
    """
    rows = list(_all_rows())
    for given, known, kind in (
        (dataset, published_datasets(), "data set"),
        (table, published_tables(), "table"),
    ):
        if given is not None and given.casefold() not in {name.casefold() for name in known}:
            raise ConfigError(
                f"there are no published results for the {kind} {given!r}; "
                f"known: {', '.join(known)}"
            )
    return [
        row
        for row in rows
        if (dataset is None or row.dataset.casefold() == dataset.casefold())
        and (table is None or row.table.casefold() == table.casefold())
    ]


def published_datasets() -> list[str]:
    """The names of the data sets with published results, in the paper's order."""
    return list(dict.fromkeys(row.dataset for row in _all_rows()))


def published_tables() -> list[str]:
    """The names of the tables, in the paper's order; `later` is last."""
    return list(dict.fromkeys(row.table for row in _all_rows()))


@cache
def _all_rows() -> tuple[PublishedResult, ...]:
    text = files("dsunet.metrics").joinpath("published.csv").read_text(encoding="utf-8")
    return tuple(
        PublishedResult(
            row["table"],
            row["method"],
            row["dataset"],
            {name: float(row[name]) for name in MEASURES if row[name]},
            row["note"],
        )
        for row in csv.DictReader(io.StringIO(text))
    )
