"""Paths and addresses in a column of Parquet files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dsunet.data.remote import Remote, file_system, is_address, place_of
from dsunet.errors import ConfigError, DataError, few, perhaps
from dsunet.support.packages import needing

__all__ = ["read_column"]


def read_column(table: str | Path, column: str | None = None) -> list[str | None]:
    """The texts of a column, in the order of the rows.

    Args:
        table: A Parquet file, a folder of such files, or the address of either.
        column: Its name; it may be left out where there is but one column of texts.

    Raises:
        DataError: It cannot be read, has no rows, or no such column of texts.
        ConfigError: There are several columns of texts, and none is named.
        MissingPackageError: pyarrow, or what an address needs, is not installed.
    """
    with needing(f"the table {table}", extra="remote"):
        import pyarrow as pa
        import pyarrow.dataset as pad
    try:
        data = _opened(table, pad)
    except (OSError, ValueError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())[:300]
        raise DataError(f"the table {table} cannot be read as Parquet ({reason})") from error
    texts = [
        field.name
        for field in data.schema
        if pa.types.is_string(field.type) or pa.types.is_large_string(field.type)
    ]
    if column is None:
        if len(texts) > 1:
            raise ConfigError(
                f"the table {table} has the columns of texts {few(texts, 20)}; say by `column` "
                "which holds the images"
            )
        column = texts[0] if texts else ""
    if column not in texts:
        has = f"its columns of texts are {few(texts, 20)}" if texts else "it has none"
        raise DataError(
            f"the table {table} has no column {column or 'of texts'} with paths or addresses; {has}"
            + perhaps(column, texts)
        )
    lines: list[str | None] = []
    try:
        for batch in data.to_batches(columns=[column]):
            lines += batch.column(0).to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"the table {table} cannot be read ({error})") from error
    if not lines:
        raise DataError(f"the table {table} has no rows")
    return lines


def _opened(table: str | Path, pad: Any) -> Any:
    place = place_of(table) if isinstance(table, str) and is_address(table) else Path(table)
    if isinstance(place, Remote):
        system = file_system(place.uri.partition("://")[0].lower())
        path = system._strip_protocol(place.uri)
        return pad.dataset(path, filesystem=system, format="parquet")
    return pad.dataset(str(place), format="parquet")
