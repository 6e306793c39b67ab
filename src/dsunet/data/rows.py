"""Tables that users write by hand."""

from __future__ import annotations

import csv
from pathlib import Path

from dsunet.errors import DataError
from dsunet.support.files import decode_text

__all__ = ["rows_of"]


def rows_of(file: Path, field: str, what: str) -> list[list[str]]:
    """The rows of a CSV file, blank ones too.

    Args:
        file: The file; a byte order mark at its start is not part of it.
        field: The setting that names it.
        what: Every line of it has, for the error.

    Raises:
        DataError: It cannot be read.
    """
    try:
        text = decode_text(file.read_bytes().removeprefix(b"\xef\xbb\xbf"))
    except OSError as error:
        raise DataError(
            f"{file} cannot be read ({error.strerror}); `{field}` needs a .csv file with {what} "
            "in every line"
        ) from error
    return list(csv.reader(text.splitlines()))
