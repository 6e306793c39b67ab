"""A second, closer look at the object that a first one has found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from dsunet.data.augment import Box
from dsunet.predict.engines.around import EngineAround
from dsunet.predict.engines.base import Size

__all__ = ["ZoomEngine"]

FROM = 0.5
"""From which probability on a pixel belongs to what is looked at."""

ROOM = 0.25
"""What the second view shows around the object's box, at each side, as a share of the box's."""

LARGEST = 0.6
"""Up to which share of the picture the second view is worth its while."""


@dataclass(frozen=True)
class Zoomable:
    """A picture, and what another engine has made of it."""

    picture: Image.Image
    first: Any
    size: Size | None
    """Height and width of the map, if they are not the picture's."""


class ZoomEngine(EngineAround[Zoomable]):
    """Another engine, which segments each picture and then the part around the object again.

    A small object fills the second view, so that its outlines are finer. Both maps' mean is taken
    there; towards the second view's border, the first map alone. Where nothing is found, or the
    object fills the picture anyhow, there is no second look.

    Args:
        engine: What segments; its attributes are this one's.
    """

    def prepare(self, picture: Image.Image, size: Size | None = None) -> Zoomable:
        return Zoomable(picture, self._engine.prepare(picture, size), size)

    def probabilities(self, prepared: Sequence[Zoomable]) -> list[np.ndarray]:
        maps = self._engine.probabilities([one.first for one in prepared])
        boxes = {number: box for number, map_ in enumerate(maps) if (box := object_box(map_))}
        parts = [self._part(prepared[number], maps[number], box) for number, box in boxes.items()]
        closer = self._engine.probabilities(parts) if parts else []
        for (number, box), map_ in zip(boxes.items(), closer, strict=True):
            maps[number] = merged(maps[number], map_, box)
        return maps

    def _part(self, one: Zoomable, first: np.ndarray, box: Box) -> Any:
        """What the engine makes of the part of a picture in a box of its map."""
        part = one.picture.crop(_in_picture(box, first.shape, one.picture))
        return self._engine.prepare(part, (box[3] - box[1], box[2] - box[0]))


def object_box(probability: np.ndarray) -> Box | None:
    """The box around the object with some room; `None` without object, or if it fills the map.

    Args:
        probability: H×W in 0..1.
    """
    found = probability >= FROM
    rows, columns = (np.flatnonzero(found.any(axis)) for axis in (1, 0))
    if len(rows) == 0:
        return None
    height, width = probability.shape
    top, bottom = _wider(rows[0], rows[-1] + 1, height)
    left, right = _wider(columns[0], columns[-1] + 1, width)
    if (bottom - top) * (right - left) > LARGEST * height * width:
        return None
    return left, top, right, bottom


def _wider(start: int, stop: int, side: int) -> tuple[int, int]:
    room = round(ROOM * (stop - start))
    return max(0, int(start) - room), min(side, int(stop) + room)


def _in_picture(box: Box, shape: tuple[int, ...], picture: Image.Image) -> Box:
    """A map's box in the pixels of a picture that may have more of them, or fewer."""
    down, across = picture.height / shape[0], picture.width / shape[1]
    left, top = int(box[0] * across), int(box[1] * down)
    return (
        left,
        top,
        max(left + 1, round(box[2] * across)),
        max(top + 1, round(box[3] * down)),
    )


def merged(first: np.ndarray, closer: np.ndarray, box: Box) -> np.ndarray:
    """The mean of two maps within a box, and less of the second one towards the box's border.

    Args:
        first: H×W in 0..1.
        closer: Of the box, in 0..1.
        box: Where it lies in the first one; its sides at the map's border need no transition.
    """
    left, top, right, bottom = box
    height, width = first.shape
    down = _share(bottom - top, top > 0, bottom < height)
    across = _share(right - left, left > 0, right < width)
    share = np.minimum.outer(down, across) / 2
    whole = first.copy()
    part = whole[top:bottom, left:right]
    part += share * (closer - part)
    return whole


def _share(side: int, start: bool, stop: bool) -> np.ndarray:
    """0 to 1 over half the room around the object, from the sides that are not the picture's."""
    ramp = max(1.0, side * ROOM / (1 + 2 * ROOM) / 2)
    place = np.arange(side, dtype=np.float32) + np.float32(0.5)
    share = np.ones(side, np.float32)
    if start:
        share = np.minimum(share, place / np.float32(ramp))
    if stop:
        share = np.minimum(share, place[::-1] / np.float32(ramp))
    return share
