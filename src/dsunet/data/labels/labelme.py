"""Labels in LabelMe's format: a JSON file beside every picture."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from dsunet.data.labels.annotated import (
    Annotated,
    Picture,
    PictureFiles,
    Shape,
    foreign,
    read_json,
)
from dsunet.data.labels.outlines import (
    Bitmap,
    Ellipse,
    NoOutline,
    Outline,
    Polygons,
    rectangle,
)
from dsunet.errors import DataError

__all__ = ["read_labelme"]

# What LabelMe's own export calls pixels that are nothing, and those that do not count.
_BACKGROUND, _IGNORED = "_background_", "__ignore__"
_WITHOUT_AREA = ("line", "linestrip", "point", "points")


def read_labelme(files: Sequence[Path], pictures: PictureFiles) -> Annotated:
    """What LabelMe's files say.

    Polygons, rectangles, circles and masks are drawn; lines and points have no area and are left
    out. A picture that is not there is taken from its file of labels if that holds it. A file that
    cannot be read is the trouble of its picture alone.

    Args:
        files: The JSON files.
        pictures: Where the pictures lie.
    """
    found = Annotated("labelme", [], [], files=list(files))
    left_out: Counter[str] = Counter()
    labels: set[str] = set()
    for file in files:
        picture = Picture(file.name)
        found.pictures.append(picture)
        try:
            content = read_json(file)
            with foreign(f"{file}: it"):
                _fill(picture, file, content, pictures, left_out)
        except DataError as error:
            picture.trouble = str(error)
        labels |= {shape.label for shape in picture.shapes if not shape.ignored}
    found.classes = sorted(labels)
    found.unlisted = pictures.unlisted()
    for kind, count in sorted(left_out.items()):
        found.said.append(f"{count} shapes are of the kind {kind}, which has no area: left out")
    return found


def _fill(
    picture: Picture,
    file: Path,
    content: dict[str, Any],
    pictures: PictureFiles,
    left_out: Counter[str],
) -> None:
    shapes, name = content["shapes"], str(content.get("imagePath") or file.with_suffix(".jpg").name)
    picture.name = name
    picture.path = pictures.find(name, file.parent)
    if picture.path is None and content.get("imageData"):
        picture.content = str(content["imageData"])
        stem = PurePosixPath(name.replace("\\", "/")).stem
        picture.stem = re.sub(r"[\0-\x1f]", "_", stem)
    size = content.get("imageWidth"), content.get("imageHeight")
    picture.size = (int(size[0]), int(size[1])) if size[0] and size[1] else None
    for number, each in enumerate(shapes, 1):
        with foreign(f"shape {number}"):
            label, kind = str(each["label"]), str(each.get("shape_type") or "polygon")
            if kind in _WITHOUT_AREA:
                left_out[kind] += 1
            elif label != _BACKGROUND:
                outline = _outline(f"shape {number}", kind, each)
                picture.shapes.append(Shape(label, outline, ignored=label == _IGNORED))


def _outline(what: str, kind: str, shape: dict[str, Any]) -> Outline:
    points = [(float(x), float(y)) for x, y in shape["points"]]
    if kind == "polygon":
        return Polygons([[value for point in points for value in point]])
    if kind == "rectangle":
        (x, y), *others = points
        if len(others) > 1:  # all corners, as of a turned one
            return Polygons([[value for point in points for value in point]])
        return rectangle(min(x, others[0][0]), min(y, others[0][1]), *map(max, (x, y), others[0]))
    if kind == "circle":
        centre, edge = points
        radius = math.dist(centre, edge)
        return Ellipse(centre, (radius, radius))
    if kind == "mask":
        return Bitmap(str(shape["mask"]), (round(points[0][0]), round(points[0][1])))
    return NoOutline(
        f"{what} is of the kind {kind!r}; known are polygon, rectangle, circle and mask"
    )
