"""The validation pictures of a run: measured, and the worst of them drawn."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from dsunet.config import MeasuringProtocol
from dsunet.data import Pair
from dsunet.data.pairs import PairImages
from dsunet.metrics import OWN_MEASURES, Measures, measure
from dsunet.metrics.cuts import Alarm
from dsunet.metrics.packages import cv2
from dsunet.predict import Segmenter
from dsunet.predict.pairs import segmented
from dsunet.report.sizes import Object, objects_of

__all__ = ["MAP_COLOUR", "TRUTH_COLOUR", "Measured", "Picture", "look_at"]

SIDE = 480
"""Of drawn pictures: the longer side, in pixels."""

# Of Okabe and Ito's colours, which colour-blind readers can tell apart, the two that are far from
# flesh, too; with a black line around each they show on anything.
TRUTH_COLOUR, MAP_COLOUR = (86, 180, 233), (240, 228, 66)


@dataclass(frozen=True)
class Picture:
    """One validation picture and its measures."""

    name: str
    values: dict[str, float]
    """By the keys of `OWN_MEASURES`; without an object in it, MAE alone by the protocol `raw`."""
    alarm: Alarm | None = None
    """What the map says where there is no object."""
    strange: int = 0
    """Regions of the map that touch no object."""
    image: str = ""
    """The picture with both outlines, as a data URI; empty if it is not drawn."""
    map: str = ""
    """The map with the truth's outline, as a data URI."""

    @property
    def goodness(self) -> float:
        """What pictures are ordered by: Dice; without an object, 1 if there is no false alarm."""
        if self.alarm is None:
            return self.values["Dice"]
        return 1.0 if self.alarm.area == 0 else 0.0


@dataclass
class Measured:
    """All validation pictures."""

    pictures: list[Picture] = field(default_factory=list)
    """The worst first; the first ones are drawn."""
    objects: list[Object] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    """Pictures that could not be read, each with the reason."""


def look_at(
    segmenter: Segmenter,
    pairs: Sequence[Pair],
    protocol: MeasuringProtocol,
    threshold: float,
    drawn: int,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Measured, Measures]:
    """Segments and measures pairs; a picture that cannot be read does not stop the others.

    Args:
        segmenter: What segments.
        pairs: The pictures and their masks.
        protocol: How maps are measured.
        threshold: Probability from which a pixel is object.
        drawn: How many of the worst pictures to draw.
        progress: Called with the number of pictures done and the number of all.
    """
    found, measures = Measured(), Measures(OWN_MEASURES, protocol, threshold)
    for pair, images, truth, probability, grey in segmented(
        segmenter, pairs, found.failures.append, progress
    ):
        one = measure(grey, truth, OWN_MEASURES, protocol, threshold)
        measures.add(one)
        inside = probability >= threshold
        if truth.counted is not None:
            inside &= truth.counted
        objects, strange = objects_of(truth.object, inside)
        found.objects += objects
        picture = Picture(pair.name, one.values, one.alarm, strange, *_drawn(images, grey, inside))
        found.pictures.append(picture)
        if len(found.pictures) % 64 == 0:
            found.pictures = _sorted(found.pictures, drawn)
    found.pictures = _sorted(found.pictures, drawn)
    return found, measures


def _sorted(pictures: Sequence[Picture], drawn: int) -> list[Picture]:
    """The worst first, of which only some keep what was drawn."""
    ordered = sorted(pictures, key=lambda each: (each.goodness, -each.values.get("MAE", 0)))
    bare = (Picture(p.name, p.values, p.alarm, p.strange) for p in ordered[drawn:])
    return [*ordered[:drawn], *bare]


def _drawn(images: PairImages, grey: np.ndarray, inside: np.ndarray) -> tuple[str, str]:
    """The picture with the outlines of truth and map, and the map with that of the truth."""
    scale = min(1.0, SIDE / max(images.image.size))
    width, height = (max(1, round(scale * side)) for side in images.image.size)
    size = width, height
    picture = np.array(images.image.resize(size, Image.Resampling.LANCZOS))
    truth = _outlines(np.asarray(images.mask) > 128, size)
    own = _outlines(inside, size)
    shown = np.array(Image.fromarray(grey).resize(size, Image.Resampling.BILINEAR).convert("RGB"))
    for target, lines, colour in (
        (picture, truth, TRUTH_COLOUR),
        (picture, own, MAP_COLOUR),
        (shown, truth, TRUTH_COLOUR),
    ):
        cv2.drawContours(target, lines, -1, (0, 0, 0), 4, cv2.LINE_AA)
        cv2.drawContours(target, lines, -1, colour, 2, cv2.LINE_AA)
    return _uri(picture), _uri(shown)


def _outlines(mask: np.ndarray, size: tuple[int, int]) -> Sequence[np.ndarray]:
    """The outlines of a mask, at another size (width, height)."""
    small = cv2.resize(mask.view(np.uint8) * np.uint8(255), size, interpolation=cv2.INTER_AREA)
    lines: Sequence[np.ndarray] = cv2.findContours(
        (small > 0).view(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE
    )[0]
    return lines


def _uri(pixels: np.ndarray) -> str:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "JPEG", quality=82)
    return f"data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()}"
