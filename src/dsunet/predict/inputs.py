"""What may be given as an image: files, pictures, arrays and tensors → 8-bit RGB and opacity."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np
from PIL import Image

from dsunet.data.images import decode
from dsunet.data.intensity import stretch
from dsunet.data.pixels import as_colours, orientation_of, over_white, scale_16_bit, turn
from dsunet.data.sources import Bytes
from dsunet.errors import ImageError

if TYPE_CHECKING:
    import torch
    from typing_extensions import TypeIs

__all__ = ["Given", "Taken", "as_picture", "as_taken", "several"]

# What is taken for one image, beside a tensor.
Given = (
    str
    | os.PathLike[str]
    | bytes
    | bytearray
    | memoryview
    | BinaryIO
    | Image.Image
    | np.ndarray[Any, Any]
)

_NEEDED = (
    "give a path, a file's content as bytes, a binary file, a PIL image, an array (H×W, or H×W×1, "
    "×3 RGB or ×4 RGBA) or a tensor (C×H×W)"
)
_CHANNELS = (1, 3, 4)


class Taken(NamedTuple):
    """An image as the network and the outputs take it."""

    picture: Image.Image
    """RGB, turned as its EXIF orientation says; colours of what is transparent as they are stored.
    """
    alpha: np.ndarray | None = None
    """Its opacity, H×W uint8; `None` if it is opaque everywhere."""

    @property
    def seen(self) -> Image.Image:
        """On white, as the network sees it."""
        alpha = None if self.alpha is None else Image.fromarray(self.alpha)
        return over_white(self.picture, alpha)


def several(given: object) -> Iterator[Any] | None:
    """The images one by one, if several are given; `None` for a single one.

    Several are a list, a tuple, an iterator (such as a generator) or a tensor B×C×H×W. A set has no
    order, and an open file, which is an iterator of lines, is one image.
    """
    if isinstance(given, list | tuple):
        return iter(given)
    if _is_tensor(given):
        return iter(given) if given.ndim == 4 else None
    if isinstance(given, Iterator) and not callable(getattr(given, "read", None)):
        return given
    return None


def _is_tensor(given: object) -> TypeIs[torch.Tensor]:
    """Whether it is a tensor of torch, which is not imported for that."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(given, torch.Tensor)


def as_picture(image: Given | torch.Tensor) -> Image.Image:
    """The picture of `as_taken`, on white."""
    return as_taken(image).seen


def as_taken(image: Given | torch.Tensor, intensity: str = "full") -> Taken:
    """An image as 8-bit RGB, turned as its EXIF orientation says, and its opacity.

    Args:
        image: A path, the content of a file as bytes or as a binary file that is open for reading,
            a PIL image, or an array or tensor.

            Arrays are H×W or H×W×1 (grey), H×W×3 (RGB) or H×W×4 (RGBA); tensors are the same with
            the channels in front: H×W, 1×H×W, 3×H×W or 4×H×W, on any device. Their values are
            uint8, uint16 (0..65535) or floats in 0..1. The order is RGB, never OpenCV's BGR, which
            `array[..., ::-1]` turns into it. What is transparent is put on white.
        intensity: Which values are black and white, see `dsunet.config.ModelConfig`; unless it is
            `full`, arrays and tensors may hold any numbers. Opacity keeps its own range.

    Raises:
        ImageError: It cannot be decoded, or is nothing of the kind.
    """
    if isinstance(image, str | os.PathLike):
        return Taken(*decode(Path(image), intensity=intensity).as_colours())
    if isinstance(image, bytes | bytearray | memoryview):
        return Taken(*decode(Bytes(bytes(image)), intensity=intensity).as_colours())
    if isinstance(image, Image.Image):
        return _of_picture(image, intensity)
    if _is_tensor(image):
        return _of_tensor(image, intensity)
    if isinstance(image, np.ndarray):
        return _of_array(image, intensity)
    if callable(getattr(image, "read", None)):
        return Taken(*decode(_content_of(image), intensity=intensity).as_colours())
    raise ImageError(f"an object of type {type(image).__name__} is no image; {_NEEDED}")


def _of_picture(image: Image.Image, intensity: str) -> Taken:
    if 0 in image.size:
        raise ImageError(f"the picture is {image.width}×{image.height} px, but needs at least one")
    image.load()  # TIFFs are turned, and forget their orientation, while they load
    colours, alpha = as_colours(image, intensity)
    orientation = orientation_of(image)
    return Taken(
        turn(colours, orientation),
        None if alpha is None else np.asarray(turn(alpha, orientation)),
    )


def _of_array(array: np.ndarray, intensity: str) -> Taken:
    if isinstance(array, np.ma.MaskedArray):
        raise ImageError("an array of type MaskedArray is no image; fill what is masked (.filled)")
    plain = np.asarray(array)
    fits = plain.ndim == 2 or (plain.ndim == 3 and plain.shape[2] in _CHANNELS)
    if not fits or plain.size == 0:
        raise ImageError(
            f"the array has shape {plain.shape} and type {plain.dtype}, but H×W (grey), or H×W×1, "
            "H×W×3 (RGB) or H×W×4 (RGBA) is needed, not empty"
        )
    said = f"the array has shape {plain.shape} and type {plain.dtype}"
    return _of_values(plain, said, intensity)


def _of_tensor(tensor: torch.Tensor, intensity: str) -> Taken:
    shape, kind = tuple(tensor.shape), str(tensor.dtype).removeprefix("torch.")
    what = f"the tensor has shape {shape} and type {kind}"
    fits = tensor.ndim == 2 or (tensor.ndim == 3 and shape[0] in _CHANNELS)
    if not fits or tensor.numel() == 0 or str(tensor.layout) != "torch.strided":
        raise ImageError(
            f"{what}, but C×H×W with 1 (grey), 3 (RGB) or 4 (RGBA) channels is needed, not empty; "
            "of H×W×C, permute(2, 0, 1)"
        )
    if tensor.is_floating_point():
        tensor = tensor.double() if kind == "float64" else tensor.float()
    values = tensor.detach().cpu().resolve_conj().resolve_neg().numpy()
    return _of_values(values if values.ndim == 2 else np.moveaxis(values, 0, 2), what, intensity)


def _of_values(values: np.ndarray, what: str, intensity: str) -> Taken:
    """Of H×W or H×W×C values; `what` begins the message."""
    if intensity == "full":
        pixels = _as_8_bit(values, what)
    elif values.dtype.kind not in "iuf":
        raise ImageError(f"{what}, but numbers are needed")
    elif values.ndim == 3 and values.shape[2] == 4:
        opacity = _as_8_bit(values[..., 3:], what)
        colours = stretch(values[..., :3], intensity, opacity[..., 0] > 0)
        pixels = np.concatenate([colours, opacity], axis=2)
    else:
        pixels = stretch(values, intensity)
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[..., 0]
    return _of_picture(Image.fromarray(np.ascontiguousarray(pixels)), "full")


def _as_8_bit(values: np.ndarray, what: str) -> np.ndarray:
    if values.dtype == np.uint8:
        return values
    if values.dtype.kind == "u" and values.dtype.itemsize == 2:
        return scale_16_bit(values)
    if values.dtype.kind != "f":
        raise ImageError(
            f"{what}, but uint8, uint16 or floats in 0..1 are needed; of other numbers, tell which "
            "are black and white (`intensity`)"
        )
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high <= 1):  # nor is NaN
        raise ImageError(
            f"{what} with values from {low:g} to {high:g}, but floats need to be in 0..1; scale "
            "them, give uint8, or tell which values are black and white by `intensity`"
        )
    return np.round(values.astype(np.float64) * 255).astype(np.uint8)


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
