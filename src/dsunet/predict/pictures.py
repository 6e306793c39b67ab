"""What may be given as an image, and what comes back: the picture with the map of its object."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from dsunet.data.images import read_image
from dsunet.data.pixels import to_rgb
from dsunet.data.sources import Bytes
from dsunet.errors import ImageError
from dsunet.running.inference import quantise
from dsunet.visualize import cutout, overlay

__all__ = ["Given", "Segmentation", "as_picture"]

# What is taken for one image.
Given = str | Path | bytes | bytearray | memoryview | BinaryIO | Image.Image | np.ndarray


@dataclass(frozen=True)
class Segmentation:
    """One image and where its object is."""

    image: Image.Image
    """RGB, turned as its EXIF orientation says."""
    probability: np.ndarray
    """H×W float32 in 0..1, at the image's own size."""
    alpha: np.ndarray | None = None
    """The image's own opacity, H×W uint8; `None` if it is opaque everywhere."""

    def binary(self, threshold: float = 0.5) -> np.ndarray:
        """The object: H×W bool, true from `threshold` on."""
        return self.probability >= threshold

    def map(self, *, benchmark_normalization: bool = False) -> np.ndarray:
        """The probability as H×W uint8, see `dsunet.running.inference.quantise`."""
        return quantise(self.probability, benchmark_normalization=benchmark_normalization)

    def overlay(self, threshold: float = 0.5) -> Image.Image:
        """The image with the object tinted and outlined: RGB."""
        return overlay(self.image, self.probability, threshold)

    def cutout(self) -> Image.Image:
        """The image on a transparent background: RGBA."""
        return cutout(self.image, self.probability)


def as_picture(image: Given) -> Image.Image:
    """An image as 8-bit RGB, turned as its EXIF orientation says.

    Args:
        image: A path, the content of a file as bytes or as a binary file that is open for reading,
            a PIL image, or an array H×W×3 uint8 (RGB).

    Raises:
        ImageError: It cannot be decoded, or is nothing of the kind.
    """
    if isinstance(image, str | Path):
        return read_image(Path(image))
    if isinstance(image, bytes | bytearray | memoryview):
        return read_image(Bytes(bytes(image)))
    if isinstance(image, Image.Image):
        return to_rgb(image)
    if isinstance(image, np.ndarray):
        return _of_array(image)
    if callable(getattr(image, "read", None)):
        return read_image(_content_of(image))
    raise ImageError(
        f"an object of type {type(image).__name__} is no image; give a path, bytes, a binary file, "
        "a PIL image or an array (H×W×3 uint8, RGB)"
    )


def _of_array(array: np.ndarray) -> Image.Image:
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8:
        raise ImageError(
            f"the array has shape {array.shape} and type {array.dtype}, but H×W×3 uint8 (RGB) is "
            "needed"
        )
    return Image.fromarray(array)


def _content_of(file: BinaryIO) -> Bytes:
    """What a file holds from where it is read next."""
    name = getattr(file, "name", "")  # of a file without one on disk a number, or nothing
    name = name if isinstance(name, str) else ""
    try:
        content = file.read()
    except (OSError, ValueError) as error:  # such as one that is closed
        raise ImageError(f"{name or 'the given file'}: cannot be read ({error})") from error
    if not isinstance(content, bytes):
        raise ImageError(
            f"{name or 'the given file'} gives {type(content).__name__}, but bytes are needed; "
            'open it with mode "rb"'
        )
    return Bytes(content, name)
