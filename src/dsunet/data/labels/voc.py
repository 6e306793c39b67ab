"""Labels in Pascal VOC's format: index or coloured PNG files, or polygons in XML files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dsunet.config.masks import MaskValue
from dsunet.data.folders import list_images, stem_of
from dsunet.data.images import decode
from dsunet.data.labels.annotated import (
    Annotated,
    MaskFile,
    Picture,
    PictureFiles,
    Shape,
    foreign,
)
from dsunet.data.labels.outlines import NoOutline, Polygons
from dsunet.data.labels.xml import elements
from dsunet.errors import DataError, ImageError
from dsunet.support.files import decode_text

__all__ = ["MASKS", "read_voc", "read_voc_xml"]

MASKS = "SegmentationClass"
"""The folder of the masks."""

# Its 20 classes, whose numbers in masks are 1 to 20.
_CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa"),
    *("train", "tvmonitor"),
)
_BORDER = 255


def read_voc(folder: Path, pictures: PictureFiles) -> Annotated:
    """What the masks of a folder in VOC's layout say.

    Their values are those of `labelmap.txt`, as CVAT writes it beside them; without one, numbers or
    colours of VOC's 20 classes, with a border of 255 that does not count. Pictures without a
    mask are left out: of VOC's, few have one.

    Args:
        folder: What holds `SegmentationClass`.
        pictures: Where the pictures lie.

    Raises:
        DataError: The folder or the file cannot be read.
    """
    masks = list_images(folder / MASKS)
    table = folder / "labelmap.txt"
    found = Annotated("voc", [], [], files=list(masks))
    if table.is_file():
        found.files.append(table)
        found.values = _label_map(table)
    else:
        in_colours = _is_colour(masks)
        numbers = range(1, len(_CLASSES) + 1)
        found.ignored = _colour(_BORDER) if in_colours else _BORDER
        found.values = {
            name: _colour(number) if in_colours else number
            for name, number in zip(_CLASSES, numbers, strict=True)
        }
    found.classes = list(found.values)
    by_stem: dict[str, list[Path]] = {}
    for path in pictures.all:
        if not path.is_relative_to(folder / MASKS) and "Segmentation" not in path.parent.name:
            by_stem.setdefault(stem_of(path), []).append(path)
    for mask in masks:
        own = by_stem.pop(stem_of(mask), [])
        trouble = f"{len(own)} pictures have its stem; give `images`" if len(own) > 1 else ""
        picture = Picture(mask.name, own[0] if own else None, trouble=trouble)
        picture.masks.append(MaskFile(mask))
        found.pictures.append(picture)
    found.unlisted = sorted(path.name for paths in by_stem.values() for path in paths)
    return found


def _label_map(file: Path) -> dict[str, MaskValue]:
    """The colours of classes, `name:red,green,blue::` in every line; black is background."""
    values: dict[str, MaskValue] = {}
    try:
        text = decode_text(file.read_bytes())
    except OSError as error:
        raise DataError(f"{file} cannot be read ({error.strerror})") from error
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        match = re.fullmatch(r"([^:]+):(\d{1,3}),(\d{1,3}),(\d{1,3})(:.*)?", line.strip())
        if match is None:
            raise DataError(f"{file}, line {number} is {line!r}, but needs name:red,green,blue::")
        red, green, blue = (int(match[i]) for i in (2, 3, 4))
        if (red, green, blue) != (0, 0, 0):
            values[match[1]] = red, green, blue
    return values


def _is_colour(masks: Sequence[Path]) -> bool:
    """Whether masks have the colours of VOC's palette themselves, not its indices."""
    for mask in masks:
        try:
            stored = decode(mask).as_stored()
        except ImageError:  # told of when it is its turn
            continue
        if stored.values.any():
            return stored.kind == "colour"
    return False


def _colour(number: int) -> tuple[int, int, int]:
    """That of VOC's palette: three bits of the number at a time, one for each of its channels."""
    channels = [0, 0, 0]
    for place in range(8):
        for channel in range(3):
            channels[channel] |= (number >> (3 * place + channel) & 1) << (7 - place)
    return channels[0], channels[1], channels[2]


def read_voc_xml(files: Sequence[Path], pictures: PictureFiles) -> Annotated:
    """What XML files in VOC's format say that have polygons, as Roboflow writes them.

    Their numbers count pixels from 1, and a corner is the middle of its pixel.

    Args:
        files: One for every picture.
        pictures: Where the pictures lie.
    """
    found = Annotated("voc", [], [], files=list(files))
    labels: dict[str, None] = {}
    for file in files:
        picture = Picture(file.name)
        found.pictures.append(picture)
        try:
            for element in elements(file, ("annotation",)):
                with foreign(f"{file}: it"):
                    picture.name = str(
                        element.findtext("filename") or file.with_suffix(".jpg").name
                    )
                    picture.path = pictures.find(picture.name, file.parent)
                    picture.shapes = [
                        _shape(number, each)
                        for number, each in enumerate(element.findall("object"), 1)
                    ]
        except DataError as error:
            picture.trouble = str(error)
        labels |= {shape.label: None for shape in picture.shapes}
    found.classes = sorted(labels)
    found.unlisted = pictures.unlisted()
    return found


def _shape(number: int, element: Any) -> Shape:
    label = str(element.findtext("name"))
    polygons = element.findall("polygon")
    if not polygons:
        return Shape(
            label,
            NoOutline(
                f"object {number} is a box, of which no mask can be made; give the folder that has "
                f"{MASKS}, or choose other `classes`"
            ),
        )
    parts = []
    for polygon in polygons:
        numbers = {each.tag: float(each.text) - 0.5 for each in polygon}
        count = len(numbers) // 2
        parts.append([numbers[f"{axis}{i}"] for i in range(1, count + 1) for axis in "xy"])
    return Shape(label, Polygons(parts))
