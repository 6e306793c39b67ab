"""Decoding images and masks, whatever way they are stored."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeVar

import numpy as np
from PIL import Image, UnidentifiedImageError

from dsunet.config import ClassReading, MaskReading
from dsunet.data.class_masks import ClassValues, class_values_of, joined_values
from dsunet.data.masks import Stored, labels_of, stored_values
from dsunet.data.pixels import (
    ORIENTATION,
    as_colours,
    as_grey,
    as_rgb,
    orientation_of,
    scale_16_bit,
    turn,
    turn_back,
)
from dsunet.data.sources import (
    Bytes,
    ClassMasks,
    EmptyMask,
    Source,
    foreign_content,
    has_heif,
    name_of,
    open_source,
)
from dsunet.errors import ImageError, ImageFormatError, ImageSizeError

__all__ = [
    "ClassLabels",
    "Decoded",
    "Header",
    "Labels",
    "decode",
    "known_formats",
    "read_header",
    "read_image",
    "read_labels",
    "read_map",
    "read_mask",
]

_T = TypeVar("_T")

# tags of TIFF
_BITS, _COMPRESSION, _PHOTOMETRIC, _SAMPLES, _PLANAR = 258, 259, 262, 277, 284
_TILE_WIDTH, _SAMPLE_FORMAT, _PROFILE = 322, 339, 34675

# What Pillow may take a file for, whatever its name says. Others stay off: EPS, for one, would be
# handed to Ghostscript, a program that runs whatever the file says.
_FORMATS = (
    *("JPEG", "MPO", "PNG", "TIFF", "BMP", "DIB", "GIF", "WEBP", "JPEG2000", "AVIF", "PPM"),
    "HEIF",  # where pillow-heif is installed
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
    "HEIF": {".heic", ".heif", ".hif"},
}

# Formats whose values are only near those that were saved; WebP, AVIF and JPEG 2000 may be.
_LOSSY = {"JPEG", "MPO", "WEBP", "AVIF", "JPEG2000", "HEIF"}

# tifffile logs what it dislikes about a file; the error that it raises is what we report
logging.getLogger("tifffile").addHandler(logging.NullHandler())


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
        name = name_of(self.source)
        suffix = Path(name).suffix.lower()
        return bool(name) and suffix not in _SUFFIXES.get(self.format, {suffix})


class Labels(NamedTuple):
    """What a mask says of every pixel."""

    mask: Image.Image
    """8-bit grey, 0 for background and 255 for object."""
    ignored: Image.Image | None = None
    """8-bit grey, 255 where a pixel counts in neither loss nor measures, else 0; `None`: all
    count."""


class ClassLabels(NamedTuple):
    """What a mask of several classes says of every pixel."""

    masks: tuple[Image.Image, ...]
    """As of `Labels`, one for each class."""
    ignored: Image.Image | None = None
    """As of `Labels`."""


@dataclass(frozen=True)
class Decoded(Header):
    """The first page or frame of an image file, as it is stored."""

    pixels: Image.Image
    """Not turned yet; smaller than `size` says if a preview was asked for."""
    intensity: str = "full"
    """Which values are black and white where it is read as a picture, see `ModelConfig`."""
    deep: np.ndarray | None = None
    """H×W×C uint16, where Pillow has but 8 of 16 bits, and they are needed."""

    def as_image(self, *, upright: bool = True) -> Image.Image:
        """8-bit RGB, see `to_rgb`; raises `ImageError` as that does."""
        image = self._convert(lambda pixels: as_rgb(pixels, self.intensity, self.deep))
        return turn(image, self.orientation) if upright else image

    def as_colours(self, *, upright: bool = True) -> tuple[Image.Image, np.ndarray | None]:
        """Colours and opacity apart, see `dsunet.data.pixels.as_colours`.

        Returns:
            8-bit RGB, and H×W uint8 or, of an opaque picture, `None`.
        """
        colours, alpha = self._convert(lambda pixels: as_colours(pixels, self.intensity, self.deep))
        if upright:
            colours = turn(colours, self.orientation)
            alpha = None if alpha is None else turn(alpha, self.orientation)
        return colours, None if alpha is None else np.asarray(alpha)

    def as_mask(self, *, upright: bool = True) -> Image.Image:
        """8-bit grey, see `read_mask`; raises `ImageError` as that does."""
        return self.as_labels(upright=upright).mask

    def as_labels(self, reading: MaskReading | None = None, *, upright: bool = True) -> Labels:
        """See `read_labels`; raises `ImageError` as that does.

        By a `ClassReading` object is what is of any class.
        """
        if isinstance(reading, ClassReading):
            found = self.class_values(reading).union()
        else:
            found = self._convert(lambda pixels: labels_of(self._stored(pixels), reading))
        turns = self.orientation if upright else 1
        return Labels(turn(Image.fromarray(found.mask), turns), _turned(found.ignored, turns))

    def as_classes(self, reading: ClassReading, *, upright: bool = True) -> ClassLabels:
        """A mask for each class, see `class_values_of`; raises `ImageError` as that does."""
        found = self.class_values(reading)
        turns = self.orientation if upright else 1
        masks = tuple(turn(Image.fromarray(mask), turns) for mask in found.masks)
        return ClassLabels(masks, _turned(found.ignored, turns))

    def class_values(self, reading: ClassReading) -> ClassValues:
        """The same as arrays, not turned yet."""
        return self._convert(lambda pixels: class_values_of(self._stored(pixels, True), reading))

    def as_stored(self, *, indices: bool = False) -> Stored:
        """The values of a mask as they are stored; raises `ImageError` as `read_mask` does.

        With `indices` those of a palette, even of one of greys.
        """
        return self._convert(lambda pixels: self._stored(pixels, indices))

    def _stored(self, pixels: Image.Image, indices: bool = False) -> Stored:
        return stored_values(pixels, lossy=self.format in _LOSSY, indices=indices)

    def as_map(self) -> np.ndarray:
        """H×W uint8, see `read_map`; raises `ImageError` as that does."""
        return self._convert(as_grey)

    def _convert(self, convert: Callable[[Image.Image], _T]) -> _T:
        try:
            return convert(self.pixels)
        except ImageError as error:
            raise ImageError(f"{self.source}: {error}") from error
        except Exception as error:  # Pillow has modes that it cannot convert
            raise ImageError(
                f"{self.source}: its pixels cannot be used ({error}); save it as RGB or grey"
            ) from error


def _turned(ignored: np.ndarray | None, turns: int) -> Image.Image | None:
    """Ignored pixels as of `Labels`."""
    if ignored is None or not ignored.any():
        return None
    return turn(Image.fromarray(ignored.astype(np.uint8) * 255), turns)


@dataclass(frozen=True)
class _DecodedClasses(Decoded):
    """A mask whose classes have files of their own; its pixels say nothing."""

    parts: tuple[Decoded | None, ...] = ()

    def class_values(self, reading: ClassReading) -> ClassValues:
        stored = [None if part is None else part.as_stored() for part in self.parts]
        return self._convert(lambda _: joined_values(stored, reading))

    def as_stored(self, *, indices: bool = False) -> Stored:
        there = [part.as_labels(upright=False).mask for part in self.parts if part is not None]
        return Stored("grey", np.max([np.asarray(each) for each in there], 0).astype(np.int32))


@cache
def known_formats() -> tuple[str, ...]:
    """What a file may be taken for, as this Pillow calls it."""
    Image.init()
    if has_heif():
        from pillow_heif import register_heif_opener

        register_heif_opener(thumbnails=False)
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def decode(source: Source, *, preview: int | None = None, intensity: str = "full") -> Decoded:
    """Reads a file's first page or frame.

    Args:
        source: What to read. The content decides the format, not the name.
        preview: Read JPEGs at a size of about this many pixels a side or more, which is quicker;
            every byte is still read.
        intensity: Which of its values are black and white, see `dsunet.config.ModelConfig`.

    Raises:
        ImageError: It is missing, empty, cut off, of an unknown format, or has more pixels than
            `PIL.Image.MAX_IMAGE_PIXELS` says is safe.
    """
    if isinstance(source, EmptyMask):
        header = _empty_header(source)
        return Decoded(**vars(header), pixels=Image.new("L", header.size))
    if isinstance(source, ClassMasks):
        return _decode_classes(source)
    try:
        with open_source(source) as file:
            return _read(source, file, preview, intensity)
    except ImageError as error:
        raise type(error)(f"{source}: {error}") from error
    except Exception as error:  # Pillow's decoders raise many kinds
        raise _unreadable(source, error) from error


def _decode_classes(source: ClassMasks) -> Decoded:
    """The files of all classes, which need one size and one orientation."""
    parts = tuple(None if part is None else decode(part) for part in source.parts)
    first, *others = [part for part in parts if part is not None]
    for other in others:
        if (other.size, other.orientation) != (first.size, first.orientation):
            sizes = " and ".join("×".join(map(str, each.seen_size())) for each in (first, other))
            raise ImageError(
                f"{first.source} and {other.source} are masks of one picture, but have {sizes} px; "
                "make the sizes equal"
            )
    header = {"size": first.size, "format": first.format, "orientation": first.orientation}
    frames = any(part.frames for part in parts if part is not None)
    return _DecodedClasses(source, **header, frames=frames, pixels=first.pixels, parts=parts)  # type: ignore[arg-type]


def _read(source: Source, file: BinaryIO, preview: int | None, intensity: str) -> Decoded:
    start = file.read(4)
    file.seek(0)
    try:
        image = Image.open(file, formats=known_formats())
    except UnidentifiedImageError:
        if start not in (b"II*\0", b"MM\0*"):
            raise
        return _read_by_tifffile(source, file, intensity)
    if image.format == "TIFF" and _is_misread(image, intensity):
        return _read_by_tifffile(source, file, intensity)
    header = _header(source, image)
    if preview is not None:
        image.draft(None, (preview, preview))
    white_is_zero = image.format == "TIFF" and _tag(image, _PHOTOMETRIC) == 0
    loses_bits = intensity != "full" and _loses_bits(image)
    image.load()
    pixels = image.copy()  # free of the file and of its other frames
    if image.format == "TIFF":  # which Pillow alone turns while it loads
        pixels = turn_back(pixels, header.orientation)
        if white_is_zero and pixels.mode.startswith("I;16"):  # which Pillow minds for 8 bits alone
            inverted = Image.fromarray(np.uint16(65535) - np.asarray(pixels))
            inverted.info = pixels.info
            pixels = inverted
    elif image.format == "PNG":  # whose EXIF may come after the pixels
        header = replace(header, orientation=orientation_of(image))
    deep = _deep_values(file, header) if loses_bits else None
    return Decoded(**vars(header), pixels=pixels, intensity=intensity, deep=deep)


def _loses_bits(image: Image.Image) -> bool:
    """Whether Pillow, before it loads a picture, is about to take 8 bits of 16 of its colours."""
    if image.format == "TIFF":
        return image.mode in ("RGB", "RGBA") and set(_tag(image, _BITS) or ()) == {16}
    tiles = getattr(image, "tile", ()) if image.format == "PNG" else ()
    return image.mode in ("RGB", "RGBA") and any(str(t.args).endswith(";16B") for t in tiles)


def _deep_values(file: BinaryIO, header: Header) -> np.ndarray:
    """The values of a picture with 16 bits a colour, H×W×C uint16; Pillow has read it before."""
    try:
        import cv2
    except ImportError:
        raise ImageError(
            "it has 16 bits a colour, and to stretch them (`intensity`) the package OpenCV is "
            "needed: pip install 'dsunet[evaluate]'"
        ) from None
    file.seek(0)
    values = cv2.imdecode(np.frombuffer(file.read(), np.uint8), cv2.IMREAD_UNCHANGED)
    width, height = header.size
    turned = header.format == "TIFF" and header.orientation > 1
    fits = values is not None and values.dtype == np.uint16 and values.shape[:2] == (height, width)
    if values is None or not fits or turned or values.ndim != 3:
        raise ImageError(
            "it has 16 bits a colour, stored in a way of which only 8 can be read, too few for "
            "`intensity`; save it as PNG, or as TIFF without compression"
        )
    order = [2, 1, 0, 3][: values.shape[2]] if values.shape[2] > 2 else [0, 1]
    return np.ascontiguousarray(values[..., order])


def _is_misread(image: Image.Image, intensity: str) -> bool:
    """Whether Pillow would drop channels of a TIFF, or take 16 bits or signed ones for 8."""
    samples = _tag(image, _SAMPLES) or 1
    bits = set(image.tag_v2.get(_BITS, (8,)))  # type: ignore[attr-defined]
    planar_16 = _tag(image, _PLANAR) == 2 and bits != {8}
    one_channel = image.mode in ("1", "L", "P", "I", "F") or image.mode.startswith("I;")
    signed_8 = bits == {8} and set(_tag(image, _SAMPLE_FORMAT) or ()) == {2}
    whole_32 = image.mode == "I" and bits == {32}  # taken for signed ones
    loses_bits = intensity != "full" and _is_plain(image) and _loses_bits(image)
    return (
        (samples > 1 and (planar_16 or one_channel or loses_bits))
        or (signed_8 and _is_plain(image))
        or (whole_32 and _is_plain(image) and (_tag(image, _SAMPLE_FORMAT) or (1,))[0] == 1)
    )


def _is_plain(image: Image.Image) -> bool:
    """Whether a TIFF is neither compressed nor tiled."""
    return (_tag(image, _COMPRESSION) or 1) == 1 and _tag(image, _TILE_WIDTH) is None


def _tag(image: Image.Image, number: int) -> Any:
    return image.tag_v2.get(number)  # type: ignore[attr-defined]


def _header(source: Source, image: Image.Image) -> Header:
    """Of a file that was just opened; of PNG, EXIF counts here only before the pixels."""
    _check_pixels(*image.size)
    is_late = image.format == "PNG" and "exif" not in image.info  # asking would load the pixels
    orientation = 1 if is_late else orientation_of(image)
    # Pillow gives a TIFF's size as it will be after loading, which turns it
    swapped = image.format == "TIFF" and orientation >= 5
    size = (image.height, image.width) if swapped else image.size
    # the second picture of a phone's JPEG is a depth map or a preview, not another page
    frames = image.format != "MPO" and bool(getattr(image, "is_animated", False))
    return Header(source, size, str(image.format), orientation, frames)


def _read_by_tifffile(source: Source, file: BinaryIO, intensity: str) -> Decoded:
    """TIFFs that Pillow does not take, such as RGB that claims to be grey (MinIsBlack)."""
    import tifffile

    file.seek(0)
    with tifffile.TiffFile(file) as tiff:
        page = tiff.pages.first
        size = (page.imagewidth, page.imagelength)
        samples, dtype = page.samplesperpixel, page.dtype
        _check_pixels(*size)
        if page.compression != 1 or page.is_tiled:  # which could hide a bomb
            raise ImageError("a compressed or tiled TIFF of this kind is not supported; convert it")
        fits = samples in (1, 3, 4) and dtype in (np.uint8, np.uint16)
        one_number = samples == 1 and dtype is not None and dtype.kind in "iuf"
        if dtype is None or page.imagedepth != 1 or not (fits or one_number):
            raise ImageError(
                f"a TIFF of {samples} samples a pixel of type {dtype} is not supported; needed are "
                "1, 3 or 4 of 8 or 16 bits, or one number: convert it"
            )
        values, deep = page.asarray(), None
        if page.axes == "SYX":
            values = np.moveaxis(values, 0, -1)
        if samples > 1 and dtype == np.uint16:
            deep, values = values, scale_16_bit(values)
        elif not fits:
            whole = dtype.kind in "iu" and np.abs(values.astype(np.float64)).max() < 2**31
            values = values.astype(np.int32 if whole else np.float32)
        tag = page.tags.get(ORIENTATION)
        orientation = int(tag.value) if tag is not None and tag.value in range(1, 9) else 1
        pixels = Image.fromarray(np.ascontiguousarray(values))
        profile = page.tags.get(_PROFILE)
        if profile is not None and isinstance(profile.value, bytes):
            pixels.info["icc_profile"] = profile.value
        frames = len(tiff.pages) > 1
        return Decoded(source, size, "TIFF", orientation, frames, pixels, intensity, deep)


def _check_pixels(width: int, height: int) -> None:
    if width < 1 or height < 1:
        raise ImageError(f"its size is {width}×{height}, so it has no pixels; replace it")
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and width * height > limit:
        raise ImageSizeError(_too_large(f"{width}×{height} "))


def _too_large(size: str = "") -> str:
    return (
        f"its {size}pixels are more than the {Image.MAX_IMAGE_PIXELS:,} that are decoded, for fear "
        "of files made to fill the memory; make it smaller, or allow more (`max_pixels`; in Python "
        "PIL.Image.MAX_IMAGE_PIXELS)"
    )


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "its content is of no known format"
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def read_image(source: Source, *, upright: bool = True, intensity: str = "full") -> Image.Image:
    """An image file as `to_rgb` gives it; of an animated or multi-page file the first frame.

    Args:
        source: What to read.
        upright: Turn it as its EXIF orientation says.
        intensity: Which of its values are black and white, see `dsunet.config.ModelConfig`.

    Raises:
        ImageError: It cannot be decoded, see `decode`.
    """
    return decode(source, intensity=intensity).as_image(upright=upright)


def read_mask(source: Source, *, upright: bool = True) -> Image.Image:
    """A mask as 8-bit grey, 0 for background and 255 for object.

    Values 0 and 1 are taken for 0 and 255; in a palette of colours, the one index beside 0 is
    object; of black and one colour the colour is; what is transparent is background; soft edges
    stay.

    Raises:
        ImageError: It cannot be decoded, or its values do not say what the object is: class
            numbers, a third grey, several colours. `read_labels` reads those as it is told.
    """
    return decode(source).as_mask(upright=upright)


def read_labels(
    source: Source, reading: MaskReading | None = None, *, upright: bool = True
) -> Labels:
    """A mask and its ignored pixels, read as `reading` says; see `dsunet.data.masks.labels_of`.

    Raises:
        ImageError: As `read_mask`, where the reading says nothing; or the reading has numbers and
            the mask colours.
    """
    return decode(source).as_labels(reading, upright=upright)


def read_map(source: Source) -> np.ndarray:
    """A prediction map as H×W uint8: its grey values as they are stored, 16 bits scaled to 8.

    Raises:
        ImageError: It cannot be decoded.
    """
    return decode(source).as_map()


def read_header(source: Source) -> Header:
    """What an image file says about itself, without its pixels.

    Raises:
        ImageError: There is no header to read.
    """
    if isinstance(source, EmptyMask):
        return _empty_header(source)
    if isinstance(source, ClassMasks):
        return replace(read_header(source.files[0]), source=source)
    try:
        with open_source(source) as file, Image.open(file, formats=known_formats()) as image:
            return _header(source, image)
    except ImageError as error:
        raise type(error)(f"{source}: {error}") from error
    except UnidentifiedImageError:
        return decode(source)  # a TIFF that Pillow does not take, or an error
    except Exception as error:  # Pillow's decoders raise many kinds
        raise _unreadable(source, error) from error


def _empty_header(mask: EmptyMask) -> Header:
    """That of a mask like its image."""
    header = read_header(mask.image)
    if header.format == "PNG":  # whose EXIF may come after the pixels
        decoded = decode(mask.image)
        header = replace(header, orientation=decoded.orientation)
    return replace(header, source=mask, frames=False)


def _unreadable(source: Source, error: Exception) -> ImageError:
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return ImageSizeError(f"{source}: {_too_large()}")
    if isinstance(error, OSError) and error.errno is not None and error.strerror:
        return ImageError(f"{source}: cannot be read ({error.strerror.lower()}); look at the file")
    foreign = foreign_content(source)
    reason = foreign or _reason(error)
    unknown = foreign is not None or isinstance(error, UnidentifiedImageError)
    kind = ImageFormatError if unknown else ImageError
    if isinstance(source, Bytes) and not source.name:
        said = foreign.removeprefix("they ") if foreign else f"are no readable image ({reason})"
        return kind(f"{source} {said}; give the content of an image file")
    return kind(f"{source}: not a readable image ({reason}); replace it or leave it out")
