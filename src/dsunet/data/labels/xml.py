"""XML from strangers: no entities, no document types, nothing fetched."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from dsunet.errors import DataError, MissingPackageError

__all__ = ["elements"]


def elements(file: Path, tags: Collection[str]) -> Iterator[Any]:
    """The elements of some tags, one at a time, so that files of any length can be read.

    The outermost comes last, emptied of all that was given before.

    Raises:
        DataError: The file cannot be read, is no XML, is cut off, or has entities or a document
            type, by which a few lines could fill the memory.
        MissingPackageError: defusedxml is not installed.
    """
    try:
        from defusedxml import DefusedXmlException
        from defusedxml.ElementTree import ParseError, iterparse
    except ModuleNotFoundError as error:
        raise MissingPackageError(
            "reading XML needs the package defusedxml; pip install 'dsunet[labels]'"
        ) from error
    try:
        with open(file, "rb") as content:
            for _, element in iterparse(content, forbid_dtd=True):
                if element.tag in tags:
                    yield element
                    element.clear()
    except OSError as error:
        raise DataError(
            f"{file} cannot be read ({error.strerror}); give a file of labels"
        ) from error
    except DefusedXmlException as error:
        raise DataError(
            f"{file} declares a document type or entities, which labels do not need and which can "
            "fill the memory; remove them"
        ) from error
    except (ParseError, ValueError) as error:
        raise DataError(f"{file} is no XML, or is cut off ({error}); export it again") from error
