"""Where a file's bytes are, and what else than an image they may turn out to be."""

from __future__ import annotations

import errno
import hashlib
import io
import stat
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path, PurePath
from typing import BinaryIO

from dsunet.support.files import stamp_of

__all__ = [
    "IMAGE_SUFFIXES",
    "Bytes",
    "ClassMasks",
    "EmptyMask",
    "Source",
    "TarMember",
    "content_stamp",
    "content_sum",
    "foreign_content",
    "has_heif",
    "is_image_name",
    "name_of",
    "open_source",
    "same_content",
]

IMAGE_SUFFIXES = frozenset(
    (
        *(".avif", ".bmp", ".gif", ".heic", ".heif", ".hif", ".jfif", ".jp2", ".jpeg", ".jpg"),
        *(".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"),
    )
)
"""Endings that are taken for images. HEIC and HEIF are among them also where pillow-heif is not
installed, so that they are not left out in silence."""

_HEIF = "an HEIC picture"
_NEEDS_HEIF = "pip install 'dsunet[heic]' reads them, or convert it to JPEG or PNG"

# What else a file may turn out to be: where its mark is, the mark, and the name.
_FOREIGN = (
    *(
        (4, f"ftyp{brand}".encode(), _HEIF)
        for brand in ("heic", "heix", "heim", "heis", "hevc", "hevx", "msf1", "mif1")
    ),
    (4, b"ftypavi", "an AVIF picture that is broken, or that this Pillow cannot read"),
    (4, b"ftyp", "a video"),
    (0, b"%PDF", "a PDF document"),
    (0, b"%!PS", "a PostScript document"),
    (0, b"8BPS", "a Photoshop document"),
    (0, b"PK\x03\x04", "a zip archive"),
    (0, b"\x1f\x8b", "a gzip archive"),
    (128, b"DICM", "a DICOM file"),
    (0, b"<svg", "an SVG drawing"),
    (0, b"<?xml", "an XML document"),
    (0, b"<!DOC", "a web page"),
    (0, b"<html", "a web page"),
)


@dataclass(frozen=True)
class TarMember:
    """A file inside an uncompressed tar archive, read in place."""

    archive: Path
    name: str
    offset: int
    size: int

    def __str__(self) -> str:
        return f"{self.archive}:{self.name}"


@dataclass(frozen=True)
class Bytes:
    """A file's content that is at hand already, from the network, say."""

    content: bytes = field(repr=False)
    name: str = ""
    """What messages call it, a file's name as a rule."""

    def __str__(self) -> str:
        return self.name or "the given bytes"


@dataclass(frozen=True)
class EmptyMask:
    """The mask of an image that has none, as an image without an object may: all background.

    It has no bytes; decoded, it has the image's size and orientation.
    """

    image: Source

    def __str__(self) -> str:
        return f"the empty mask of {self.image}"


@dataclass(frozen=True)
class ClassMasks:
    """A mask whose classes have files of their own."""

    parts: tuple[Path | TarMember | Bytes | None, ...]
    """The files in the order of the classes, one at least; `None` for a class without one."""

    @property
    def files(self) -> list[Path | TarMember | Bytes]:
        """Those that there are."""
        return [part for part in self.parts if part is not None]

    def __str__(self) -> str:
        more = f" and {len(self.files) - 1} more of other classes" if len(self.files) > 1 else ""
        return f"{self.files[0]}{more}"


Source = Path | TarMember | Bytes | EmptyMask | ClassMasks


def is_image_name(name: str) -> bool:
    """Whether a file of this name is taken for an image: by its ending, unless it is hidden."""
    return PurePath(name).suffix.lower() in IMAGE_SUFFIXES and not name.startswith(".")


def name_of(source: Source) -> str:
    """A source's file name, without folders."""
    if isinstance(source, EmptyMask):
        return name_of(source.image)
    if isinstance(source, ClassMasks):
        return name_of(source.files[0])
    return source.name if isinstance(source, Path) else source.name.rsplit("/", 1)[-1]


def open_source(source: Source) -> BinaryIO:
    """Opens a source for reading; of an archive the member alone is read.

    Files of several classes come one after the other, each with its size in front.
    """
    if isinstance(source, EmptyMask):
        return io.BytesIO()
    if isinstance(source, ClassMasks):
        return io.BytesIO(b"".join(map(_with_size, source.parts)))
    if isinstance(source, Bytes):
        return io.BytesIO(source.content)
    if isinstance(source, Path):
        if not stat.S_ISREG(source.stat().st_mode):  # reading a pipe could take for ever
            raise OSError(errno.EINVAL, "not a regular file")
        return open(source, "rb")
    with open(source.archive, "rb") as file:
        file.seek(source.offset)
        return io.BytesIO(file.read(source.size))


def _with_size(part: Path | TarMember | Bytes | None) -> bytes:
    if part is None:
        return b"-"
    with open_source(part) as file:
        content = file.read()
    return b"%d\n" % len(content) + content


def content_sum(source: Source) -> bytes:
    """SHA-256 of a source's content."""
    with open_source(source) as file:
        return hashlib.sha256(file.read()).digest()


def content_stamp(source: Source) -> tuple[int, int]:
    """What tells whether a source was written to; raises `OSError` if it is not there.

    Size in bytes and time of the last change in nanoseconds, of the file or of the archive that it
    is in. Bytes at hand and empty masks never change: theirs is the time 0.
    """
    if isinstance(source, EmptyMask):
        return 0, 0
    if isinstance(source, Bytes):
        return len(source.content), 0
    if isinstance(source, ClassMasks):
        stamps = [content_stamp(part) for part in source.files]
        return sum(size for size, _ in stamps), max(changed for _, changed in stamps)
    return stamp_of(source.archive if isinstance(source, TarMember) else source).of_content


def same_content(one: Source, other: Source) -> bool:
    """Whether two sources are one file, by whatever links, or have the same bytes, and have some.

    One that cannot be read is like no other.
    """
    try:
        if isinstance(one, Path) and isinstance(other, Path) and one.samefile(other):
            return True
        if _size(one) != _size(other):
            return False
        with open_source(one) as first, open_source(other) as second:
            if not (start := first.read(4096)) or start != second.read(4096):
                return False
            return first.read() == second.read()
    except OSError:
        return False


def _size(source: Source) -> int:
    return source.size if isinstance(source, TarMember) else content_stamp(source)[0]


def has_heif() -> bool:
    """Whether the package is there that HEIC pictures are read with."""
    return find_spec("pillow_heif") is not None


def foreign_content(source: Source) -> str | None:
    """What a file is, if it is certain that it is no image, or none that we read.

    A clause about it; of bytes without a name about `they`.
    """
    they = isinstance(source, Bytes) and not source.name
    try:
        with open_source(source) as file:
            start = file.read(160)
    except OSError:
        return None
    if not start:
        return "they are empty" if they else "the file is empty"
    if not start.strip(b"\0"):
        starts, its = ("they start", "their") if they else ("it starts", "its")
        return f"{starts} with zeros; {its} copying may have failed"
    for offset, mark, name in _FOREIGN:
        if start.lstrip()[offset:].lower().startswith(mark.lower()):
            if name is _HEIF:
                broken = f"{name} that is broken, or of a kind that pillow-heif cannot read"
                name = broken if has_heif() else f"{name}: {_NEEDS_HEIF}"
            return f"they are {name}" if they else f"it is {name}"
    return None
