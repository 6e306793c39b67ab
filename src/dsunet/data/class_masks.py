"""What the values of a mask of several classes mean: stored pixels → a mask for each class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dsunet.config import ClassReading, MaskReading
from dsunet.config.masks import MaskValue, value_name
from dsunet.data.masks import MaskLabels, Stored, labels_of, listed, places_of
from dsunet.errors import ImageError

__all__ = ["ClassValues", "class_values_of", "index_of", "joined_values"]


class ClassValues(NamedTuple):
    """What a mask says of every pixel and class."""

    masks: np.ndarray
    """C×H×W uint8: 255 where a pixel is of the class, else 0; 0 where ignored."""
    ignored: np.ndarray | None
    """H×W bool; `None` where nothing is told to be ignored."""
    met: frozenset[MaskValue]
    """The values of the classes that it holds."""
    overlaps: bool = False
    """Whether classes lay over each other that exclude each other: the smaller is on top."""

    def union(self) -> MaskLabels:
        """As a mask of what is of any class."""
        return MaskLabels(self.masks.max(0), self.ignored, "told", self.met)


def class_values_of(stored: Stored, reading: ClassReading) -> ClassValues:
    """A mask whose values say the class of a pixel.

    Args:
        stored: Its values; of a palette the indices.
        reading: What they mean.

    Raises:
        ImageError: It holds a value that is no class's, not background's and not ignored; or it
            holds colours, and classes are numbers; or its format changes numbers.
    """
    objects, background, skipped = reading.objects, reading.background, reading.skipped
    numbers = [value for value in objects if isinstance(value, int) and value]
    if stored.kind == "colour" and numbers:
        raise ImageError(
            f"it holds colours ({listed(stored.counts())}), but the classes are numbers "
            f"({reading.listed()}); give a `class_table` with their colours, or masks of indices"
        )
    if stored.lossy and numbers:
        raise ImageError(
            "its format changes values, so that numbers of classes cannot be told; save it as PNG"
        )
    told = [*objects, *background, *([] if skipped is None else [skipped])]
    places = places_of(stored, told)
    known = np.any(places, axis=0)
    if not known.all() and not stored.lossy:
        raise _unknown(stored, reading, ~known)
    masks = np.stack(places[: len(objects)]).astype(np.uint8) * np.uint8(255)
    met = frozenset(value for value, place in zip(objects, places, strict=False) if place.any())
    return ClassValues(masks, None if skipped is None else places[-1], met)


def _unknown(stored: Stored, reading: ClassReading, where: np.ndarray) -> ImageError:
    counts = stored.counts()
    within = Stored(stored.kind, stored.values[where][:, None], palette=stored.palette).counts()
    odd = {value: counts[value] for value in within}
    shares = {value: 100 * n / where.size for value, n in odd.items()}
    first = sorted(shares.items(), key=lambda item: -item[1])[:4]
    values = ", ".join(f"{value_name(value)} ({share:.2g} %)" for value, share in first)
    background = [value_name(value) for value in reading.background]
    rest = f", background is {' or '.join(background)}" if background else ""
    ignored = "" if reading.skipped is None else f", {value_name(reading.skipped)} is ignored"
    many = f" and {len(shares) - 4} more" if len(shares) > 4 else ""
    return ImageError(
        f"it holds {values}{many}, but the classes are {reading.listed()}{rest}{ignored}; name the "
        "missing ones (`classes`, `class_table`), or ignore the value (`ignore_value`)"
    )


def joined_values(parts: Sequence[Stored | None], reading: ClassReading) -> ClassValues:
    """A mask whose classes have files of their own, each of which says where its class is.

    Args:
        parts: The values of each class's file, in their order, all of one size; `None` where a
            picture has none.
        reading: Whether classes exclude each other, and which value of the files is ignored.

    Raises:
        ImageError: The values of one do not say what is object.
    """
    one = MaskReading(ignore_value=reading.ignore_value, invert=reading.invert)
    found = [None if part is None else labels_of(part, one) for part in parts]
    size = next(each.mask.shape for each in found if each is not None)
    masks = np.stack([np.zeros(size, np.uint8) if x is None else x.mask for x in found])
    skipped = [each.ignored for each in found if each is not None and each.ignored is not None]
    ignored = np.any(skipped, axis=0) if skipped else None
    if ignored is not None:
        masks = np.where(ignored, np.uint8(0), masks)
    areas = (masks >= 128).sum((1, 2))
    values = zip(reading.objects, areas, strict=True)
    met = frozenset(value for value, area in values if area)
    several = (masks >= 128).sum(0) > 1
    if not reading.exclusive or not several.any():
        return ClassValues(masks, ignored, met)
    free = np.ones(size, bool)
    for number in np.argsort(areas, kind="stable"):
        masks[number][~free] = 0
        free &= masks[number] < 128
    return ClassValues(masks, ignored, met, overlaps=True)


def index_of(masks: np.ndarray) -> np.ndarray:
    """C×H×W uint8 masks as one of numbers: H×W uint8, 0 for background and 1 to C for classes.

    Of classes over each other the first has the pixel.
    """
    found = masks >= 128
    numbers = found.argmax(0).astype(np.uint8) + np.uint8(1)
    return np.where(found.any(0), numbers, np.uint8(0))
