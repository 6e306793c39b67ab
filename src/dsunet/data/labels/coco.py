"""Labels in COCO's format: one JSON file of polygons and run lengths."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dsunet.data.labels.annotated import (
    Annotated,
    Picture,
    PictureFiles,
    Shape,
    foreign,
    read_json,
)
from dsunet.data.labels.outlines import NoOutline, Outline, Polygons, Runs
from dsunet.errors import DataError

__all__ = ["read_coco"]


def read_coco(files: Sequence[Path], pictures: PictureFiles) -> Annotated:
    """What files of annotations say.

    A picture without annotation has no object. Groups (`iscrowd`) are object like any other.

    Args:
        files: The files, `instances_train2017.json` and `instances_val2017.json`, say.
        pictures: Where the pictures lie.

    Raises:
        DataError: A file cannot be read, is no JSON, or lacks what COCO's format needs.
    """
    found = Annotated("coco", [], [], files=list(files))
    classes: dict[int, str] = {}
    by_path: dict[Path, Picture] = {}
    crowds = 0
    for file in files:
        content = read_json(file)
        with foreign(f"{file} is no file of COCO annotations: its content"):
            if not isinstance(content, dict):
                raise DataError(
                    "a list, where an object with images, annotations and categories is needed"
                )
            own: dict[int, str] = {}
            for each in content.get("categories", []):
                own[int(each["id"])] = str(each["name"])
            classes |= own
            listed = _pictures(file, content["images"], pictures, by_path, found)
            annotations = content["annotations"]
        crowds += _add_shapes(file, annotations, listed, own, found)
    found.classes = list(dict.fromkeys(name for _, name in sorted(classes.items())))
    found.numbers = {str(number): name for number, name in classes.items()}
    found.unlisted = pictures.unlisted()
    if crowds:
        found.said.append(
            f"{crowds} annotations are of whole groups (iscrowd), and object like others"
        )
    return found


def _pictures(
    file: Path,
    entries: Sequence[dict[str, Any]],
    pictures: PictureFiles,
    by_path: dict[Path, Picture],
    found: Annotated,
) -> dict[Any, Picture]:
    """The pictures that a file lists, by their numbers; those that are one file are one."""
    listed: dict[Any, Picture] = {}
    hints = set(re.split(r"[-_.]", file.stem))  # instances_train2017.json and train2017/
    for each in entries:
        number, name = each["id"], str(each["file_name"])
        if number in listed:
            raise DataError(f"two images have the id {number}; give each its own")
        picture = Picture(name, size=_size_of(each))
        try:
            picture.path = pictures.find(name, file.parent, hints)
        except DataError as error:
            picture.trouble = str(error)
        if picture.path in by_path:
            listed[number] = by_path[picture.path]
            continue
        if picture.path is not None:
            by_path[picture.path] = picture
        listed[number] = picture
        found.pictures.append(picture)
    return listed


def _size_of(picture: dict[str, Any]) -> tuple[int, int] | None:
    size = picture.get("width"), picture.get("height")
    return None if not all(size) else (int(str(size[0])), int(str(size[1])))


def _add_shapes(
    file: Path,
    annotations: Sequence[dict[str, Any]],
    listed: dict[Any, Picture],
    classes: dict[int, str],
    found: Annotated,
) -> int:
    """Gives pictures their shapes; what is wrong with one is its picture's trouble.

    Returns:
        How many of them are of groups.
    """
    crowds = 0
    with foreign(f"{file} is no file of COCO annotations: one of them"):
        if any("segments_info" in each for each in annotations):
            raise DataError("those of the panoptic kind are PNG files; export instances")
        entries = [(each, each["image_id"]) for each in annotations]
    for each, image in entries:
        picture = listed.get(image) if isinstance(image, int | str) else None
        if picture is None:
            found.lost += 1
            continue
        what = f"annotation {each.get('id')}"
        try:
            with foreign(what):
                number = int(each["category_id"])
                if classes and number not in classes:
                    raise DataError(
                        f"`categories` does not list its category {number}; add it there"
                    )
        except DataError as error:
            picture.trouble = picture.trouble or str(error)
            continue
        crowds += bool(each.get("iscrowd"))
        picture.shapes.append(Shape(classes.get(number, str(number)), _outline(what, each)))
        if not classes and str(number) not in found.classes:
            found.classes.append(str(number))
    return crowds


def _outline(what: str, annotation: dict[str, Any]) -> Outline:
    shape = annotation.get("segmentation")
    if isinstance(shape, list) and shape:
        return Polygons(shape if isinstance(shape[0], list) else [shape])
    if isinstance(shape, dict) and {"counts", "size"} <= shape.keys():
        size = shape["size"]
        if isinstance(size, list) and [type(side) for side in size] == [int, int]:
            return Runs(shape["counts"], (size[0], size[1]))
    if shape:
        return NoOutline(
            f"{what} has an outline that is neither a list of polygons nor run lengths with a size"
        )
    return NoOutline(
        f"{what} has no outline (`segmentation`), but a box at most, of which no mask can be made; "
        "annotate outlines, or choose other `classes`"
    )
