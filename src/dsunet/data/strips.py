"""Large pictures that are read from top to bottom, a few rows at a time, by libvips."""

from __future__ import annotations

import logging
import struct
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from PIL import Image

from dsunet.data.augment import Box
from dsunet.data.images import Decoded, Header, known_formats, read_header
from dsunet.data.sources import Source, open_source
from dsunet.errors import ImageError

__all__ = ["STRIPS_FROM", "Strips", "strips_of", "vips"]


STRIPS_FROM = 1 << 25
"""Pixels from which on a picture that is cut into tiles is read so: of a smaller one, all pixels
and its whole map take less memory than a process that segments does anyhow."""

_ROWS = 256  # that are asked for at a time

# What libvips gives for what Pillow calls so: channels, and a number's type
_PLAIN: dict[str, tuple[int, tuple[str, ...]]] = {
    "L": (1, ("uchar",)),
    "RGB": (3, ("uchar", "ushort")),
    "RGBA": (4, ("uchar", "ushort")),
    "CMYK": (4, ("uchar",)),
    "I;16": (1, ("ushort",)),
    "I;16B": (1, ("ushort",)),
}
_TYPES = {"uchar": np.uint8, "ushort": np.uint16}
_PHOTOMETRIC, _PLANAR, _WHITE_IS_ZERO = 262, 284, 0  # tags of TIFF, and a value of the first
_LOADERS = {"JPEG": "jpegload", "MPO": "jpegload", "PNG": "pngload", "TIFF": "tiffload"}

# it logs what it dislikes about a file; the error that it raises is what we report
logging.getLogger("pyvips").addHandler(logging.NullHandler())


def vips() -> Any:
    """The package pyvips; raises `ImportError` if it is not there."""
    import pyvips

    pyvips.cache_set_max(0)  # which would keep pixels
    return pyvips


class _Facts(NamedTuple):
    """What Pillow says of a file before it decodes it."""

    mode: str
    info: dict[Any, Any]
    obstacle: str
    """Why it cannot be read from top to bottom; empty if it can."""


class Strips:
    """A picture of which parts are taken, each no further up than the ones before.

    No more rows are kept than one part has.

    Args:
        header: What its file says about itself.
        facts: The same as Pillow has it.
        image: The picture as libvips has opened it, for sequential access.
        intensity: Which of its values are black and white, see `ModelConfig`.
    """

    def __init__(self, header: Header, facts: _Facts, image: Any, intensity: str) -> None:
        self.header = header
        self.info = facts.info
        self._mode, self._image, self._intensity = facts.mode, image, intensity
        self._region = vips().Region.new(image)
        self._first = 0
        self._rows = np.empty((0, image.width, image.bands), _TYPES[image.format])

    def part(self, box: Box) -> Decoded:
        """What is in a box of the picture as it is stored: left, top, right and bottom.

        Raises:
            ImageError: The file is cut off or broken there.
        """
        left, top, right, bottom = box
        if self._first + len(self._rows) < bottom:
            self._read(top, bottom)
        values = self._rows[top - self._first : bottom - self._first, left:right]
        if values.dtype == np.uint16 and values.shape[2] > 1:  # as Pillow takes them
            values = (values >> 8).astype(np.uint8)
        values = values[..., 0] if values.shape[2] == 1 else values
        pixels = Image.fromarray(np.ascontiguousarray(values))
        if self._mode == "CMYK":  # which an array of four channels is not taken for
            pixels = Image.merge("CMYK", pixels.split())
        pixels.info = dict(self.info)
        header = replace(self.header, size=(right - left, bottom - top))
        return Decoded(**vars(header), pixels=pixels, intensity=self._intensity)

    def _read(self, top: int, bottom: int) -> None:
        """Makes the rows from one on up to another those that are at hand."""
        image, kept = self._image, self._rows[max(0, top - self._first) :]
        rows = np.empty((bottom - top, image.width, image.bands), self._rows.dtype)
        rows[: len(kept)] = kept
        self._rows = kept = rows[: len(kept)]
        for start in range(top + len(kept), bottom, _ROWS):
            count = min(_ROWS, bottom - start)
            content = _told(self.header.source, partial(self._fetch, start, count))
            part = np.frombuffer(content, rows.dtype).reshape(count, image.width, image.bands)
            rows[start - top : start - top + count] = part
        self._first, self._rows = top, rows

    def _fetch(self, start: int, count: int) -> Any:
        return self._region.fetch(0, start, self._image.width, count)


def strips_of(source: Source, intensity: str = "full") -> Strips | str:
    """A large picture, opened to be read from top to bottom; or why it cannot be, or need not.

    JPEG, PNG and TIFF can, whose files hold pixels in that order: but not progressive JPEGs and
    interlaced PNGs, which come in several passes over the picture, nor kinds of pixels that are
    rare. Values are those that `decode` gives.

    Args:
        source: What to read.
        intensity: Which of its values are black and white, see `ModelConfig`.

    Returns:
        Empty if the picture has less than `STRIPS_FROM` pixels, or is none at all, of which
        `decode` says more.

    Raises:
        ImageError: It has more pixels than are allowed, or is broken.
    """
    try:
        with open_source(source) as file, Image.open(file, formats=known_formats()) as image:
            if image.width * image.height < STRIPS_FROM:
                return ""
            facts = _Facts(image.mode, dict(image.info), _obstacle(image, file, intensity))
    except Exception:  # Pillow's decoders raise many kinds
        return ""
    header = read_header(source)
    if facts.obstacle:
        return facts.obstacle
    opened = _told(source, lambda: _opened(source, header.format))
    bands, types = _PLAIN[facts.mode]
    if opened.bands != bands or opened.format not in types:
        return f"its pixels are of a rare kind ({facts.mode}, {opened.bands} × {opened.format})"
    if intensity != "full" and opened.format == "ushort" and bands > 1:
        return "it has 16 bits a colour, which `intensity` needs"
    return Strips(header, facts, opened, intensity)


def _opened(source: Source, form: str) -> Any:
    package = vips()
    load = getattr(package.Image, _LOADERS[form] + ("" if isinstance(source, Path) else "_buffer"))
    # of a TIFF, libvips calls strips and tiles that are not there a mere warning, and gives black
    settings = {"access": "sequential", "fail_on": "warning" if form == "TIFF" else "error"}
    if isinstance(source, Path):
        return load(str(source), **settings)
    with open_source(source) as file:
        return load(file.read(), **settings)


def _obstacle(image: Image.Image, file: BinaryIO, intensity: str) -> str:
    """Why a picture cannot be read from top to bottom; empty if it can."""
    if image.format not in _LOADERS:
        return f"{image.format} is decoded as a whole"
    if find_spec("pyvips") is None:
        return "the package pyvips is missing (pip install 'dsunet[huge]')"
    if intensity == "percentile":
        return "`intensity` percentile looks at all of its pixels first"
    if image.info.get("progressive") or image.info.get("progression"):
        return "it is a progressive JPEG"
    if image.info.get("interlace"):
        return "it is an interlaced PNG"
    if image.mode not in _PLAIN or "transparency" in image.info:
        return f"its pixels are of a rare kind ({image.mode})"
    if image.format == "TIFF":
        tags = image.tag_v2  # type: ignore[attr-defined]
        if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO or tags.get(_PLANAR) == 2:
            return "its pixels are of a rare kind (white is zero, or channels lie apart)"
    if image.format == "PNG" and "exif" not in image.info and _has_late_chunks(file):
        return "its EXIF may come after its pixels"
    return ""


def _has_late_chunks(file: BinaryIO) -> bool:
    """Whether a PNG has anything but its end after its pixels."""
    place, after = 8, False
    while True:
        file.seek(place)
        head = file.read(8)
        if len(head) < 8:
            return False
        length, kind = struct.unpack(">I4s", head)
        if kind == b"IDAT":
            after = True
        elif after:
            return bool(kind != b"IEND")
        place += 12 + length


def _told(source: Source, work: Callable[[], Any]) -> Any:
    """What some work with libvips gives; raises `ImageError` where that says that it is broken."""
    try:
        return work()
    except vips().Error as error:
        said = str(error).splitlines()  # what could not be called, and then reasons
        reason = said[1].strip() if len(said) > 1 else "broken"
        raise ImageError(
            f"{source}: not a readable image ({reason}); replace it or leave it out"
        ) from error
