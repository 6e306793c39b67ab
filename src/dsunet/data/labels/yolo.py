"""Labels in YOLO's format: a text file of polygons for every picture, and data.yaml."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from dsunet.data.images import read_header
from dsunet.data.labels.annotated import Annotated, Picture, PictureFiles, Shape, files_below
from dsunet.data.labels.outlines import NoOutline, Outline, Polygons
from dsunet.errors import DataError
from dsunet.support.files import decode_text

__all__ = ["read_yolo"]

_CLASSES = "classes.txt"

# How far from the picture's corner, in its sides, one may be said to lie; pixels are farther.
_FARTHEST = 2.0
_OF_A_BOX = 4  # numbers behind the class


def read_yolo(file: Path, pictures: PictureFiles) -> Annotated:
    """What the text files beside the pictures say.

    The file of a picture lies in a folder `labels` where it has `images`, or beside it. A picture
    without one, or with an empty one, has no object. Corners are parts of the picture's width and
    height as it is seen upright, as Ultralytics takes them.

    Args:
        file: `data.yaml`, of which the names of the classes are taken, and nothing else; or a text
            file with a name in every line; or a folder, for want of names.
        pictures: The pictures.

    Raises:
        DataError: The file is no YAML or has no names, or no picture has a file of labels.
    """
    classes = _names(file)
    files = [file] if file.is_file() else []
    found = Annotated("yolo", [], list(classes.values()), files=files)
    found.numbers = {str(number): name for number, name in classes.items()}
    unlabelled = 0
    for path in pictures.all:
        labels = _labels_of(path, pictures.folders)
        picture = Picture(path.name, path)
        found.pictures.append(picture)
        if labels is None:
            unlabelled += 1
            continue
        found.files.append(labels)
        try:
            picture.shapes = _shapes(labels, path, classes)
        except DataError as error:
            picture.trouble = str(error)
    if unlabelled == len(found.pictures):
        raise DataError(
            f"no picture below {pictures.folders[0]} has a file of labels: of images/a.jpg it "
            "would be labels/a.txt"
        )
    known = {shape.label for picture in found.pictures for shape in picture.shapes}
    found.classes += sorted(known - set(found.classes))
    if unlabelled:
        found.said.append(f"{unlabelled} pictures have no file of labels, and so no object")
    texts = files_below(pictures.folders[0], (".txt",))
    found.lost = len(
        [
            text
            for text in texts
            if "labels" in text.parts and text not in set(found.files) and text.name != _CLASSES
        ]
    )
    return found


def _names(file: Path) -> dict[int, str]:
    """The classes' names by number; none if there is but a folder."""
    if file.is_dir():
        return {}
    try:
        if file.suffix.lower() == ".txt":
            lines = decode_text(file.read_bytes()).splitlines()
            return {i: line.strip() for i, line in enumerate(lines) if line.strip()}
        text = file.read_bytes()
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text)):
            raise DataError(f"{file} has aliases (*name), which can fill the memory; remove them")
        content = yaml.safe_load(text)
        names = content["names"]
        return (
            {int(number): str(name) for number, name in names.items()}
            if isinstance(names, dict)
            else {number: str(name) for number, name in enumerate(names)}
        )
    except OSError as error:
        raise DataError(f"{file} cannot be read ({error.strerror}); give data.yaml") from error
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{file} is no YAML ({reason}); export it again") from error
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise DataError(
            f"{file} has no list of `names`, the classes; it is no data.yaml of YOLO's"
        ) from error


def _labels_of(path: Path, folders: Sequence[Path]) -> Path | None:
    """A picture's file of labels."""
    places = [path.with_suffix(".txt")]
    for folder in folders:
        if path.is_relative_to(folder):
            parts = list(path.relative_to(folder).parts)
            at = max((i for i, part in enumerate(parts[:-1]) if part == "images"), default=None)
            if at is not None:
                parts[at] = "labels"
                places.insert(0, (folder / Path(*parts)).with_suffix(".txt"))
    return next((place for place in places if place.is_file()), None)


def _shapes(labels: Path, path: Path, classes: dict[int, str]) -> list[Shape]:
    try:
        text = decode_text(labels.read_bytes())
    except OSError as error:
        raise DataError(f"{labels} cannot be read ({error.strerror})") from error
    lines = [(number, line.split()) for number, line in enumerate(text.splitlines(), 1)]
    rows = [(number, words) for number, words in lines if words]
    if not rows:
        return []
    size = read_header(path).seen_size()
    return [_shape(f"{labels}, line {number}", words, size, classes) for number, words in rows]


def _shape(
    what: str, words: Sequence[str], size: tuple[int, int], classes: dict[int, str]
) -> Shape:
    try:
        number, values = int(words[0]), [float(word) for word in words[1:]]
    except ValueError as error:
        raise DataError(f"{what}: needs a class and numbers, but {error}") from error
    return Shape(classes.get(number, str(number)), _outline(what, values, size))


def _outline(what: str, values: list[float], size: tuple[int, int]) -> Outline:
    if len(values) == _OF_A_BOX:
        return NoOutline(
            f"{what} is a box, of which no mask can be made; export polygons (segmentation), or "
            "choose other `classes`"
        )
    if len(values) % 2:
        return NoOutline(f"{what} has {len(values)} numbers, but needs x and y of every corner")
    far: list[Any] = [v for v in values if not math.isfinite(v) or abs(v) > _FARTHEST]
    if far:
        return NoOutline(
            f"{what} has {far[0]:g}, but corners need to be parts of the picture's sides, 0 to 1"
        )
    return Polygons([[value * size[i % 2] for i, value in enumerate(values)]])
