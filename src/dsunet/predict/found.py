"""What is meant by paths, patterns, addresses, lists and tables: files with their places."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from dsunet.data.folders import walk_folders
from dsunet.data.pairs import read_names
from dsunet.data.remote import Remote, find_remote, is_address, place_of
from dsunet.data.sources import is_image_name
from dsunet.data.uris import read_column
from dsunet.errors import DataError

__all__ = ["Found", "find", "in_table", "listed", "real"]

_LONGEST = 120
"""Letters of a part of an address that become a folder's or a file's name."""


@dataclass(frozen=True, slots=True)
class Found:
    """A file, or a folder that cannot be read, and its place below what was given.

    There may be millions of them, so that paths are texts here.
    """

    file: str | Remote
    relative: str
    given: str
    """The name of the folder that was given, or that a given file lies in."""
    trouble: str = ""

    @property
    def place(self) -> Path | Remote:
        """Where it is, or would be."""
        if isinstance(self.file, Remote):
            return self.file
        return Remote(self.file) if is_address(self.file) else Path(self.file)


@cache
def real(path: str) -> str:
    """A folder's path without links; one that leads to itself stays, to be reported later."""
    return os.path.realpath(path)


def find(path: str | Path, output: Path) -> list[Found]:
    """Files meant by one path or address, each with its name below the folder that was meant.

    Args:
        path: What was given.
        output: A folder that is not searched.

    Raises:
        DataError: It does not exist, or there are no images in it.
    """
    if isinstance(path, str) and is_address(path) and not os.path.exists(path):  # noqa: PTH110
        return _find_address(path, output)
    place = Path(path)
    if place.is_dir():
        found = list(_walk(place, output))
        if not found:
            raise DataError(f"the folder {path} holds no images")
        return found
    if place.exists():
        return [Found(str(place), place.name, os.path.basename(real(str(place.parent))))]  # noqa: PTH119
    if not glob.has_magic(str(path)):
        raise DataError(
            f"there is no file or folder {path}; give images, folders of images or patterns"
        )
    parts = place.parts
    first = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    root = Path(*parts[:first])
    given = Path(real(str(root))).name
    found = [
        Found(str(file), str(file.relative_to(root)), given)
        for file in sorted(root.glob(str(Path(*parts[first:]))))
        if is_image_name(file.name) and not file.is_dir() and not _is_hidden(file.relative_to(root))
    ]
    if not found:
        raise DataError(f"the pattern {path} finds no images")
    return found


def _find_address(text: str, output: Path) -> list[Found]:
    place = place_of(text)
    if isinstance(place, Path):
        return find(place, output)
    several = find_remote(place.uri)
    if several is None:
        return [Found(place, _safe(place.name), place.parts[-2])]
    plain = re.split(r"[*?\[]", place.uri)[0]  # a folder, or what stands before a pattern
    folder = Remote(place.uri if plain == place.uri else plain.rpartition("/")[0])
    depth = len(folder.parts)
    return [Found(each, _joined(each.parts[depth:]), folder.name) for each in several]


def _walk(folder: Path, output: Path) -> Iterator[Found]:
    """Images below a folder, through linked folders too, and folders that cannot be read."""
    unread: list[OSError] = []
    given = os.path.basename(os.path.realpath(folder))  # noqa: PTH119
    for place, names in walk_folders(folder, (str(output),), unread.append):
        below = place.relative_to(folder)
        for name in names:
            if is_image_name(name):
                yield Found(os.path.join(place, name), _within(below, name), given)  # noqa: PTH118
            elif _is_broken_link(place / name):
                reason = "a link that leads nowhere; mend or remove it"
                yield Found(str(place / name), _within(below, name), given, reason)
    for error in unread:
        place = Path(error.filename)
        reason = f"the folder cannot be read ({(error.strerror or str(error)).lower()})"
        yield Found(str(place), str(place.relative_to(folder)), given, reason)


def _within(below: Path, name: str) -> str:
    return os.path.normpath(os.path.join(below, name))  # noqa: PTH118


def _is_broken_link(file: Path) -> bool:
    """Whether it is a link that seems to mean a folder and leads nowhere, or to itself."""
    if _is_hidden(Path(file.name)) or file.suffix or not file.is_symlink():
        return False
    try:
        return not file.exists()
    except OSError:
        return True


def _is_hidden(place: Path) -> bool:
    return any(part.startswith(".") for part in place.parts)


def listed(list_: str | Path) -> list[Found]:
    """The files and addresses in a text file, one a line.

    Raises:
        DataError: It cannot be read, or is empty.
    """
    lines = read_names(list_)
    if not lines:
        raise DataError(f"the list {list_} is empty; write the path of one image a line")
    return _placed(lines)


def in_table(table: str | Path, column: str | None) -> list[Found]:
    """The files and addresses in a column of a Parquet file, or of a folder of such files.

    Raises:
        DataError: It cannot be read, is empty, or has no such column.
        ConfigError: There are several columns of texts, and none is named.
        MissingPackageError: pyarrow is not installed.
    """
    return _placed(read_column(table, column))


def _placed(lines: Sequence[str | None]) -> list[Found]:
    """Paths below the deepest folder that all of them share, and addresses likewise."""
    places = [_place(line) for line in lines]
    paths = [
        os.path.dirname(os.path.abspath(place))  # noqa: PTH100, PTH120 -- links stay links
        for place in places
        if isinstance(place, str)
    ]
    shared = _shared(paths) if paths else ""
    folders = [each.parts[:-1] for each in places if isinstance(each, Remote)]
    depth = len(_shared_parts(folders))
    return [_below(place, line, shared, depth) for place, line in zip(places, lines, strict=True)]


def _place(line: str | None) -> str | Remote | DataError:
    if not line or not line.strip():
        return DataError("there is no path or address in this row")
    try:
        place = place_of(line)
    except DataError as error:
        return error
    return place if isinstance(place, Remote) else str(place)


def _below(place: str | Remote | DataError, line: str | None, shared: str, depth: int) -> Found:
    if isinstance(place, DataError):
        given = (line or "").strip() or "an empty row"
        return Found(given, _safe(given), "", str(place))
    if isinstance(place, Remote):
        folders = place.parts[:-1]
        name = _joined((*folders[depth:], place.parts[-1]))
        return Found(place, name, folders[depth - 1] if depth else folders[0])
    at = os.path.abspath(place)  # noqa: PTH100
    return Found(place, at[len(shared) :].lstrip(os.sep), os.path.basename(shared))  # noqa: PTH119


def _shared(folders: Iterable[str]) -> str:
    """The deepest folder that all lie in."""
    return os.path.commonpath(set(folders))


def _shared_parts(folders: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """What several tuples begin with."""
    if not folders:
        return ()
    low, high = min(folders), max(folders)
    same = next((i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), None)
    return low[: min(len(low), len(high)) if same is None else same]


def _joined(parts: Sequence[str]) -> str:
    return os.path.join(*map(_safe, parts))  # noqa: PTH118


def _safe(part: str) -> str:
    """A part of an address as a name that any file system takes."""
    part = "".join("_" if c in '\\/:*?"<>|' or not c.isprintable() else c for c in part)
    if len(part.encode()) <= _LONGEST:
        return part
    from hashlib import sha256

    stem, dot, suffix = part.rpartition(".")
    ending = dot + suffix if stem and len(suffix) <= 5 else ""
    start = part.encode()[: _LONGEST - 20].decode("utf-8", "ignore")
    return f"{start}-{sha256(part.encode()).hexdigest()[:8]}{ending}"
