"""An output as a file's bytes: formats, resolution, and what is kept of EXIF."""

from __future__ import annotations

import io
import math
from pathlib import PurePath
from typing import Any, NamedTuple

from PIL import ExifTags, Image

from dsunet.data.images import Decoded
from dsunet.support.files import PNG_LEVEL

__all__ = ["FORMATS", "LARGEST", "Kept", "encode", "format_of", "kept_of"]

FORMATS = ("png", "webp", "jpg")
"""Of the files that can be written, by their endings."""

LARGEST = {"png": 2**31 - 1, "webp": 16383, "jpg": 65500}
"""The longest side in pixels that each can hold."""

# Of EXIF's first directory: sizes, places of strips and previews, resolution (which is told
# apart), and blocks that may hold the place once more (XMP, Photoshop, IPTC) or a colour profile.
_DROPPED = frozenset(
    (
        *(0x0100, 0x0101, 0x0102, 0x0103, 0x0106, 0x0111, 0x0115, 0x0116, 0x0117, 0x011C),
        *(0x011A, 0x011B, 0x0128, 0x0201, 0x0202, 0x02BC, 0x83BB, 0x8649, 0x8773),
        *(0x8769, 0x8825, 0xA005),  # directories, which are copied one by one
    )
)
_MAKER_NOTE, _COLOUR_SPACE, _SRGB = 0x927C, 0xA001, 1
_DROPPED_BELOW = frozenset((_MAKER_NOTE, 0xA002, 0xA003, 0xA005))  # sizes in pixels, interop


class Kept(NamedTuple):
    """What an output keeps of its image's file beside pixels."""

    dpi: tuple[float, float] | None = None
    """Pixels per inch, across and down."""
    exif: Image.Exif | None = None


def format_of(name: str) -> str | None:
    """The format that a file's ending stands for; `None` if it cannot be written."""
    suffix = PurePath(name).suffix.lower().removeprefix(".")
    suffix = "jpg" if suffix in ("jpeg", "jfif") else suffix
    return suffix if suffix in FORMATS else None


def kept_of(
    decoded: Decoded, *, upright: bool = True, exif: bool = False, gps: bool = False
) -> Kept:
    """What to keep of a file.

    Args:
        decoded: The file.
        upright: Whether outputs are turned as its EXIF orientation says.
        exif: Keep EXIF: no maker's notes, no preview; outputs need no more turning, and it says so.
        gps: Keep the place in it, too.
    """
    info = decoded.pixels.info
    dpi = _resolution(info.get("dpi"))
    if dpi and upright and decoded.orientation >= 5:
        dpi = dpi[1], dpi[0]
    return Kept(dpi, _cleaned(info.get("exif"), gps) if exif else None)


def _resolution(given: Any) -> tuple[float, float] | None:
    """Both numbers, if they make sense."""
    try:
        across, down = (float(value) for value in given)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    sane = all(math.isfinite(value) and 1 <= value <= 30_000 for value in (across, down))
    return (across, down) if sane else None


def _cleaned(content: Any, gps: bool) -> Image.Exif | None:
    """EXIF without what is not for others' eyes, or no longer true; `None` if it is broken."""
    if not isinstance(content, bytes):
        return None
    try:
        before, after = Image.Exif(), Image.Exif()
        before.load(content)
        after.update({tag: value for tag, value in before.items() if tag not in _DROPPED})
        after[ExifTags.Base.Orientation] = 1
        below = before.get_ifd(ExifTags.IFD.Exif)
        kept = {tag: value for tag, value in below.items() if tag not in _DROPPED_BELOW}
        if _COLOUR_SPACE in kept:
            kept[_COLOUR_SPACE] = _SRGB
        after.get_ifd(ExifTags.IFD.Exif).update(kept)
        if gps:
            after.get_ifd(ExifTags.IFD.GPSInfo).update(before.get_ifd(ExifTags.IFD.GPSInfo))
        after.tobytes()  # fails here, not later
    except Exception:  # Pillow's EXIF parser raises many kinds
        return None
    return after


def encode(picture: Image.Image, format: str = "png", kept: Kept = Kept()) -> bytes:  # noqa: A002, B008 -- as Pillow calls it; never changed
    """A picture as a file's content.

    PNG is compressed at a low level, see `PNG_LEVEL`: quicker, and a little larger. WebP loses
    nothing; JPEG is of quality 95 with colours at full size.

    Args:
        picture: Grey, RGB or RGBA, RGBA not for jpg.
        format: Of `FORMATS`.
        kept: What to tell of the image's file. WebP has no resolution.
    """
    settings: dict[str, Any] = {"icc_profile": None}  # what is in the picture is sRGB
    if kept.exif is not None:
        settings["exif"] = kept.exif
    if kept.dpi is not None and format != "webp":
        settings["dpi"] = kept.dpi
    if format == "png":
        settings |= {"format": "PNG", "compress_level": PNG_LEVEL}
    elif format == "webp":
        settings |= {"format": "WEBP", "lossless": True, "exact": True, "quality": 0, "method": 0}
    else:
        settings |= {"format": "JPEG", "quality": 95, "subsampling": 0}
        if kept.dpi is not None:
            settings["dpi"] = tuple(round(value) for value in kept.dpi)
    file = io.BytesIO()
    picture.save(file, **settings)
    return file.getvalue()
