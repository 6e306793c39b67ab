"""Which format labels have, by a first look at files and folders."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from dsunet.data.folders import walk_folders
from dsunet.errors import DataError

__all__ = ["FORMATS", "LABEL_SUFFIXES", "Found", "find_labels", "format_of", "other_tool"]

FORMATS = ("auto", "coco", "yolo", "voc", "labelme", "cvat", "mvtec", "folders", "masks")
"""What formats may be told; `auto` looks which it is."""

LABEL_SUFFIXES = frozenset((".json", ".xml", ".yaml", ".yml"))
"""Endings of files that may be labels."""

_HEAD = 1 << 16  # bytes of a file that are looked at
_LOOKED_AT = 50  # files of a folder that are

# What the first bytes of a JSON file of a format have; the first that fits counts.
_MARKS = (
    ("labelme", rb'"shapes"\s*:\s*\[|"imagePath"\s*:'),
    ("coco", rb'"segmentation"\s*:|"annotations"\s*:|"categories"\s*:|"file_name"\s*:'),
)

# Formats that are not read, by what they have, and what to export instead.
_OTHERS = (
    (rb'"_via_|"region_attributes"', "the VGG Image Annotator"),
    (rb'"from_name"\s*:|"completed_by"\s*:', "Label Studio"),
    (rb'"geometryType"\s*:|"classTitle"\s*:', "Supervisely"),
    (rb'"coordinates"\s*:', "CreateML (boxes) or GeoJSON"),
    (rb'"asset"\s*:\s*\{', "VoTT"),
)


class Found(NamedTuple):
    """Labels that were found in a folder."""

    format: str
    """`coco`, `labelme`, `cvat`, `voc`, `yolo` or `mvtec`."""
    files: list[Path]
    """The files of labels; or the folder."""


def format_of(file: Path) -> str | None:
    """The format of a file of labels: `coco`, `labelme`, `cvat`, `voc` or `yolo`."""
    suffix, head = file.suffix.lower(), _head(file)
    if suffix in (".yaml", ".yml"):
        return "yolo" if re.search(rb"^names\s*:", head, re.MULTILINE) else None
    if suffix == ".xml":
        tag = re.search(rb"<(annotations?)[\s>]", head)
        return {b"annotations": "cvat", b"annotation": "voc"}[tag[1]] if tag else None
    if suffix != ".json" or other_tool(file):
        return None
    return next((name for name, mark in _MARKS if re.search(mark, head)), None)


def other_tool(file: Path) -> str:
    """Whose format it is that is not read; empty if that is not known."""
    head = _head(file) if file.suffix.lower() == ".json" else b""
    return next((name for mark, name in _OTHERS if re.search(mark, head)), "")


def _head(file: Path) -> bytes:
    try:
        with open(file, "rb") as content:
            return content.read(_HEAD)
    except OSError:  # told of when it is read
        return b""


def find_labels(folder: Path) -> Found | None:
    """Labels in a folder or below it; `None` if there are none, but masks or nothing at all."""
    if found := _by_folders(folder):
        return found
    by_format: dict[str, list[Path]] = {}
    looked_at = 0
    for place, names in walk_folders(folder, (), _refuse):
        files = [place / n for n in names if Path(n).suffix.lower() in LABEL_SUFFIXES]
        for file in files:
            if file.name.startswith("."):
                continue
            # of thousands, one for every picture, the first tell what all are
            if looked_at < _LOOKED_AT:
                looked_at += 1
                name = format_of(file)
            else:
                name = next((each for each in ("labelme", "voc") if each in by_format), None)
                name = name if name and by_format[name][0].suffix == file.suffix else None
            if name:
                by_format.setdefault(name, []).append(file)
    if not by_format and (classes := _yolo_without_yaml(folder)):
        return Found("yolo", [classes])
    for name in ("yolo", "coco", "cvat", "labelme", "voc"):
        if name in by_format:
            return Found(name, by_format[name][:1] if name == "yolo" else by_format[name])
    return None


def _yolo_without_yaml(folder: Path) -> Path | None:
    """`classes.txt`, or else the folder, where texts of numbers lie below a folder labels."""
    for place, names in walk_folders(folder, (), _refuse):
        if "labels" not in place.relative_to(folder).parts:
            continue
        texts = [place / name for name in names if name.endswith(".txt") and name != "classes.txt"]
        if any(re.match(rb"\d+( [\d.e-]+){4,}(\s|$)", _head(each)) for each in texts[:_LOOKED_AT]):
            classes = [each / "classes.txt" for each in (folder, place, place.parent)]
            return next((each for each in classes if each.is_file()), folder)
    return None


def _refuse(error: OSError) -> None:
    raise DataError(
        f"the folder {error.filename} cannot be read ({error.strerror}); mend or remove it"
    ) from error


def _by_folders(folder: Path) -> Found | None:
    below = [each for each in sorted(folder.iterdir()) if each.is_dir()]
    for place in (folder, *below, *(each for inner in below[:20] for each in _folders(inner))):
        if (place / "SegmentationClass").is_dir():
            return Found("voc", [place])
    if any((each / "ground_truth").is_dir() and (each / "test").is_dir() for each in below):
        return Found("mvtec", [folder])
    if (folder / "ground_truth").is_dir() and (folder / "test").is_dir():
        return Found("mvtec", [folder])
    return None


def _folders(folder: Path) -> list[Path]:
    try:
        return [each for each in sorted(folder.iterdir()) if each.is_dir()]
    except OSError:  # told of by whoever needs it
        return []
