"""Measured objects as tables: a row an object, a row a picture; and as COCO's JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dsunet
from dsunet.errors import OutputError
from dsunet.objects.regions import Region
from dsunet.support.files import encode_text, write_atomically

__all__ = [
    "FAILURE_COLUMNS",
    "IMAGE_COLUMNS",
    "OBJECT_COLUMNS",
    "MeasuredImage",
    "MeasuredObject",
    "coco_content",
    "image_rows",
    "object_rows",
    "refuse_foreign",
    "write_coco",
    "write_table",
]

OBJECT_COLUMNS = (
    *("image", "object", "class", "mean_score", "max_score", "pixels"),
    *("x", "y", "width", "height", "centroid_x", "centroid_y"),
    *("area", "longest_axis", "major_axis", "minor_axis", "perimeter"),
    *("holes", "at_border", "unit"),
)
IMAGE_COLUMNS = (
    *("image", "width", "height", "objects", "pixels", "share", "area", "largest_area"),
    *("longest_axis", "mean_score", "at_border", "unit"),
)
FAILURE_COLUMNS = ("image", "reason")
_MADE_BY = "dsunet measure"


@dataclass(frozen=True)
class MeasuredObject:
    """One object of a picture."""

    class_name: str
    region: Region
    runs: str | None = None
    """COCO's compressed run lengths, where they are asked for."""


@dataclass(frozen=True)
class MeasuredImage:
    """What a picture holds."""

    number: int
    """Of all that were to be measured, from 1 on."""
    name: str
    """Of the map, with its folder below the one that was given."""
    file_name: str
    """Of the picture, for COCO."""
    size: tuple[int, int]
    """Width and height in pixels."""
    counted: int
    """Pixels that count."""
    unit: str
    objects: list[MeasuredObject] = field(default_factory=list)


def object_rows(images: Iterable[MeasuredImage]) -> Iterable[list[Any]]:
    """By `OBJECT_COLUMNS`."""
    for image in images:
        for number, each in enumerate(image.objects, start=1):
            one = each.region
            yield [
                *(image.name, number, each.class_name),
                *(_score(one.mean_score), _score(one.max_score), one.pixels),
                *(*one.box, *one.centroid),
                *(one.area, one.longest_axis, one.major_axis, one.minor_axis, one.perimeter),
                *(one.holes, int(one.at_border), image.unit),
            ]


def image_rows(images: Iterable[MeasuredImage]) -> Iterable[list[Any]]:
    """By `IMAGE_COLUMNS`; of a picture without an object zeros, and no score."""
    for image in images:
        regions = [each.region for each in image.objects]
        pixels = sum(each.pixels for each in regions)
        scores = [each.mean_score for each in regions if each.mean_score is not None]
        score = None
        if scores:  # over all pixels of objects
            score = sum(each.pixels * (each.mean_score or 0.0) for each in regions) / pixels
        yield [
            *(image.name, *image.size, len(regions), pixels, pixels / max(1, image.counted)),
            sum(each.area for each in regions),
            max((each.area for each in regions), default=0.0),
            max((each.longest_axis for each in regions), default=0.0),
            *(_score(score), sum(each.at_border for each in regions), image.unit),
        ]


def _score(value: float | None) -> float | None:
    return None if value is None else round(value, 6)  # maps are float32


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Writes CSV; what there is not is empty, and numbers have ten digits at most."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow(
            [f"{v:.10g}" if isinstance(v, float) else "" if v is None else v for v in row]
        )
    write_atomically(path, encode_text(text.getvalue()))


def _text(value: Any) -> Any:
    if isinstance(value, float):
        return f"{value:.10g}"
    return "" if value is None else value


def coco_content(images: Sequence[MeasuredImage], classes: Sequence[str]) -> dict[str, Any]:
    """COCO's JSON. Maps and masks of the same names have the same numbers, from 1 on."""
    numbers = {name: number for number, name in enumerate(classes, start=1)}
    listed: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image in images:
        width, height = image.size
        listed.append(
            {"id": image.number, "file_name": image.file_name, "width": width, "height": height}
        )
        for each in image.objects:
            score = _score(each.region.mean_score)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image.number,
                    "category_id": numbers[each.class_name],
                    "segmentation": {"size": [height, width], "counts": each.runs},
                    "area": each.region.pixels,
                    "bbox": [float(side) for side in each.region.box],
                    "iscrowd": 0,
                    **({} if score is None else {"score": score}),
                }
            )
    return {
        "info": {"description": _MADE_BY, "version": dsunet.__version__},
        "licenses": [],
        "images": listed,
        "annotations": annotations,
        "categories": [{"id": number, "name": name} for name, number in numbers.items()],
    }


def write_coco(path: Path, images: Sequence[MeasuredImage], classes: Sequence[str]) -> None:
    """Writes `coco_content`."""
    write_atomically(path, json.dumps(coco_content(images, classes)).encode())


def refuse_foreign(path: Path, columns: Sequence[str] | None) -> None:
    """Refuses to overwrite what is no output of an earlier measuring.

    Args:
        path: What would be written.
        columns: Of the table; `None` for COCO's JSON.

    Raises:
        OutputError: It is there, and something else.
    """
    if not path.exists():
        return
    mark = f'{{"info": {{"description": "{_MADE_BY}"' if columns is None else ",".join(columns)
    if path.is_file():
        with open(path, "rb") as file:
            if file.read(len(mark.encode())) == mark.encode():
                return
    raise OutputError(
        f"{path} is there and no output of {_MADE_BY}; it would be overwritten: choose another "
        f"`{'coco' if columns is None else 'output'}`"
    )
