"""The formats that labels are read in, by name or by what lies there."""

from __future__ import annotations

from pathlib import Path

from dsunet.data.labels import masks as layouts
from dsunet.data.labels.annotated import Annotated, PictureFiles, files_below
from dsunet.data.labels.coco import read_coco
from dsunet.data.labels.cvat import read_cvat
from dsunet.data.labels.labelme import read_labelme
from dsunet.data.labels.sniff import FORMATS, find_labels, format_of, other_tool
from dsunet.data.labels.voc import read_voc, read_voc_xml
from dsunet.data.labels.yolo import read_yolo
from dsunet.data.places import guess_places
from dsunet.data.sources import foreign_content
from dsunet.errors import ConfigError, DataError, few, perhaps

__all__ = ["read_labels"]

_OF_MASKS = ("mvtec", "folders", "masks")
_ENDINGS = {"coco": ".json", "labelme": ".json", "cvat": ".xml", "voc": ".xml", "yolo": ".yaml"}

# Folders that hold labels beside those of the pictures.
_BESIDE = ("annotations", "annotation", "labels", "json", "jsons", "xml", "coco")


def read_labels(
    source: str | Path,
    *,
    format: str = "auto",  # noqa: A002 as the flag is called
    images: str | Path | None = None,
    masks: str | Path | None = None,
    mask_suffix: str | None = None,
    missing_masks: layouts.Missing = "error",
    output: str | Path | None = None,
) -> Annotated:
    """What labels say, whatever their format.

    Args:
        source: The file of labels, or the folder that they lie in.
        format: One of `FORMATS`.
        images: Folder of the pictures; looked for in and beside `source` if it is not given.
        masks: Folder of the masks, of the format `masks`.
        mask_suffix: What masks' stems have behind their images'.
        missing_masks: What of pictures without a mask, where masks are files.
        output: The folder to import to, which is not looked into if it lies below `source`.

    Raises:
        ConfigError: The format is unknown.
        DataError: There are no labels, or they cannot be read.
    """
    if format not in FORMATS:
        raise ConfigError(
            f"format is {format!r}, but needs one of {', '.join(FORMATS)}{perhaps(format, FORMATS)}"
        )
    place = Path(source)
    folder = None if images is None else Path(images)
    if not place.exists():
        raise DataError(f"there is no {place}; give a file of labels, or the folder of a data set")
    if folder is not None and not folder.is_dir():
        raise DataError(f"there is no folder {folder}; give the one that the pictures lie in")
    kind, files = _kind_of_file(place, format) if place.is_file() else _in_folder(place, format)
    if kind in _OF_MASKS:
        told = Path(masks) if masks is not None else None
        found = _read_masks(kind, place, folder, told, mask_suffix, missing_masks)
    else:
        without = None if output is None else Path(output)
        pictures = PictureFiles([folder] if folder is not None else _around(place), without)
        found = _read_files(kind, files, pictures)
    if not found.pictures:
        raise DataError(f"{place} has no picture with labels of the format {kind}")
    return found


def _kind_of_file(file: Path, given: str) -> tuple[str, list[Path]]:
    if given in _OF_MASKS:
        raise ConfigError(f"{file} is a file, but the format {given} needs a folder")
    kind = format_of(file) if given == "auto" else given
    if kind is None:
        tool, foreign = other_tool(file), foreign_content(file)
        what = (
            f"it is of {tool}: export COCO" if tool else "known are COCO and LabelMe (JSON), CVAT"
        )
        what += "" if tool else " and VOC (XML) and YOLO's data.yaml"
        what = f"{foreign}; unpack it" if foreign and "archive" in foreign else what
        raise DataError(f"{file} is of no known format of labels ({what}); `format` may tell it")
    return kind, [file]


def _in_folder(folder: Path, given: str) -> tuple[str, list[Path]]:
    """The format of what lies in a folder, and its files."""
    if given in _OF_MASKS:
        return given, []
    found = find_labels(folder)
    if given == "auto":
        if found is not None:
            return found
        if any(each.is_dir() for each in folder.iterdir()) and _by_classes(folder):
            return "folders", []
        return "masks", []
    if found is not None and found.format == given:
        return found
    ending = _ENDINGS[given]
    files = files_below(folder, (ending,))
    if not files:
        raise DataError(f"{folder} has no {ending} file, so no labels of the format {given}")
    return given, files


def _by_classes(folder: Path) -> bool:
    """Whether there are folders of classes, and no pairs by themselves."""
    try:
        if not all(each.trouble for each in layouts.read_masks(folder).pictures):
            return False
    except DataError:
        pass
    if layouts.class_folders(folder):
        return True
    places = guess_places(folder)
    return places is not None and any(
        each.is_dir() and not each.name.startswith(".") for each in places[1].iterdir()
    )


def _around(place: Path) -> list[Path]:
    """Folders that pictures may lie in."""
    if place.is_dir():
        return [place]
    return [place.parent.parent if place.parent.name.lower() in _BESIDE else place.parent]


def _read_files(kind: str, files: list[Path], pictures: PictureFiles) -> Annotated:
    if kind == "coco":
        found = read_coco(files, pictures)
    elif kind == "labelme":
        found = read_labelme(files, pictures)
    elif kind == "cvat":
        found = read_cvat(files, pictures)
    elif kind == "yolo":
        found = read_yolo(files[0], pictures)
    elif files[0].is_dir():
        found = read_voc(files[0], pictures)
    else:
        found = read_voc_xml(files, pictures)
    missing = [each.name for each in found.pictures if each.path is None and not each.content]
    if not found.pictures:
        raise DataError(f"{few(files)} names no picture; export it again, with the labels")
    if len(missing) == len(found.pictures):
        troubles = [each.trouble for each in found.pictures if each.trouble]
        if troubles:
            raise DataError(troubles[0])
        where = few(pictures.folders)
        raise DataError(
            f"none of the {len(missing)} pictures that the labels name ({few(missing)}) is in "
            f"{where}; give the folder that they lie in as `images`"
        )
    return found


def _read_masks(
    kind: str,
    place: Path,
    images: Path | None,
    masks: Path | None,
    suffix: str | None,
    missing: layouts.Missing,
) -> Annotated:
    if kind == "mvtec":
        return layouts.read_mvtec(place)
    if kind == "folders":
        return layouts.read_folders(place, mask_suffix=suffix, missing_masks=missing)
    return layouts.read_masks(
        place, images=images, masks=masks, mask_suffix=suffix, missing_masks=missing
    )
