"""What data are like, in numbers that a plan can follow from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

__all__ = ["DataFacts", "Lean", "Seen", "facts_of", "lean_of"]

Sides = tuple[float, float]


@dataclass(frozen=True)
class Seen:
    """What was seen of one pair."""

    height: int
    """In pixels, upright."""
    width: int
    grey: bool
    """Whether it has no colours."""
    deep: bool
    """Whether it is stored with 16 bits a value or more."""
    camera: bool
    """Whether its EXIF names the camera that took it."""
    light: Sides
    """How much lighter its upper half is than its lower one, and its left half than its right one,
    in grey levels of 0..255."""
    place: Sides | None
    """How far the object's centre lies below the middle, and right of it, as shares of height and
    width; `None` without an object."""
    share: float
    """Share of object, 0..1."""
    objects: tuple[float, ...]
    """The longest side of each connected object as a share of the picture's side along it; empty
    where SciPy, which tells objects apart, is not there."""


class Lean(NamedTuple):
    """Whether pictures lean to one side: of how many, how many do, against even chances."""

    pictures: int
    """Those that lean either way."""
    more: int
    """Those that lean the first way: light from above or from the left, objects below or right."""

    @property
    def z(self) -> float:
        """Standard deviations from what even chances give, by the sign test; 0 of none."""
        return (2 * self.more - self.pictures) / math.sqrt(self.pictures) if self.pictures else 0.0


def lean_of(values: Sequence[float]) -> Lean:
    """How many values are above 0 of those that are not 0."""
    return Lean(sum(value != 0 for value in values), sum(value > 0 for value in values))


@dataclass(frozen=True)
class DataFacts:
    """What some pairs are like."""

    pairs: int
    """All that there are to train on, held-out ones not among them."""
    validation: int
    """Held-out ones, by what the settings say."""
    looked_at: int
    """How many of those to train on were read: all, or a random sample."""
    broken: tuple[str, ...]
    """Why those that could not be read could not."""
    height: float
    """Median, in pixels."""
    width: float
    longest_side: float
    """The larger of the two that nine in ten pictures do not exceed, in pixels."""
    grey: float
    """Share of pictures without colours."""
    deep: float
    """Share of pictures with 16 bits."""
    camera: float
    """Share of pictures whose EXIF names a camera."""
    empty: float
    """Share of pictures without an object."""
    share: float
    """Median share of object where there is one."""
    per_picture: float
    """Objects a picture, in the mean of those that have some."""
    objects: tuple[float, ...]
    """The longest sides of all objects, see `Seen`, the smallest first."""
    light: tuple[Lean, Lean]
    """Of the light: from above, and from the left."""
    place: tuple[Lean, Lean]
    """Of the objects: below the middle, and right of it."""
    running: bool = False
    """Whether names count on within runs, as frames of videos do."""

    def tiny(self, view: int, pixels: float) -> float:
        """Share of objects whose longest side is shorter than some pixels of a view, 0..1."""
        return float(np.mean(np.asarray(self.objects) * view < pixels)) if self.objects else 0.0


def facts_of(
    seen: Sequence[Seen],
    *,
    pairs: int,
    validation: int,
    broken: Sequence[str] = (),
    running: bool = False,
) -> DataFacts:
    """Facts about a set by what was seen of its pairs, at least one."""
    with_object = [each for each in seen if each.place is not None]
    places = [each.place for each in with_object if each.place is not None]
    counts = [len(each.objects) for each in with_object if each.objects]
    sides = [max(each.height, each.width) for each in seen]
    return DataFacts(
        pairs=pairs,
        validation=validation,
        looked_at=len(seen),
        broken=tuple(broken),
        height=float(np.median([each.height for each in seen])),
        width=float(np.median([each.width for each in seen])),
        longest_side=float(np.quantile(sides, 0.9)),
        grey=float(np.mean([each.grey for each in seen])),
        deep=float(np.mean([each.deep for each in seen])),
        camera=float(np.mean([each.camera for each in seen])),
        empty=1 - len(with_object) / len(seen),
        share=float(np.median([each.share for each in with_object])) if with_object else 0.0,
        per_picture=float(np.mean(counts)) if counts else 0.0,
        objects=tuple(sorted(side for each in seen for side in each.objects)),
        light=(
            lean_of([each.light[0] for each in seen]),
            lean_of([each.light[1] for each in seen]),
        ),
        place=(lean_of([each[0] for each in places]), lean_of([each[1] for each in places])),
        running=running,
    )
