"""What every format's reader gives: pictures, and the shapes in them."""

from __future__ import annotations

import json
import os
import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from dsunet.config.masks import MaskValue
from dsunet.data.folders import walk_folders
from dsunet.data.labels.outlines import Outline
from dsunet.data.sources import IMAGE_SUFFIXES
from dsunet.errors import DataError, few

__all__ = [
    "MANIFEST",
    "Annotated",
    "MaskFile",
    "Picture",
    "PictureFiles",
    "Shape",
    "files_below",
    "foreign",
    "is_imported",
    "read_json",
]

MANIFEST = "labels.json"
"""File of an imported set that says what came from where, and what values of masks mean."""


@dataclass(frozen=True)
class Shape:
    """One object in a picture."""

    label: str
    """The name of its class."""
    outline: Outline
    order: int = 0
    """Shapes of a higher order lie on top, whatever their area."""
    ignored: bool = False
    """Whether its pixels are to count in neither loss nor measures."""


@dataclass(frozen=True)
class MaskFile:
    """A picture's objects as a file of pixels."""

    path: Path
    label: str = ""
    """The name of the class of all its objects; empty if its values say the class."""


@dataclass
class Picture:
    """A picture and what is labelled in it."""

    name: str
    """What the labels call it, for messages."""
    path: Path | None = None
    """Where it lies; `None` if it is not there."""
    size: tuple[int, int] | None = None
    """Width and height in pixels that the labels are drawn in, if they say."""
    shapes: list[Shape] = field(default_factory=list)
    masks: list[MaskFile] = field(default_factory=list)
    content: str = ""
    """The picture's file in base64, for want of one."""
    trouble: str = ""
    """Why it cannot be used; empty if it can."""
    stem: str = ""
    """What its pair is to be called, folders and all; by where it lies if it is empty."""


@dataclass
class Annotated:
    """What the labels say."""

    format: str
    """A name of `dsunet.data.labels.sniff.FORMATS`."""
    pictures: list[Picture]
    classes: list[str]
    """Names of all classes; of a mask in which every class has a number, in their order."""
    numbers: dict[str, str] = field(default_factory=dict)
    """Names of classes by the numbers that the labels have for them."""
    files: list[Path] = field(default_factory=list)
    """The files of labels: what changes when they do makes another data set."""
    unlisted: list[str] = field(default_factory=list)
    """Pictures that lie there, but that the labels do not speak of."""
    said: list[str] = field(default_factory=list)
    """What else is to be told, a line each."""
    lost: int = 0
    """How many labels belong to no picture."""
    ignored: MaskValue | None = None
    """The value in files of masks of pixels that do not count."""
    values: dict[str, MaskValue] = field(default_factory=dict)
    """The value in files of masks of each class, where it is known."""


def read_json(file: Path) -> Any:
    """The content of a JSON file.

    Raises:
        DataError: It cannot be read, is cut off, is no JSON, or is too large for the memory.
    """
    try:
        return json.loads(file.read_bytes())
    except OSError as error:
        raise DataError(
            f"{file} cannot be read ({error.strerror}); give a file of labels"
        ) from error
    except MemoryError as error:
        raise DataError(f"{file} is too large for this machine's memory; divide it") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file} is no JSON, or is cut off ({error}); export it again") from error


@contextmanager
def foreign(what: str) -> Iterator[None]:
    """Says in one line what is wrong where labels are not built as their format wants.

    Raises:
        DataError: An error of Python's came out of the block.
    """
    try:
        yield
    except DataError as error:
        raise DataError(f"{what}: {error}") from error
    except KeyError as error:
        raise DataError(f"{what} lacks {error}") from error
    except (TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
        raise DataError(f"{what} is not as it should be ({error})") from error


def files_below(folder: Path, endings: Sequence[str], without: Path | None = None) -> list[Path]:
    """The files below a folder, sorted, whose names end like this; hidden ones are left out.

    Args:
        folder: Where to look.
        endings: In small letters.
        without: A folder that is not looked into.

    Raises:
        DataError: A folder cannot be read.
    """
    left_out = () if without is None else (os.path.realpath(without),)

    def refuse(error: OSError) -> None:
        raise DataError(f"{error.filename} cannot be read ({error.strerror})") from error

    return [
        place / name
        for place, names in walk_folders(folder, left_out, refuse)
        for name in names
        if name.lower().endswith(tuple(endings)) and not name.startswith(".")
    ]


class PictureFiles:
    """The pictures below some folders, to be found by what labels call them.

    Whatever a name says, nothing outside these folders is ever found, and nothing in `without`, nor
    what an earlier import has copied into a folder among them.
    """

    def __init__(self, folders: Iterable[Path], without: Path | None = None) -> None:
        self.without = without
        self.folders = list(dict.fromkeys(folders))
        self._by_name: dict[str, list[tuple[Path, list[str]]]] = {}
        self._depth: dict[Path, int] = {}
        self._used: set[Path] = set()
        self._looked = False

    @property
    def all(self) -> list[Path]:
        """Every picture."""
        self._look()
        return list(self._depth)

    def unlisted(self) -> list[str]:
        """The pictures that nobody asked for."""
        return sorted(path.name for path in self.all if path not in self._used)

    def find(self, name: str, near: Path, hints: Collection[str] = ()) -> Path | None:
        """The picture that is meant by a name, with or without folders.

        The folders of the name and those that the picture lies in have to agree as far as both have
        some. Of a name from another place (`C:/cat/1.jpg`, `../cat/1.jpg`) the folders only choose
        among several. Of equals, those in the folder `near`, that of the file of labels, go first,
        and then those in a folder that is called like one of `hints`.

        Raises:
            DataError: Several would do.
        """
        self._look()
        parts, elsewhere = _parts(name)
        every = self._by_name.get(parts[-1], []) if parts else []
        scored = [(_alike(inside, parts), path) for path, inside in every]
        if not elsewhere:
            scored = [(n, path) for n, path in scored if n == min(len(parts), self._depth[path])]
        best = max((score for score, _ in scored), default=0)
        found = [path for score, path in scored if score == best]
        if len(found) > 1 or elsewhere:
            found = [path for _, path in scored if path.parent == near] or found
        if len(found) > 1:
            found = [path for path in found if path.parent.name in hints] or found
        if len(found) > 1:
            raise DataError(
                f"{len(found)} pictures could be {name} ({few(found, 2)}); name the folders too, "
                "or give `images`"
            )
        self._used.update(found)
        return found[0] if found else None

    def _look(self) -> None:
        if self._looked:
            return
        self._looked = True
        seen: set[str] = set()
        for folder in self.folders:
            paths = files_below(folder, sorted(IMAGE_SUFFIXES), self.without)
            copies = _imported_below(folder, {path.parent for path in paths})
            for path in paths:
                if path.parent in copies:
                    continue
                if (real := os.path.realpath(path)) not in seen:
                    seen.add(real)
                    inside = [_composed(part) for part in path.relative_to(folder).parts]
                    self._depth[path] = len(inside)
                    self._by_name.setdefault(inside[-1], []).append((path, inside))


def is_imported(folder: Path) -> bool:
    """Whether an import has filled a folder; others have a file of this name, too."""
    try:
        with open(folder / MANIFEST, "rb") as note:
            return re.match(rb'\{\s*"complete"\s*:', note.read(64)) is not None
    except OSError:
        return False


def _imported_below(top: Path, folders: Iterable[Path]) -> set[Path]:
    """Those of some folders that are, or lie in, what imports have filled below another folder."""
    return {
        folder
        for folder in folders
        if any(is_imported(each) for each in (folder, *folder.parents) if top in each.parents)
    }


def _composed(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _parts(name: str) -> tuple[list[str], bool]:
    """The folders and the file of a name, and whether they are those of another place."""
    written = PurePosixPath(_composed(name.replace("\\", "/"))).parts
    elsewhere = any(part in ("/", "..") or part[1:] == ":" for part in written)
    return [part for part in written if part not in ("/", "..") and part[1:] != ":"], elsewhere


def _alike(parts: Sequence[str], others: Sequence[str]) -> int:
    """How many of the last parts of two names are the same."""
    count = 0
    for own, other in zip(reversed(parts), reversed(others), strict=False):
        if own != other:
            break
        count += 1
    return count
