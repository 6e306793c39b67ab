"""Decoding images and masks, whatever way they are stored."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from dsunet.errors import ImageError

__all__ = ["IMAGE_SUFFIXES", "Source", "TarMember", "read_image", "read_mask"]

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})

# 16-bit modes of Pillow, and the value that is white in them.
_SIXTEEN_BIT = {"I;16", "I;16B", "I;16L", "I;16N"}


@dataclass(frozen=True)
class TarMember:
    """A file inside an uncompressed tar archive, read in place."""

    archive: Path
    name: str
    offset: int
    size: int

    def __str__(self) -> str:
        return f"{self.archive}:{self.name}"


Source = Path | TarMember


def _read_bytes(source: Source) -> io.BytesIO:
    if isinstance(source, TarMember):
        with open(source.archive, "rb") as file:
            file.seek(source.offset)
            return io.BytesIO(file.read(source.size))
    return io.BytesIO(source.read_bytes())


def _decode(source: Source) -> Image.Image:
    try:
        with warnings.catch_warnings():
            # Pillow only warns of images that are twice its limit of pixels; we refuse those too.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(_read_bytes(source))
            image.load()
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(
            f"{source}: too many pixels to decode safely ({error}); make it smaller"
        ) from error
    except Exception as error:  # Pillow's decoders raise many kinds
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ImageError(
            f"{source}: not a readable image ({reason}); replace it or leave it out"
        ) from error
    return image


def _scale_16_bit(image: Image.Image) -> Image.Image:
    values = np.asarray(image).astype(np.float32)
    return Image.fromarray(np.round(values * (255 / 65535)).astype(np.uint8))


def read_image(source: Source) -> Image.Image:
    """An image as 8-bit RGB, turned as its EXIF orientation says.

    Transparent images are put on white; 16-bit ones are scaled by their full range; of an animated
    or multi-page file the first frame is taken.

    Raises:
        ImageError: It cannot be decoded, or has more pixels than Pillow takes for safe.
    """
    image = ImageOps.exif_transpose(_decode(source))
    if image.mode in _SIXTEEN_BIT or (image.mode == "I" and _holds_16_bit(image)):
        image = _scale_16_bit(image)
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def _holds_16_bit(image: Image.Image) -> bool:
    values = np.asarray(image)
    return bool(values.min(initial=0) >= 0 and 255 < values.max(initial=0) <= 65535)


def read_mask(source: Source, *, stretch: bool = True) -> Image.Image:
    """A mask as 8-bit grey, 0 for background and 255 for object.

    Values 0 and 1 are taken for 0 and 255 (unless `stretch` is false); in a palette file, every
    index but 0 is object; of RGB the luminance is taken; soft grey values stay.

    Raises:
        ImageError: It cannot be decoded.
    """
    image = _decode(source)
    if image.mode in _SIXTEEN_BIT or (image.mode == "I" and _holds_16_bit(image)):
        image = _scale_16_bit(image)
    if image.mode == "P":
        return Image.fromarray(np.where(np.asarray(image) != 0, 255, 0).astype(np.uint8))
    image = image.convert("L")
    values = np.asarray(image)
    return Image.fromarray(values * 255) if stretch and values.max(initial=0) <= 1 else image
