"""How large the pixels of a picture are, by what its file says."""

from __future__ import annotations

import math
import re
from typing import Any

from PIL import Image

from dsunet.config.objects import PixelSize
from dsunet.data.images import Header, known_formats, read_header
from dsunet.data.sources import Source, open_source
from dsunet.errors import ImageError

__all__ = ["read_pixel_size"]

# What programs and cameras write where they know nothing.
_DEFAULTS = (72.0, 96.0)
_INCH = 25.4  # mm
_DESCRIPTION, _X, _Y = 270, 282, 283  # tags of TIFF

# Units that ImageJ writes into a TIFF's description, in millimetres.
_IMAGEJ = {
    **dict.fromkeys(("nm",), 1e-6),
    **dict.fromkeys(("micron", "microns", "um", "µm", "μm", "\\u00b5m"), 1e-3),
    **dict.fromkeys(("mm",), 1.0),
    **dict.fromkeys(("cm",), 10.0),
    **dict.fromkeys(("m",), 1000.0),
    **dict.fromkeys(("inch", "in"), _INCH),
}


def read_pixel_size(source: Source) -> tuple[Header, PixelSize]:
    """What a file says of itself, and of its pixels: of the upright picture, in millimetres.

    Raises:
        ImageError: It says nothing, or what programs write where they know nothing; or the file
            cannot be read.
    """
    header = read_header(source)
    try:
        with open_source(source) as file, Image.open(file, formats=known_formats()) as image:
            return header, _size_of(source, image, header.orientation)
    except (OSError, ValueError, SyntaxError) as error:
        raise _unknown(source, "its resolution cannot be read") from error


def _size_of(source: Source, image: Image.Image, orientation: int) -> PixelSize:
    size = _by_imagej(image) or _by_dpi(source, image.info.get("dpi"))
    if orientation >= 5:
        return PixelSize(size.height, size.width, size.unit)
    return size


def _by_imagej(image: Image.Image) -> PixelSize | None:
    """ImageJ's TIFFs have pixels per unit, and the unit in the description."""
    tags: Any = getattr(image, "tag_v2", {})
    text = str(tags.get(_DESCRIPTION, ""))
    unit = re.search(r"^unit=(.+)$", text, re.MULTILINE)
    if not text.startswith("ImageJ=") or not unit:
        return None
    length = _IMAGEJ.get(unit[1].strip().lower())
    across, down = _number(tags.get(_X)), _number(tags.get(_Y))
    if length is None or not across or not down:
        return None
    return PixelSize(length / across, length / down, "mm")


def _by_dpi(source: Source, given: Any) -> PixelSize:
    try:
        across, down = map(_number, given)
    except (TypeError, ValueError):
        across = down = 0.0
    if not across or not down or across == down == 1.0:  # what Pillow says of TIFFs without
        raise _unknown(source, "it has no resolution tag")
    if across == down and any(abs(across - default) < 0.02 for default in _DEFAULTS):
        raise _unknown(
            source,
            f"its resolution tag says {across:.3g} dpi, which programs write where they know "
            "nothing",
            f" ({_INCH / across:.4g}mm if it is right)",
        )
    return PixelSize(_INCH / across, _INCH / down, "mm")


def _number(value: Any) -> float:
    """A resolution; 0 where it makes no sense."""
    try:
        number = float(value)
    except (TypeError, ValueError, ZeroDivisionError):
        return 0.0
    return number if math.isfinite(number) and 0 < number < 1e9 else 0.0


def _unknown(source: Source, reason: str, hint: str = "") -> ImageError:
    return ImageError(
        f"{source}: {reason}, so that it is not known how large a pixel is; give it as "
        f"`pixel_size`{hint}"
    )
