"""Annotations in COCO's format → a data set of images and masks."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image

from dsunet.data.images import read_header
from dsunet.data.outlines import decode_runs, fill_polygon, runs_to_mask
from dsunet.errors import DataError, ImageError, OutputError, did_you_mean, few
from dsunet.support.files import write_json, write_png

__all__ = ["CocoImport", "CocoSet", "Picture", "import_coco", "read_coco"]

CLASSES = "classes.json"
"""File of an imported set that says what values its masks have."""


@dataclass(frozen=True)
class Picture:
    """A picture and what is annotated in it."""

    name: str
    """Path below the folder of pictures, with /."""
    size: tuple[int, int] | None
    """Width and height in pixels, if the file says."""
    annotations: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class CocoSet:
    """What a file of annotations holds."""

    pictures: list[Picture]
    classes: dict[int, str]
    """Names by COCO's number, in the order of the numbers."""
    homeless: int = 0
    """How many annotations are of pictures that the file does not list."""


@dataclass
class CocoImport:
    """What importing came to."""

    written: int = 0
    """Pairs that were written."""
    classes: dict[int, str] = field(default_factory=dict)
    """What the values of the masks mean."""
    empty: list[str] = field(default_factory=list)
    """Pictures without annotation of the chosen classes, whose masks are empty."""
    missing: list[str] = field(default_factory=list)
    """Pictures that the file lists but that are not there."""
    unlisted: list[str] = field(default_factory=list)
    """Pictures that are there but not listed; they are left out."""
    homeless: int = 0
    """As of `CocoSet`."""
    crowds: int = 0
    """Annotations of whole groups (`iscrowd`), which are taken as they are."""


def read_coco(file: str | Path) -> CocoSet:
    """Reads a file of annotations.

    Raises:
        DataError: It cannot be read, is no JSON, or lacks what COCO's format needs.
    """
    try:
        content = json.loads(Path(file).read_bytes())
        pictures = {
            each["id"]: Picture(_safe(str(each["file_name"])), _size_of(each))
            for each in content["images"]
        }
        classes = {int(each["id"]): str(each["name"]) for each in content["categories"]}
        homeless = 0
        for each in content["annotations"]:
            if each["category_id"] not in classes:
                raise DataError(
                    f"{file}: annotation {each.get('id')} is of category {each['category_id']}, "
                    "which `categories` does not list; add it there"
                )
            if each["image_id"] in pictures:
                pictures[each["image_id"]].annotations.append(each)
            else:
                homeless += 1
    except OSError as error:
        raise DataError(f"{file} cannot be read ({error.strerror}); give a COCO file") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        reason = f"lacks {error}" if isinstance(error, KeyError) else str(error)
        raise DataError(
            f"{file} is no file of COCO annotations ({reason}); needed is JSON with images, "
            "annotations and categories"
        ) from error
    return CocoSet(list(pictures.values()), dict(sorted(classes.items())), homeless)


def _size_of(picture: dict[str, Any]) -> tuple[int, int] | None:
    size = picture.get("width"), picture.get("height")
    return None if None in size else (int(str(size[0])), int(str(size[1])))


def _safe(name: str) -> str:
    """A path that stays below the folder of pictures."""
    path = PurePosixPath(name.replace("\\", "/"))
    if ".." in path.parts:
        raise DataError(f"the picture {name!r} lies outside the folder of pictures; mend its name")
    return path.name if path.is_absolute() else str(path)


def import_coco(
    file: str | Path,
    images: str | Path,
    output: str | Path,
    *,
    classes: Sequence[str] | None = None,
    by_class: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> CocoImport:
    """Makes a data set of `images/` and `masks/`, and `classes.json` that says what values mean.

    Images are hard links where the file system has them, copies elsewhere; subfolders stay. A mask
    has every pixel whose centre lies inside an outline of a chosen class: 255, or with `by_class`
    the class's number, from 1 on in the order of COCO's; of shapes over each other, the smaller is
    on top. Groups (`iscrowd`) are object like any other.

    Args:
        file: The annotations.
        images: Folder that the pictures lie in, by the file's names, or these without folders.
        output: A new or empty folder.
        classes: Names or numbers of the classes to take; all if not given.
        by_class: Give each class a value of its own, to be read with `object_values`.
        progress: Called with the number of pictures done and the number of all.

    Raises:
        DataError: The file is none of COCO's, a class is unknown, no picture is there, two have one
            stem, or a shape cannot be drawn: a box without an outline, say.
        OutputError: The folder is not empty.
    """
    annotated = read_coco(file)
    chosen = _chosen(annotated.classes, classes)
    numbers = {number: i if by_class else 255 for i, number in enumerate(chosen, 1)}
    found, result = _find(annotated, Path(images))
    result.classes = (
        {numbers[number]: name for number, name in chosen.items()}
        if by_class
        else {255: ", ".join(chosen.values())}
    )
    drawn = [_of_classes(picture, numbers) for picture, _ in found]
    result.crowds = sum(bool(each.get("iscrowd")) for picture in drawn for each in picture)
    for (picture, _), shapes in zip(found, drawn, strict=True):
        _check_shapes(file, picture, shapes)
    root = Path(output)
    if root.exists() and any(root.iterdir()):
        raise OutputError(f"{root} is not empty; choose another `output`")
    for done, ((picture, path), shapes) in enumerate(zip(found, drawn, strict=True), 1):
        mask = _draw(picture, path, shapes, numbers)
        place = Path(picture.name)
        write_png(root / "masks" / place.with_suffix(".png"), mask)
        _link(path, root / "images" / place)
        if not shapes:
            result.empty.append(picture.name)
        result.written += 1
        if progress:
            progress(done, len(found))
    write_json(root / CLASSES, {str(value): name for value, name in result.classes.items()})
    return result


def _chosen(known: dict[int, str], wanted: Sequence[str] | None) -> dict[int, str]:
    """Classes by number, in the order of the numbers."""
    if wanted is None:
        return known
    for each in wanted:
        if each not in known.values() and each not in map(str, known):
            hint = did_you_mean(each, known.values())
            hint = hint or f"known: {few(list(known.values()), 20)}"
            raise DataError(f"the file has no class {each!r}; {hint}")
    return {
        number: name for number, name in known.items() if name in wanted or str(number) in wanted
    }


def _find(annotated: CocoSet, folder: Path) -> tuple[list[tuple[Picture, Path]], CocoImport]:
    """The pictures that are there."""
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}; give the one that the pictures lie in")
    result = CocoImport(homeless=annotated.homeless)
    found: list[tuple[Picture, Path]] = []
    for picture in annotated.pictures:
        places = (folder / picture.name, folder / Path(picture.name).name)
        path = next((place for place in places if place.is_file()), None)
        if path is None:
            result.missing.append(picture.name)
        else:
            found.append((picture, path))
    if not found:
        raise DataError(
            f"none of the {len(annotated.pictures)} pictures that the annotations name "
            f"({few(result.missing)}) is in {folder}; give the folder that they lie in"
        )
    used = {path for _, path in found}
    result.unlisted = [
        path.name for path in sorted(folder.iterdir()) if path.is_file() and path not in used
    ]
    _refuse_equal_stems([picture.name for picture, _ in found])
    return found, result


def _refuse_equal_stems(names: Sequence[str]) -> None:
    first: dict[str, str] = {}
    for name in names:
        stem = str(PurePosixPath(name).with_suffix(""))
        if stem in first:
            raise DataError(
                f"{first[stem]} and {name} would have one mask; rename one of them, in the "
                "annotations too"
            )
        first[stem] = name


def _of_classes(picture: Picture, numbers: dict[int, int]) -> list[dict[str, Any]]:
    """A picture's annotations of the chosen classes, the largest first."""
    shapes = [each for each in picture.annotations if each["category_id"] in numbers]
    return sorted(shapes, key=lambda each: -float(each.get("area") or 0))


def _check_shapes(file: str | Path, picture: Picture, shapes: Sequence[dict[str, Any]]) -> None:
    boxes = [each for each in shapes if not each.get("segmentation")]
    if boxes:
        raise DataError(
            f"{file}: annotation {boxes[0].get('id')} of {picture.name} has no outline "
            "(`segmentation`), but a box at most, of which no mask can be made; annotate outlines, "
            "or choose other `classes`"
        )


def _draw(
    picture: Picture, path: Path, shapes: Sequence[dict[str, Any]], numbers: dict[int, int]
) -> Image.Image:
    try:
        header = read_header(path)
    except ImageError as error:
        raise DataError(str(error)) from error
    sizes = [header.size, header.seen_size()]
    width, height = picture.size or header.size
    if (width, height) not in sizes:
        raise DataError(
            f"{path} is {sizes[0][0]}×{sizes[0][1]} px, but the annotations are of one of "
            f"{width}×{height}; give the pictures that were annotated"
        )
    values = np.zeros((height, width), np.uint16 if max(numbers.values()) > 255 else np.uint8)
    for each in shapes:
        try:
            inside = _inside(each["segmentation"], (height, width))
        except (DataError, TypeError, ValueError) as error:
            raise DataError(f"annotation {each.get('id')} of {picture.name}: {error}") from error
        values[inside] = numbers[each["category_id"]]
    return Image.fromarray(values)


def _inside(shape: Any, size: tuple[int, int]) -> np.ndarray:
    """The pixels of an annotation: H×W bool."""
    if isinstance(shape, list):
        inside = np.zeros(size, bool)
        for polygon in shape if isinstance(shape[0], list) else [shape]:
            inside |= fill_polygon(polygon, size)
        return inside
    if not isinstance(shape, dict) or not {"counts", "size"} <= shape.keys():
        raise DataError("its outline is neither a list of polygons nor run lengths with a size")
    if tuple(shape["size"]) != size:
        height, width = shape["size"]
        raise DataError(f"its run lengths are of {width}×{height} px, not {size[1]}×{size[0]}")
    counts = shape["counts"]
    return runs_to_mask(decode_runs(counts) if isinstance(counts, str) else counts, size)


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source.resolve(), target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)
