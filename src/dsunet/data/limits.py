"""How large pictures may be."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image

__all__ = ["pixels_allowed"]


@contextmanager
def pixels_allowed(most: int | None) -> Iterator[None]:
    """Lets this process, and those that it starts to read pictures, decode larger ones meanwhile.

    It is Pillow's own limit, `PIL.Image.MAX_IMAGE_PIXELS`, that is set and put back.

    Args:
        most: Pixels of a picture; `None` leaves the limit as it is.
    """
    before = Image.MAX_IMAGE_PIXELS
    if most is not None:
        Image.MAX_IMAGE_PIXELS = most
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before
