"""Masks as pixels: shapes that are drawn, and files of masks that are joined."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from dsunet.config.masks import value_name
from dsunet.data.images import Header, decode, read_header
from dsunet.data.labels.annotated import MaskFile, Picture, Shape
from dsunet.data.labels.wanted import Wanted
from dsunet.data.masks import listed
from dsunet.data.pairs import choose_orientation
from dsunet.data.pixels import turn
from dsunet.data.sources import Bytes
from dsunet.data.survey import Survey, look_at_mask
from dsunet.errors import DataError, few

if TYPE_CHECKING:
    from dsunet.data.labels.importing import Imported

__all__ = ["Drawing", "embedded"]


@dataclass
class Drawing:
    """Draws the masks of an import, and counts what is to be told of them."""

    wanted: Wanted
    report: Imported
    survey: Survey = field(init=False)

    def __post_init__(self) -> None:
        self.survey = Survey(self.wanted.reading)

    def is_wanted(self, shape: Shape) -> bool:
        """Whether a shape is object, or does not count."""
        return shape.ignored or self.wanted.number(shape.label) is not None

    def draw(self, picture: Picture, shapes: Sequence[Shape]) -> Image.Image:
        """The mask of a picture.

        Args:
            picture: Which is read for its size and orientation.
            shapes: Those that are wanted.

        Raises:
            DataError: The picture or its labels cannot be used.
        """
        source = picture.path or embedded(picture)
        header = read_header(source)
        if picture.masks:
            return self._from_files(header, picture.masks)
        upright, stored = header.seen_size(), header.size
        width, height = picture.size or upright
        if (width, height) not in (upright, stored):
            raise DataError(
                f"it is {stored[0]}×{stored[1]} px, but its labels are of one of {width}×{height}; "
                "give the picture that was labelled"
            )
        self.report.turned += bool(shapes) and header.orientation > 1 and upright == stored
        return Image.fromarray(self._pixels((height, width), shapes))

    def _pixels(self, size: tuple[int, int], shapes: Sequence[Shape]) -> np.ndarray:
        """H×W uint8: the values of the classes of shapes, the smaller on top."""
        values = np.zeros(size, np.uint8)
        order = list(shapes)
        if self.wanted.by_class:  # drawn twice rather than all kept, as pictures may be large
            areas = {id(each): int(each.outline.inside(size).sum()) for each in shapes}
            order.sort(key=lambda each: (each.order, -areas[id(each)]))
        order.sort(key=lambda each: not each.ignored)  # what is object counts
        overlap = False
        for each in order:
            inside = each.outline.inside(size)
            number = self.wanted.number(each.label) or 0
            if each.ignored:
                number = self.wanted.ignored
            elif self.wanted.by_class and not overlap:
                below = np.unique(values[inside])
                overlap = bool(set(below.tolist()) - {0, number, self.wanted.ignored})
            values[inside] = number
            self.report.pixelless += not inside.any()
        self.report.overlaps += overlap
        self.report.ignored += bool((values == self.wanted.ignored).any())
        return values

    def _from_files(self, header: Header, masks: Sequence[MaskFile]) -> Image.Image:
        """The mask of a picture whose objects are files of pixels, in an orientation that fits."""
        joined: np.ndarray | None = None
        for each in masks:
            decoded = decode(each.path)
            _, upright = choose_orientation(header, decoded)
            values = self._values_of(each, decoded)
            seen = np.asarray(turn(Image.fromarray(values), decoded.orientation if upright else 1))
            if joined is not None and joined.shape != seen.shape:
                raise DataError(f"its masks differ in size ({few([m.path for m in masks])})")
            joined = seen if joined is None else np.where(seen != 0, seen, joined)
        assert joined is not None
        self.report.ignored += bool((joined == self.wanted.ignored).any())
        return Image.fromarray(joined)

    def _values_of(self, mask: MaskFile, decoded: Any) -> np.ndarray:
        """What one file says, as it is stored: H×W uint8."""
        number = self.wanted.number(mask.label) if mask.label else 255
        if self.wanted.sources and self.wanted.by_class:
            values: np.ndarray | None = None
            for name, reading in self.wanted.sources.items():
                labels = decoded.as_labels(reading, upright=False)
                inside = np.asarray(labels.mask) >= 128
                values = np.zeros(inside.shape, np.uint8) if values is None else values
                values[inside] = self.wanted.numbers[name]
                if labels.ignored is not None:
                    values[np.asarray(labels.ignored) > 0] = self.wanted.ignored
            assert values is not None
            return values
        seen, found = look_at_mask(decoded, self.wanted.reading)
        self.survey.add(seen)
        if found is None:
            raise DataError(f"{mask.path}: {_as_classes(seen.trouble)}")
        values = np.where(found.mask >= 128, number or 0, 0).astype(np.uint8)
        if found.ignored is not None:
            values[found.ignored] = self.wanted.ignored
        return values

    def unclear(self) -> str:
        """Why the files of masks do not say alike what is object; empty if they do."""
        told = self.wanted.reading.objects
        if not self.survey.masks or self.survey.troubles or (told and not self.wanted.told):
            return ""
        if not told:
            return self.survey.unclear()
        absent = [value_name(value) for value in told if value not in self.survey.met]
        if not absent:
            return ""
        held = listed(self.survey.counts)
        return f"no mask holds {' or '.join(absent)}, which `classes` names; they hold {held}"


def _as_classes(text: str) -> str:
    """What is said of the values of masks, by the name that the setting has here."""
    return text.replace("`object_values` or `ignore_value`", "`classes`").replace(
        "`object_values`", "`classes`"
    )


def embedded(picture: Picture) -> Bytes:
    """The picture that its file of labels holds."""
    try:
        return Bytes(base64.b64decode(picture.content, validate=True), picture.name)
    except (binascii.Error, ValueError) as error:
        raise DataError(f"the picture in its file of labels is no base64 ({error})") from error
