"""Labels in CVAT's format for images: one XML file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dsunet.data.labels.annotated import Annotated, Picture, PictureFiles, Shape, foreign
from dsunet.data.labels.outlines import Bitmap, Ellipse, Outline, Polygons, rectangle
from dsunet.data.labels.xml import elements
from dsunet.errors import DataError

__all__ = ["read_cvat"]

_WITHOUT_AREA = ("polyline", "points", "cuboid", "skeleton", "tag")


def read_cvat(files: Sequence[Path], pictures: PictureFiles) -> Annotated:
    """What files of "CVAT for images 1.1" say.

    Polygons, boxes, ellipses and masks are drawn, those of a higher `z_order` on top; what has no
    area is left out.

    Args:
        files: The XML files.
        pictures: Where the pictures lie.

    Raises:
        DataError: A file cannot be read, is cut off or none of CVAT's; or it is one of a video.
    """
    found = Annotated("cvat", [], [], files=list(files))
    left_out: Counter[str] = Counter()
    labels: dict[str, None] = {}
    for file in files:
        before = len(found.pictures)
        for element in elements(file, ("image", "track", "label")):
            if element.tag == "track":
                raise DataError(
                    f'{file} has the tracks of a video ("CVAT for video"), which have no pictures; '
                    'export the task as "CVAT for images"'
                )
            if element.tag == "label":  # of the task, in its order
                name = element.findtext("name")
                labels |= {name: None} if name else {}
                continue
            picture = _picture(file, element, pictures, left_out)
            labels |= {shape.label: None for shape in picture.shapes}
            found.pictures.append(picture)
        if len(found.pictures) == before:
            raise DataError(f"{file} has no <image> of CVAT's; export the task as CVAT for images")
    found.classes = list(labels)
    found.unlisted = pictures.unlisted()
    for kind, count in sorted(left_out.items()):
        found.said.append(f"{count} shapes are of the kind {kind}, which has no area: left out")
    return found


def _picture(file: Path, element: Any, pictures: PictureFiles, left_out: Counter[str]) -> Picture:
    picture = Picture(str(element.get("name")))
    try:
        with foreign("its <image>"):
            picture.size = int(element.attrib["width"]), int(element.attrib["height"])
            picture.path = pictures.find(element.attrib["name"], file.parent)
        for number, each in enumerate(element, 1):
            with foreign(f"shape {number}"):
                if each.tag in _WITHOUT_AREA:
                    left_out[each.tag] += 1
                    continue
                order = int(each.get("z_order") or 0)
                outline = _outline(each.tag, each.attrib)
                picture.shapes.append(Shape(each.attrib["label"], outline, order))
    except DataError as error:
        picture.trouble = str(error)
    return picture


def _outline(kind: str, given: Mapping[str, str]) -> Outline:
    angle = float(given.get("rotation") or 0)
    if kind == "polygon":
        points = [point.split(",") for point in given["points"].split(";") if point]
        return Polygons([[float(value) for x, y in points for value in (x, y)]])
    if kind == "box":
        left, top, right, bottom = (float(given[side]) for side in ("xtl", "ytl", "xbr", "ybr"))
        return rectangle(left, top, right, bottom, angle)
    if kind == "ellipse":
        centre = float(given["cx"]), float(given["cy"])
        return Ellipse(centre, (float(given["rx"]), float(given["ry"])), angle)
    if kind == "mask":
        width, height = int(given["width"]), int(given["height"])
        runs = np.array(given["rle"].split(","), np.int64)
        if (runs < 0).any() or runs.sum() != width * height:
            raise DataError(
                f"has run lengths of {runs.sum()} pixels, but a box of {width}×{height}"
            )
        pixels = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(height, width)  # by rows
        return Bitmap(pixels, (int(given["left"]), int(given["top"])))
    raise DataError(f"is of the kind {kind!r}; known are polygon, box, ellipse and mask")
