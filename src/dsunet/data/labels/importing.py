"""Labels of any format → `images/` and `masks/`, through broken pictures and interruptions."""

from __future__ import annotations

import csv
import errno
import hashlib
import io
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image

from dsunet.data.images import decode, read_header
from dsunet.data.labels.annotated import MANIFEST, Annotated, Picture
from dsunet.data.labels.drawing import Drawing, embedded
from dsunet.data.labels.wanted import Wanted, what_is_wanted
from dsunet.errors import DataError, OutputError, few
from dsunet.support.files import (
    PNG_LEVEL,
    check_writable,
    clear_temporaries,
    encode_text,
    lock_folder,
    stamp_of,
    temporary_beside,
    write_atomically,
    write_json,
)

__all__ = ["CLASSES", "FAILURES", "Imported", "import_labels"]

FAILURES = "failures.csv"
"""Pictures that were left out, each with the reason."""
CLASSES = "classes.csv"
"""With `by_class`, the table of the classes' values, see `dsunet.data.class_tables`."""

# Of pictures that files of labels hold.
_ENDINGS = {"JPEG": ".jpg", "MPO": ".jpg", "PNG": ".png", "WEBP": ".webp", "BMP": ".bmp"}

# What folders of images are called; a pair is not called by it.
_IMAGES = frozenset(("images", "imgs", "jpegimages", "image", "data"))


@dataclass
class Imported:
    """What an import came to."""

    format: str = ""
    written: int = 0
    """Pairs that were written."""
    skipped: int = 0
    """Pairs that were there already."""
    failures: list[tuple[str, str]] = field(default_factory=list)
    """Pictures that were left out, each with the reason."""
    values: dict[int, str] = field(default_factory=dict)
    """What the values of the masks mean."""
    empty: list[str] = field(default_factory=list)
    """Pairs without an object of the chosen classes."""
    objects: int = 0
    """How many shapes of these classes the labels have."""
    pixelless: int = 0
    """How many of the shapes that were drawn have no pixel in their picture."""
    overlaps: int = 0
    """Pictures with shapes of several classes on top of each other, where that matters."""
    turned: int = 0
    """Pictures with an EXIF orientation whose labels would fit both upright and as it is stored."""
    ignored: int = 0
    """Pairs whose masks have pixels that do not count."""
    unlisted: list[str] = field(default_factory=list)
    """As of `Annotated`, and so are those that follow."""
    lost: int = 0
    said: list[str] = field(default_factory=list)
    unclear: str = ""
    """Why the masks do not say alike what is object; empty if they do."""

    @property
    def complete(self) -> bool:
        """Whether nothing was left out."""
        return not self.failures and not self.lost and not self.unclear


def import_labels(
    found: Annotated,
    output: str | Path,
    *,
    classes: Sequence[str] | None = None,
    by_class: bool = False,
    link: bool = False,
    progress: Callable[[int, int], None] | None = None,
    report: Imported | None = None,
) -> Imported:
    """Makes a data set of `images/` and `masks/` of labels; a broken picture does not stop others.

    Masks have 255 where an object of a chosen class is, else 0, and 128 where the labels say that
    pixels do not count. With `by_class` they have the class's number, from 1 on, in the order of
    the classes; of shapes over each other the smaller is on top, and 255 does not count. Every file
    is whole or not there; after an interruption the same call goes on. The folder also gets
    `labels.json` (what came from where), with `by_class` `classes.csv` (a table of the values), and
    `failures.csv` if pictures had to be left out.

    Args:
        found: What `read_labels` gives.
        output: A new or empty folder, or one that the same import began to fill.
        classes: Names or numbers of the classes to take, or values of masks; all if not given.
        by_class: Give each class a value of its own, for a model of several classes, or to be read
            with `object_values`.
        link: Make hard links to the pictures instead of copies, where the file system can.
        progress: Called with the number of pictures done and the number of all.
        report: Is kept up to date while it goes on, for whoever interrupts it.

    Raises:
        ConfigError: `by_class` does not go with the labels, or there are too many classes.
        DataError: A class is unknown, or not one picture can be used.
        OutputError: The folder holds something else, or cannot be written to.
    """
    report = report if report is not None else Imported()
    report.format, report.unlisted, report.said = found.format, found.unlisted, found.said
    report.lost = found.lost
    work = _Import(found, Path(output), what_is_wanted(found, classes, by_class), link, report)
    report.values = work.wanted.meaning()
    root = work.root
    check_writable(root)
    names = pair_names(found.pictures)
    try:
        root.mkdir(parents=True, exist_ok=True)
        with lock_folder(root):
            work.begin()
            for done, picture in enumerate(found.pictures, 1):
                work.take(picture, names[done - 1])
                if progress:
                    progress(done, len(found.pictures))
            work.end(names)
    except OSError as error:
        raise _stopped(error, root) from error
    if not report.written and not report.skipped:
        raise DataError(
            f"not one of the {len(found.pictures)} pictures can be used; of the first: "
            f"{report.failures[0][0]}: {report.failures[0][1]}"
        )
    return report


def _stopped(error: OSError, root: Path) -> OutputError:
    return OutputError(
        f"{error.filename or root} cannot be written ({error.strerror or error}); what was written "
        "before is whole: make room, and give the same command again"
    )


def pair_names(pictures: Sequence[Picture]) -> list[str]:
    """What the pairs of pictures are called: a path with /, without an ending.

    As their files lie below the folder that all of them are in, but for folders called `images`; by
    one stem alone if some would lie beside folders of others, and with the ending where two would
    be called alike.
    """
    paths = [picture.path for picture in pictures if picture.path and not picture.stem]
    top = Path(os.path.commonpath([path.parent for path in paths])) if paths else Path()
    stems = [PurePosixPath(picture.stem or _stem(picture, top)) for picture in pictures]
    usable = [s for s, each in zip(stems, pictures, strict=True) if each.path or each.content]
    beside = {len(stem.parts) == 1 for stem in usable}
    if len(beside) > 1:  # folders beside files would not be looked into
        stems = [PurePosixPath("_".join(stem.parts)) for stem in stems]
    twice = Counter(str(s).casefold() for s, p in zip(stems, pictures, strict=True) if p.path)
    names: list[str] = []
    taken: set[str] = set()
    for stem, picture in zip(stems, pictures, strict=True):
        name = str(stem)
        if twice[name.casefold()] > 1 and picture.path is not None:
            name += "_" + picture.path.suffix[1:]
        while name.casefold() in taken:
            name += "_2"
        taken.add(name.casefold())
        names.append(name)
    return names


def _stem(picture: Picture, top: Path) -> str:
    if picture.path is None:
        return PurePosixPath(picture.name.replace("\\", "/")).stem or "picture"
    inside = PurePosixPath(picture.path.relative_to(top).as_posix())
    folders = [part for part in inside.parts[:-1] if part.lower() not in _IMAGES]
    # COCO's train2017 is a part of the set as `train` is
    folders = [re.sub(r"^(train|val|test)\d{4}$", r"\1", part) for part in folders]
    return str(PurePosixPath(*folders, inside.stem))


@dataclass
class _Import:
    """An import on its way from labels to files."""

    found: Annotated
    root: Path
    wanted: Wanted
    link: bool
    report: Imported
    drawing: Drawing = field(init=False)
    failed: set[str] = field(default_factory=set)
    """Names of the pairs that were left out."""

    def __post_init__(self) -> None:
        self.drawing = Drawing(self.wanted, self.report)

    def begin(self) -> None:
        """Notes what is imported; refuses a folder that holds something else."""
        note = self.root / MANIFEST
        for place in (self.root, *self.root.glob("images/**/"), *self.root.glob("masks/**/")):
            clear_temporaries(place)
        request = self._request()
        if not note.is_file():
            others = [each.name for each in self.root.iterdir() if each.name != ".lock"]
            if others:
                raise OutputError(
                    f"{self.root} holds other files ({few(sorted(others))}); choose another "
                    "`output`"
                )
        elif (changed := _changed(note, request)) is not None:
            raise OutputError(
                f"{self.root} was filled from other labels or in another way ({changed}); choose "
                "another `output`"
            )
        write_json(note, {"complete": False, "request": request})

    def _request(self) -> dict[str, Any]:
        """What the masks depend on."""
        digest = hashlib.sha256()
        for file in sorted(self.found.files):
            try:
                size, written = stamp_of(file).of_content
            except OSError:  # told of when it is read
                size = written = 0
            digest.update(encode_text(f"{os.path.realpath(file)}\0{size}\0{written}\n"))
        return {
            "format": self.found.format,
            "values": {str(value): name for value, name in self.wanted.meaning().items()},
            "reading": repr(self.wanted.reading),
            "labels": digest.hexdigest(),
        }

    def take(self, picture: Picture, name: str) -> None:
        """Writes one pair, or notes why it cannot be written."""
        shapes = [each for each in picture.shapes if self.drawing.is_wanted(each)]
        self.report.objects += sum(not each.ignored for each in shapes)
        try:
            image, mask = self._places(picture, name)
            if (values := _written(picture, image, mask)) is not None:
                self.report.skipped += 1
                self.report.ignored += bool((values == self.wanted.ignored).any())
            else:
                drawn = self.drawing.draw(picture, shapes)
                self._put(picture, image)
                _write(mask, _png(drawn))
                self.report.written += 1
            if not shapes and not picture.masks:
                self.report.empty.append(name)
        except DataError as error:
            self._leave_out(picture, name, str(error))
        except OSError as error:
            if error.errno not in (errno.ENAMETOOLONG, errno.EILSEQ):
                raise
            self._leave_out(picture, name, f"its name cannot be written ({error.strerror})")

    def _leave_out(self, picture: Picture, name: str, reason: str) -> None:
        self.failed.add(name)
        self.report.failures.append((picture.name, reason))

    def _places(self, picture: Picture, name: str) -> tuple[Path, Path]:
        if picture.trouble:
            raise DataError(picture.trouble)
        if picture.path is None and not picture.content:
            raise DataError("there is no such picture; give the folder that it lies in as `images`")
        if picture.path is not None:
            ending = picture.path.suffix
        else:
            ending = _ENDINGS.get(read_header(embedded(picture)).format, ".png")
        return self.root / "images" / f"{name}{ending}", self.root / "masks" / f"{name}.png"

    def _put(self, picture: Picture, target: Path) -> None:
        """The picture's bytes as they are, at their new place."""
        if picture.path is None:
            _write(target, embedded(picture).content)
            return
        if self.link and _linked(picture.path, target):
            return
        try:
            content = picture.path.read_bytes()
        except OSError as error:
            raise DataError(f"it cannot be read ({error.strerror})") from error
        _write(target, content)

    def end(self, names: Sequence[str]) -> None:
        """Writes what came from where, and what was left out."""
        report = self.report
        if not report.skipped:  # of pictures that were there already, masks were not read again
            report.unclear = self.drawing.unclear()
        _write_failures(self.root / FAILURES, report.failures)
        pictures = {
            name: {
                "image": str(picture.path or picture.name),
                "masks": [str(mask.path) for mask in picture.masks],
                "objects": dict(Counter(shape.label for shape in picture.shapes)),
            }
            for name, picture in zip(names, self.found.pictures, strict=True)
            if name not in self.failed
        }
        content = {"complete": True, "request": self._request(), "pictures": pictures}
        write_json(self.root / MANIFEST, content)
        if self.wanted.by_class:
            _write_table(self.root / CLASSES, self.wanted.meaning())


def _write(target: Path, content: bytes) -> None:
    """Writes a file that is whole or not there, but for a power cut: that `_is_done` finds.

    Flushing every one of many thousands to disk would take far longer than drawing them.
    """
    with temporary_beside(target) as temporary:
        temporary.write_bytes(content)
        os.replace(temporary, target)


def _png(image: Image.Image) -> bytes:
    encoded = io.BytesIO()
    image.save(encoded, "PNG", compress_level=PNG_LEVEL)
    return encoded.getvalue()


def _linked(source: Path, target: Path) -> bool:
    """Makes a hard link; whether the file system could."""
    with temporary_beside(target) as temporary:
        temporary.unlink()
        try:
            os.link(source.resolve(), temporary)
        except OSError:  # another file system, or one without links
            return False
        os.replace(temporary, target)
    return True


def _written(picture: Picture, image: Path, mask: Path) -> np.ndarray | None:
    """The mask of a pair that an earlier import has written; `None` unless both files are whole."""
    if not image.is_file() or not mask.is_file():
        return None
    try:
        length = len(embedded(picture).content) if picture.path is None else 0
        values = np.asarray(decode(mask).pixels)
        whole = image.stat().st_size == (length or (picture.path or image).stat().st_size)
    except (DataError, OSError):
        return None
    return values if whole else None


def _changed(note: Path, request: dict[str, Any]) -> str | None:
    """What differs from the import that began to fill a folder."""
    try:
        before = json.loads(note.read_bytes())["request"]
        changed = [name for name, value in request.items() if before[name] != value]
    except (OSError, ValueError, KeyError, TypeError):
        return f"{note.name} is none of an import"
    return ", ".join(changed) or None


def _write_table(file: Path, values: dict[int, str]) -> None:
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["name", "value"])
    rows.writerows([name, value] for value, name in values.items())
    write_atomically(file, encode_text(text.getvalue()))


def _write_failures(file: Path, failures: Sequence[tuple[str, str]]) -> None:
    if not failures:
        file.unlink(missing_ok=True)
        return
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["image", "reason"])
    rows.writerows(failures)
    write_atomically(file, encode_text(text.getvalue()))
