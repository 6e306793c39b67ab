"""Decoding images and masks, whatever way they are stored."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from dsunet.errors import ImageError

__all__ = [
    "IMAGE_SUFFIXES",
    "Source",
    "TarMember",
    "image_size",
    "read_image",
    "read_map",
    "read_mask",
    "to_rgb",
]

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})

# 16-bit modes of Pillow.
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
            # Pillow warns from its limit of pixels on and raises from twice that; we refuse both.
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


def _turn_upright(image: Image.Image) -> Image.Image:
    """As the EXIF orientation says; broken EXIF counts as none."""
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # Pillow's EXIF parser raises many kinds
        return image


def _is_16_bit(image: Image.Image) -> bool:
    if image.mode != "I":
        return image.mode in _SIXTEEN_BIT
    values = np.asarray(image)
    return bool(values.min(initial=0) >= 0 and 255 < values.max(initial=0) <= 65535)


def _scale_16_bit(image: Image.Image) -> Image.Image:
    values = np.asarray(image).astype(np.float32)
    return Image.fromarray(np.round(values * (255 / 65535)).astype(np.uint8))


def to_rgb(image: Image.Image) -> Image.Image:
    """A picture as 8-bit RGB, turned as its EXIF orientation says.

    Transparent pictures are put on white; 16-bit ones are scaled by their full range.

    Raises:
        ImageError: It holds floating-point values, whose range nobody knows.
    """
    image = _turn_upright(image)
    if _is_16_bit(image):
        image = _scale_16_bit(image)
    if image.mode == "F":
        raise ImageError(
            "the picture holds floating-point values of unknown range; save it with 8 or 16 bits"
        )
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def read_image(source: Source) -> Image.Image:
    """An image file as `to_rgb` gives it; of an animated or multi-page file the first frame.

    Raises:
        ImageError: It cannot be decoded, or has more pixels than Pillow takes for safe.
    """
    image = _decode(source)
    try:
        return to_rgb(image)
    except ImageError as error:
        raise ImageError(f"{source}: {error}") from error


def read_mask(source: Source) -> Image.Image:
    """A mask as 8-bit grey, 0 for background and 255 for object.

    Values 0 and 1 are taken for 0 and 255; in a palette of colours, every index but 0 is object; of
    RGB the luminance is taken; soft grey values stay.

    Raises:
        ImageError: It cannot be decoded, or no value reaches 128 though some are above 0 (class
            numbers, say), so that it is unclear what the object is.
    """
    image = _decode(source)
    if image.mode == "P" and not _is_grey_palette(image):
        return Image.fromarray(np.where(np.asarray(image) != 0, 255, 0).astype(np.uint8))
    if _is_16_bit(image):
        values = np.asarray(image)
        grey = image if values.max(initial=0) <= 1 else _scale_16_bit(image)
        values = np.asarray(grey).astype(np.uint8)
    else:
        values = np.asarray(image.convert("L"))
    largest = int(values.max(initial=0))
    if 1 < largest < 128:
        raise ImageError(
            f"{source}: the largest value of this mask is {largest}; needed are 0 and 1, or 0 for "
            "background and 255 for object"
        )
    return Image.fromarray(values * np.uint8(255) if largest == 1 else values)


def _is_grey_palette(image: Image.Image) -> bool:
    colours = np.array(image.getpalette("RGB") or []).reshape(-1, 3)
    used = colours[np.unique(np.asarray(image))]
    return bool((used == used[:, :1]).all())


def read_map(source: Source) -> np.ndarray:
    """A prediction map as H×W uint8: its grey values as they are stored.

    Raises:
        ImageError: It cannot be decoded.
    """
    return np.asarray(_decode(source).convert("L"))


def image_size(source: Source) -> tuple[int, int]:
    """Width and height of an image, upright, from its header alone.

    Raises:
        ImageError: There is no header to read.
    """
    try:
        if isinstance(source, TarMember):
            image = Image.open(_read_bytes(source))
        else:
            image = Image.open(source)
        with image:
            turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)
            return (image.height, image.width) if turned else image.size
    except Exception as error:  # Pillow's decoders raise many kinds
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ImageError(
            f"{source}: not a readable image ({reason}); replace it or leave it out"
        ) from error
