"""What a teacher says of every training image, brought to the part of it that training sees."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dsunet.data.augment import Box
from dsunet.data.dataset import Lesson
from dsunet.data.images import decode
from dsunet.data.pairs import by_stem, list_folder, stem_of
from dsunet.data.sources import Source
from dsunet.errors import DataError, few
from dsunet.maps.store import StoredImages

__all__ = ["Lessons", "MapFolder", "StoredMaps", "logits_of", "resize_part"]

# How near to 0 and 1 probabilities are taken to be at most: half a step of their number type.
_NEAREST = {"uint8": 0.5 / 255, "uint16": 0.5 / 65535}
_NEAREST_FLOAT = 1e-6


class Teacher(Protocol):
    """Where the maps of the training images are."""

    def maps(self, index: int, shape: tuple[int, int]) -> tuple[np.ndarray, ...]:
        """Logits 1×h×w and feature maps C×h'×w' of the whole of one image.

        Args:
            index: Number of the image.
            shape: Its width and height.

        Raises:
            DataError: They cannot be read.
        """
        ...


@dataclass(frozen=True)
class StoredMaps:
    """A network's maps, from a feature store."""

    stored: StoredImages
    sources: Sequence[Source]

    def maps(self, index: int, shape: tuple[int, int]) -> tuple[np.ndarray, ...]:
        place = self.stored.place(index, self.sources[index], ())
        found = None if place is None else self.stored.read(place)
        if found is None:
            raise DataError(
                f"the teacher's maps of {self.sources[index]} are no longer whole in "
                f"{self.stored.store.folder}; go on with `resume`, which computes them again"
            )
        return found


class MapFolder:
    """Maps that somebody has written: PNG (8 or 16 bits) or `.npy`, by the images' stems.

    Args:
        folder: Where they are.
        sources: The images; each needs a map.

    Attributes:
        identity: A sum over all that is read: changes with any of the maps.

    Raises:
        DataError: Maps are missing, or a stem means several images or maps.
    """

    def __init__(self, folder: Path, sources: Sequence[Source]) -> None:
        images, others = list_folder(folder)
        there = by_stem([*images, *(file for file in others if file.suffix == ".npy")])
        stems = [stem_of(source) for source in sources]
        twice = sorted(stem for stem, count in Counter(stems).items() if count > 1)
        if twice:
            raise DataError(
                f"{len(twice)} stems mean several images ({few(twice)}), so it is unclear whose "
                "maps are meant; rename them, or give the teacher's weights instead of its maps"
            )
        missing = [stem for stem in stems if stem not in there]
        if missing:
            raise DataError(
                f"{folder} lacks maps of {len(missing)} of {len(stems)} images ({few(missing)});"
                " predict these, too, or leave the images out"
            )
        self.files = [there[stem] for stem in stems]
        total = hashlib.sha256()
        for stem, file in sorted(zip(stems, self.files, strict=True)):
            total.update(stem.encode() + b"\0" + hashlib.sha256(file.read_bytes()).digest())
        self.identity = f"sha256:{total.hexdigest()}"

    def maps(self, index: int, shape: tuple[int, int]) -> tuple[np.ndarray, ...]:
        logits = logits_of(_read(self.files[index]))
        (height, width), (columns, rows) = logits.shape, shape
        # sides are whole pixels, so that each can be off by one where something was resized
        if abs(width * rows - height * columns) > max(width, height, rows, columns):
            raise DataError(
                f"{self.files[index]} is {width}×{height} px, and its image {columns}×{rows}; maps "
                "need the proportions of their image, such as those that dsunet predict writes"
            )
        return (logits[None],)


@dataclass(frozen=True)
class Lessons:
    """What the teacher says of training images, however these are cropped and flipped."""

    teacher: Teacher
    grids: tuple[tuple[int, int], ...] = ()
    """Height and width that each feature map is brought to."""

    def of(
        self,
        index: int,
        image: Image.Image,
        size: tuple[int, int],
        box: Box | None,
        axes: list[int],
        labelled: bool,
    ) -> Lesson:
        """Of one image.

        Args:
            index: Its number.
            image: The picture, before a crop.
            size: Height and width of the student's view.
            box: What is cut out of the picture: left, top, right and bottom in pixels.
            axes: What is flipped then: -1 is left and right, -2 top and bottom.
            labelled: Whether it has a mask.
        """
        maps = self.teacher.maps(index, image.size)
        part = (0.0, 0.0, 1.0, 1.0)
        if box is not None:
            (width, height), (left, top, right, bottom) = image.size, box
            part = (left / width, top / height, right / width, bottom / height)
        logits, *hints = (
            resize_part(each, grid, part).flip(axes)
            for each, grid in zip(maps, (size, *self.grids), strict=True)
        )
        return Lesson(logits, tuple(hints), torch.tensor(labelled))


def resize_part(
    maps: np.ndarray, size: tuple[int, int], part: tuple[float, float, float, float]
) -> Tensor:
    """A part of some maps, resized: C×h×w → C×H×W, float32.

    By Pillow's bilinear filter, which averages when it shrinks, as images are.

    Args:
        maps: C×h×w.
        size: H and W.
        part: Left, top, right and bottom in shares of the sides; need not fall on whole pixels.
    """
    _, height, width = maps.shape
    left, top, right, bottom = part
    box = (left * width, top * height, right * width, bottom * height)
    resized = [
        np.asarray(Image.fromarray(each).resize((size[1], size[0]), Image.Resampling.BILINEAR, box))
        for each in maps.astype(np.float32)
    ]
    return torch.from_numpy(np.stack(resized))


def logits_of(values: np.ndarray) -> np.ndarray:
    """Logits of probabilities, H×W float32.

    Args:
        values: uint8 of 0..255, uint16 of 0..65535, or floats in 0..1. Values nearer to the ends
            than half a step of the whole numbers, or 1e-6, are taken to be that near.
    """
    kind = values.dtype.name
    probability = values.astype(np.float64)
    if kind in _NEAREST:
        probability /= np.iinfo(values.dtype).max
    nearest = _NEAREST.get(kind, _NEAREST_FLOAT)
    probability = probability.clip(nearest, 1 - nearest)
    return np.asarray(np.log(probability / (1 - probability)), np.float32)


def _read(file: Path) -> np.ndarray:
    """A map as it is stored: H×W uint8, uint16, or floats in 0..1."""
    if file.suffix != ".npy":
        decoded = decode(file)
        if decoded.pixels.mode.startswith("I;16"):
            return np.asarray(decoded.pixels).astype(np.uint16)
        return decoded.as_map()
    try:
        values: np.ndarray = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{file} is no .npy file that can be read ({error}); replace it") from error
    values = values[0] if values.ndim == 3 and len(values) == 1 else values
    is_whole = values.dtype.name in _NEAREST
    if values.ndim != 2 or not values.size or not (is_whole or values.dtype.kind == "f"):
        raise DataError(
            f"{file} holds {values.dtype} of shape {values.shape}; a map is needed: height×width, "
            "floats in 0..1, uint8 or uint16"
        )
    if not is_whole and not (values.min() >= 0 and values.max() <= 1):  # nor NaN
        raise DataError(
            f"{file} has values from {values.min():g} to {values.max():g}; floats need 0..1, "
            "probabilities and not logits"
        )
    return values
