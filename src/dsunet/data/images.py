"""Decoding images and masks, whatever way they are stored."""

from __future__ import annotations

import io
import logging
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from dsunet.errors import ImageError

__all__ = [
    "IMAGE_SUFFIXES",
    "Decoded",
    "Header",
    "Source",
    "TarMember",
    "decode",
    "name_of",
    "read_header",
    "read_image",
    "read_map",
    "read_mask",
    "to_rgb",
]

IMAGE_SUFFIXES = frozenset(
    (
        *(".avif", ".bmp", ".gif", ".heic", ".heif", ".jfif", ".jp2", ".jpeg", ".jpg"),
        *(".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"),
    )
)
"""Endings that are taken for images. HEIC and HEIF are known, so that they are not left out in
silence, but cannot be decoded."""

# What Pillow may take a file for, whatever its name says. Others stay off: EPS, for one, would be
# handed to Ghostscript, a program that runs whatever the file says.
_FORMATS = ("JPEG", "MPO", "PNG", "TIFF", "BMP", "DIB", "GIF", "WEBP", "JPEG2000", "AVIF", "PPM")

# What else a file may turn out to be: where its mark is, the mark, and the name.
_FOREIGN = (
    (4, b"ftypheic", "an HEIC picture: convert it to JPEG or PNG"),
    (4, b"ftypheix", "an HEIC picture: convert it to JPEG or PNG"),
    (4, b"ftypmif1", "an HEIF picture: convert it to JPEG or PNG"),
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

# Names that usually stand for a format.
_SUFFIXES = {
    "JPEG": {".jpg", ".jpeg", ".jfif"},
    "MPO": {".jpg", ".jpeg", ".jfif"},
    "PNG": {".png"},
    "TIFF": {".tif", ".tiff"},
    "BMP": {".bmp"},
    "DIB": {".bmp"},
    "GIF": {".gif"},
    "WEBP": {".webp"},
    "JPEG2000": {".jp2"},
    "AVIF": {".avif"},
    "PPM": {".pbm", ".pgm", ".pnm", ".ppm"},
}

_SIXTEEN_BIT = {"I;16", "I;16B", "I;16L", "I;16N"}
_WITH_ALPHA = {"RGBA", "LA", "PA", "RGBa", "La"}
_ORIENTATION = 0x0112

# tifffile logs what it dislikes about a file; the error that it raises is what we report
logging.getLogger("tifffile").addHandler(logging.NullHandler())


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


def name_of(source: Source) -> str:
    """A source's file name, without folders."""
    return source.name.rsplit("/", 1)[-1] if isinstance(source, TarMember) else source.name


@dataclass(frozen=True)
class Header:
    """What an image file says about itself."""

    source: Source
    size: tuple[int, int]
    """Stored width and height in pixels."""
    format: str
    """Pillow's name of the format of the content."""
    orientation: int
    """EXIF orientation, 1 to 8: how to turn it to see it upright; 1 is as it is stored."""
    frames: bool
    """Whether there are more pages or frames than the first."""

    def seen_size(self, *, upright: bool = True) -> tuple[int, int]:
        """Width and height when it is shown upright, or as it is stored."""
        width, height = self.size
        return (height, width) if upright and self.orientation >= 5 else (width, height)

    @property
    def mislabelled(self) -> bool:
        """Whether the name ends like another format's."""
        suffix = Path(name_of(self.source)).suffix.lower()
        return suffix not in _SUFFIXES.get(self.format, {suffix})


@dataclass(frozen=True)
class Decoded(Header):
    """The first page or frame of an image file, as it is stored."""

    pixels: Image.Image
    """Not turned yet; smaller than `size` says if a preview was asked for."""

    def as_image(self, *, upright: bool = True) -> Image.Image:
        """8-bit RGB, see `to_rgb`; raises `ImageError` as that does."""
        try:
            image = _as_rgb(self.pixels)
        except ImageError as error:
            raise ImageError(f"{self.source}: {error}") from error
        return _turn(image, self.orientation) if upright else image

    def as_mask(self, *, upright: bool = True) -> Image.Image:
        """8-bit grey, see `read_mask`; raises `ImageError` as that does."""
        try:
            values = _mask_values(self.pixels)
        except ImageError as error:
            raise ImageError(f"{self.source}: {error}") from error
        mask = Image.fromarray(values)
        return _turn(mask, self.orientation) if upright else mask


@cache
def _formats() -> tuple[str, ...]:
    """Those of `_FORMATS` that this Pillow has."""
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def _open_file(source: Source) -> BinaryIO:
    """Opens a source for reading; of an archive the member alone is read."""
    if not isinstance(source, TarMember):
        return open(source, "rb")
    with open(source.archive, "rb") as file:
        file.seek(source.offset)
        return io.BytesIO(file.read(source.size))


def decode(source: Source, *, preview: int | None = None) -> Decoded:
    """Reads a file's first page or frame.

    Args:
        source: What to read. The content decides the format, not the name.
        preview: Read JPEGs at a size of about this many pixels a side or more, which is quicker;
            every byte is still read.

    Raises:
        ImageError: It is missing, empty, cut off, of an unknown format, or has more pixels than
            `PIL.Image.MAX_IMAGE_PIXELS` says is safe.
    """
    try:
        with _open_file(source) as file:
            return _read(source, file, preview)
    except ImageError as error:
        raise ImageError(f"{source}: {error}") from error
    except Exception as error:  # Pillow's decoders raise many kinds
        raise _unreadable(source, error) from error


def _read(source: Source, file: BinaryIO, preview: int | None) -> Decoded:
    start = file.read(4)
    file.seek(0)
    try:
        image = Image.open(file, formats=_formats())
    except UnidentifiedImageError:
        if start not in (b"II*\0", b"MM\0*"):
            raise
        return _read_by_tifffile(source, file)
    header = _header(source, image)
    _check_pixels(*header.size)
    if preview is not None:
        image.draft(None, (preview, preview))
    image.load()
    pixels = image.copy()  # free of the file and of its other frames
    if image.format == "TIFF":  # which Pillow alone turns while it loads
        pixels = _turn(pixels, {6: 8, 8: 6}.get(header.orientation, header.orientation))
    return Decoded(**vars(header), pixels=pixels)


def _header(source: Source, image: Image.Image) -> Header:
    """Of a file that was just opened."""
    orientation = _orientation(image)
    # Pillow gives a TIFF's size as it will be after loading, which turns it
    swapped = image.format == "TIFF" and orientation >= 5
    size = (image.height, image.width) if swapped else image.size
    # the second picture of a phone's JPEG is a depth map or a preview, not another page
    frames = image.format != "MPO" and bool(getattr(image, "is_animated", False))
    return Header(source, size, str(image.format), orientation, frames)


def _read_by_tifffile(source: Source, file: BinaryIO) -> Decoded:
    """TIFFs that Pillow does not take, such as RGB that claims to be grey (MinIsBlack)."""
    import tifffile

    file.seek(0)
    with tifffile.TiffFile(file) as tiff:
        page = tiff.pages.first
        size = (page.imagewidth, page.imagelength)
        samples, dtype = page.samplesperpixel, page.dtype
        _check_pixels(*size)
        if page.imagedepth != 1 or samples not in (1, 3, 4) or dtype not in (np.uint8, np.uint16):
            raise ImageError(
                f"a TIFF of {samples} samples a pixel of type {dtype} is not supported; needed are "
                "1, 3 or 4 of 8 or 16 bits: convert it"
            )
        values = page.asarray()
        if page.axes == "SYX":
            values = np.moveaxis(values, 0, -1)
        if samples > 1 and dtype == np.uint16:
            values = _scale_16_bit(values)
        tag = page.tags.get(_ORIENTATION)
        orientation = int(tag.value) if tag is not None and tag.value in _TURNS else 1
        pixels = Image.fromarray(np.ascontiguousarray(values))
        return Decoded(source, size, "TIFF", orientation, len(tiff.pages) > 1, pixels)


def _check_pixels(width: int, height: int) -> None:
    if width < 1 or height < 1:
        raise ImageError(f"its size is {width}×{height}, so it has no pixels; replace it")
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and width * height > limit:
        raise ImageError(_too_large(f"{width}×{height} "))


def _too_large(size: str = "") -> str:
    return (
        f"its {size}pixels are more than the {Image.MAX_IMAGE_PIXELS:,} that are decoded, for fear "
        "of files made to fill the memory; make it smaller"
    )


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    if isinstance(error, UnidentifiedImageError):
        return "its content is of no known format"
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _foreign(source: Source) -> str | None:
    """What a file is, if it is certain that it is no image, or none that we read."""
    try:
        with _open_file(source) as file:
            start = file.read(160)
    except OSError:
        return None
    if not start:
        return "the file is empty"
    if not start.strip(b"\0"):
        return "it starts with zeros; its copying may have failed"
    for offset, mark, name in _FOREIGN:
        if start.lstrip()[offset:].lower().startswith(mark.lower()):
            return f"it is {name}"
    return None


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # Pillow's EXIF parser raises many kinds
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _turn(image: Image.Image, orientation: int) -> Image.Image:
    return image.transpose(_TURNS[orientation]) if orientation in _TURNS else image


def _is_16_bit(image: Image.Image) -> bool:
    if image.mode != "I":
        return image.mode in _SIXTEEN_BIT
    values = np.asarray(image)
    return bool(values.min(initial=0) >= 0 and 255 < values.max(initial=0) <= 65535)


def _scale_16_bit(values: np.ndarray) -> np.ndarray:
    return np.round(values.astype(np.float32) * (255 / 65535)).astype(np.uint8)


def to_rgb(image: Image.Image) -> Image.Image:
    """A picture as 8-bit RGB, turned as its EXIF orientation says.

    Transparent pictures are put on white; 16-bit ones are scaled by their full range.

    Raises:
        ImageError: It holds floating-point values, or integers beyond 16 bits, whose range nobody
            knows.
    """
    image.load()  # TIFFs are turned, and forget their orientation, while they load
    return _turn(_as_rgb(image), _orientation(image))


def _as_rgb(image: Image.Image) -> Image.Image:
    if _is_16_bit(image):
        image = Image.fromarray(_scale_16_bit(np.asarray(image)))
    if image.mode == "F" or (image.mode == "I" and np.asarray(image).max(initial=0) > 255):
        kind = "floating-point values" if image.mode == "F" else "integers beyond 16 bits"
        raise ImageError(
            f"the picture holds {kind}, whose range is unknown; save it with 8 or 16 bits"
        )
    if image.mode in _WITH_ALPHA or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def read_image(source: Source, *, upright: bool = True) -> Image.Image:
    """An image file as `to_rgb` gives it; of an animated or multi-page file the first frame.

    Raises:
        ImageError: It cannot be decoded, see `decode`.
    """
    return decode(source).as_image(upright=upright)


def read_mask(source: Source, *, upright: bool = True) -> Image.Image:
    """A mask as 8-bit grey, 0 for background and 255 for object.

    Values 0 and 1 are taken for 0 and 255; in a palette of colours, every index but 0 is object; of
    RGB the luminance is taken, and what is transparent is background; soft grey values stay.

    Raises:
        ImageError: It cannot be decoded, or no value reaches 128 though some are above 0 (class
            numbers, say), so that it is unclear what the object is.
    """
    return decode(source).as_mask(upright=upright)


def _mask_values(image: Image.Image) -> np.ndarray:
    """H×W uint8 in 0..255."""
    values = _stored_mask_values(image)
    largest = int(values.max(initial=0))
    if 1 < largest < 128:
        raise ImageError(
            f"the largest value of this mask is {largest}; needed are 0 and 1, or 0 for background "
            "and 255 for object"
        )
    return values * np.uint8(255) if largest == 1 else values


def _stored_mask_values(image: Image.Image) -> np.ndarray:
    """H×W uint8, before 0 and 1 are told from 0 and 255."""
    if image.mode == "P" and not _is_grey_palette(image):
        return np.where(np.asarray(image) != 0, 255, 0).astype(np.uint8)
    if image.mode == "F":
        values = np.asarray(image)
        if not np.isfinite(values).all() or values.min(initial=0) < 0:
            raise ImageError("this mask holds values below 0, or some that are no numbers")
        scale = 255 if values.max(initial=0) <= 1 else 1
        return np.clip(np.round(values * scale), 0, 255).astype(np.uint8)
    if image.mode in _SIXTEEN_BIT or image.mode == "I":
        values = np.asarray(image).clip(0, 65535)
        small = values.max(initial=0) <= 255
        return values.astype(np.uint8) if small else _scale_16_bit(values)
    if image.mode in _WITH_ALPHA:
        with_alpha = image.convert("RGBA")
        if np.asarray(with_alpha)[..., 3].any():  # an alpha of zeros alone says nothing
            black = Image.new("RGBA", image.size, "black")
            image = Image.alpha_composite(black, with_alpha)
    if image.mode not in ("1", "L", "P", "RGB", "RGBA", "LA"):
        image = image.convert("RGB")  # Pillow makes no grey of CMYK, among others
    return np.asarray(image.convert("L"))


def _is_grey_palette(image: Image.Image) -> bool:
    colours = np.array(image.getpalette("RGB") or []).reshape(-1, 3)
    indices = np.unique(np.asarray(image))
    if indices.max(initial=0) >= len(colours):
        return False
    used = colours[indices]
    return bool((used == used[:, :1]).all())


def read_map(source: Source) -> np.ndarray:
    """A prediction map as H×W uint8: its grey values as they are stored, 16 bits scaled to 8.

    Raises:
        ImageError: It cannot be decoded.
    """
    pixels = decode(source).pixels
    if _is_16_bit(pixels):
        return _scale_16_bit(np.asarray(pixels))
    return np.asarray(pixels.convert("L"))


def read_header(source: Source) -> Header:
    """What an image file says about itself, without its pixels.

    Raises:
        ImageError: There is no header to read.
    """
    try:
        with _open_file(source) as file, Image.open(file, formats=_formats()) as image:
            return _header(source, image)
    except UnidentifiedImageError:
        return decode(source)  # a TIFF that Pillow does not take, or an error
    except Exception as error:  # Pillow's decoders raise many kinds
        raise _unreadable(source, error) from error


def _unreadable(source: Source, error: Exception) -> ImageError:
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return ImageError(f"{source}: {_too_large()}")
    reason = _foreign(source) or _reason(error)
    return ImageError(f"{source}: not a readable image ({reason}); replace it or leave it out")
