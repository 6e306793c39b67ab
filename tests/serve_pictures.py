"""Pictures to send to a service, and the token of the one that has one."""

from __future__ import annotations

import io

from PIL import Image

from dsunet.data.synthetic import synthetic_pair

TOKEN = "a long enough token"


def encoded(form: str, size: tuple[int, int] = (120, 90), orientation: int = 1) -> bytes:
    """A picture's file."""
    picture = synthetic_pair(3, 160)[0].resize(size)
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    picture.save(file, form, exif=exif)
    return file.getvalue()
