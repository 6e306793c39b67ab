"""Objects that are too small to be seen at the size of the network's view."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
from PIL import Image

from dsunet.config.tiling import Tiling
from dsunet.data.sources import Source, name_of
from dsunet.errors import few

__all__ = ["Objects", "can_count", "count_objects", "describe_lost"]

_STEP = 32  # of a view's sides
_LARGEST = 2048  # views beyond this are no advice
_LOOKED_AT = 50  # so many of the smallest lost objects decide which view keeps all


@dataclass(frozen=True)
class Objects:
    """The connected objects of one mask."""

    source: Source
    count: int
    lost: int
    """How many of them leave no pixel of the view that is at least half object, or are smaller
    than one: whether they leave one is chance, then."""
    smallest: tuple[int, int]
    """Width and height of the smallest lost one in pixels of the mask; (0, 0) if none is lost."""
    side: int
    """Longer side in pixels, a multiple of 32, of the smallest view that keeps all; 0 if none up to
    2048 px does."""


def can_count() -> bool:
    """Whether the package is there that objects are told apart with."""
    return find_spec("scipy") is not None


def count_objects(source: Source, mask: Image.Image, view: tuple[int, int]) -> Objects:
    """The objects of a mask, and those that vanish when it is resized as the data set does.

    Objects are pixels of at least 128 that touch at sides or corners. One is lost if no pixel of
    the view that it lies in is at least half object (see `dsunet.data.views.mask_view`), or if its
    area is less than one pixel of the view.

    Args:
        source: Where the mask is from.
        mask: 8-bit grey, upright, at its own size.
        view: Height and width of the view in pixels.
    """
    from scipy import ndimage

    height, width = view
    labels, count = ndimage.label(np.asarray(mask) >= 128, np.ones((3, 3)))
    if not count or (mask.height <= height and mask.width <= width):
        return Objects(source, count, 0, (0, 0), max(view))
    seen = np.asarray(mask.resize((width, height), Image.Resampling.BICUBIC)) >= 128
    rows = np.arange(mask.height) * height // mask.height
    columns = np.arange(mask.width) * width // mask.width
    kept = np.zeros(count + 1, bool)
    kept[labels[seen[np.ix_(rows, columns)]]] = True
    areas = np.bincount(labels.ravel(), minlength=count + 1)
    kept &= areas * (height * width) >= mask.height * mask.width
    lost = np.flatnonzero(~kept[1:]) + 1
    if not lost.size:
        return Objects(source, count, 0, (0, 0), max(view))
    boxes = ndimage.find_objects(labels)
    smallest_first = lost[np.argsort(areas[lost], kind="stable")][:_LOOKED_AT]
    rows_of, columns_of = boxes[smallest_first[0] - 1]
    size = (columns_of.stop - columns_of.start, rows_of.stop - rows_of.start)
    least = mask.height * mask.width / int(areas[smallest_first[0]])
    side = _side_that_keeps(mask, [boxes[i - 1] for i in smallest_first], least, view)
    return Objects(source, count, lost.size, size, side)


def _side_that_keeps(
    mask: Image.Image, boxes: Sequence[tuple[slice, slice]], least: float, view: tuple[int, int]
) -> int:
    """The longer side of the smallest view of the same proportions that keeps some objects.

    It has `least` pixels or more.
    """
    longer = max(view)
    for side in range(longer // _STEP * _STEP + _STEP, _LARGEST + 1, _STEP):
        height, width = (max(_STEP, round(side * each / longer / _STEP) * _STEP) for each in view)
        if height * width >= least and all(_is_kept(mask, box, (height, width)) for box in boxes):
            return side
    return 0


def _is_kept(mask: Image.Image, box: tuple[slice, slice], view: tuple[int, int]) -> bool:
    """Whether a pixel of the view that the box lies in is at least half object."""
    across, down = mask.width / view[1], mask.height / view[0]
    left, right = math.floor(box[1].start / across), math.ceil(box[1].stop / across)
    top, bottom = math.floor(box[0].start / down), math.ceil(box[0].stop / down)
    area = (
        left * across,
        top * down,
        min(right * across, mask.width),
        min(bottom * down, mask.height),
    )
    pixels = mask.resize((right - left, bottom - top), Image.Resampling.BICUBIC, box=area)
    return bool((np.asarray(pixels) >= 128).any())


def describe_lost(
    found: Iterable[Objects], view: tuple[int, int], tiling: Tiling | None = None
) -> str:
    """How many objects vanish, and what keeps them, in one line; empty if none does.

    Args:
        found: Of every picture.
        view: Height and width of the view in pixels.
        tiling: The tiles that are seen in it, if pictures are cut into some.
    """
    every = list(found)
    lost = [each for each in every if each.lost]
    if not lost:
        return ""
    examples = few(
        [f"{name_of(each.source)}: {each.smallest[0]}×{each.smallest[1]} px" for each in lost], 3
    )
    side = 0 if any(not each.side for each in lost) else max(each.side for each in lost)
    larger = f"a view of {side} px keeps them (`sam_size`), or cut" if side else "cut"
    advice = f"{larger} the pictures into tiles (`tile`)"
    if tiling is not None:
        advice = f"smaller tiles than of {tiling.side} px keep them (`tile`)"
    return (
        f"{sum(each.lost for each in lost):,} of {sum(each.count for each in every):,} objects in "
        f"{len(lost):,} of {len(every):,} pictures leave less than a pixel in a view of "
        f"{view[1]}×{view[0]} px ({examples}): {advice}"
    )
