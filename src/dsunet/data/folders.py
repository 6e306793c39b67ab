"""What lies in folders and archives of images and masks, and how folders divide a set."""

from __future__ import annotations

import os
import tarfile
import unicodedata
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from dsunet.data.patterns import Name
from dsunet.data.sources import IMAGE_SUFFIXES, Source, TarMember, is_image_name, name_of
from dsunet.errors import DataError

__all__ = [
    "Listing",
    "Place",
    "list_archive",
    "list_below",
    "list_folder",
    "list_images",
    "parts_of",
    "stem_of",
    "walk_folders",
]

# What folders call the parts of a set.
_PARTS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}


@dataclass(frozen=True)
class Listing:
    """Image files of one place by the names that partners share, and what else is there."""

    files: list[tuple[Name, Source]] = field(default_factory=list)
    others: list[Path] = field(default_factory=list)
    """Other files and folders, but for hidden ones."""


@dataclass(frozen=True)
class Place:
    """Where a part of a set lies: `data`, or `images` and `masks`."""

    data: Path | None = None
    images: Path | None = None
    masks: Path | None = None


def stem_of(source: Source) -> str:
    """The name that pairs share: without ending, and composed (NFC) whatever system wrote it."""
    return unicodedata.normalize("NFC", PurePosixPath(name_of(source)).stem)


def list_images(folder: str | Path) -> list[Path]:
    """Image files directly in a folder, by name; hidden files are left out.

    Raises:
        DataError: The folder is missing or holds no image.
    """
    folder = Path(folder)
    _need_folder(folder)
    images, _ = list_folder(folder)
    if not images:
        raise _no_images(folder)
    return images


def list_folder(folder: Path) -> tuple[list[Path], list[Path]]:
    """Image files directly in a folder, and what else there is but for hidden files, by name."""
    images: list[Path] = []
    others: list[Path] = []
    for file in sorted(folder.iterdir()):
        if is_image_name(file.name) and not file.is_dir():
            images.append(file)
        elif not file.name.startswith("."):
            others.append(file)
    return images, others


def list_below(folder: str | Path, without: Path | None = None) -> Listing:
    """The images in a folder; where it holds none itself, those in folders below it.

    Args:
        folder: The folder.
        without: A folder that is not looked into.

    Raises:
        DataError: The folder is missing, holds no image, or one below it cannot be read.
    """
    folder = Path(folder)
    _need_folder(folder)
    images, others = list_folder(folder)
    if without is not None:
        others = [path for path in others if os.path.realpath(path) != os.path.realpath(without)]
    if images:
        return Listing([(("", stem_of(file)), file) for file in images], others)
    left_out = () if without is None else (os.path.realpath(without),)
    files: list[tuple[Name, Source]] = []
    for place, names in walk_folders(folder, left_out, _refuse):
        below = unicodedata.normalize("NFC", place.relative_to(folder).as_posix())
        files += [
            ((below, stem_of(place / name)), place / name) for name in names if is_image_name(name)
        ]
    if not files:
        raise _no_images(folder)
    return Listing(files, [path for path in others if not path.is_dir()])


def _need_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise DataError(
            f"there is no folder {folder}; needed are images/ and masks/ with files of equal stems"
        )


def _no_images(folder: Path) -> DataError:
    endings = " ".join(sorted(IMAGE_SUFFIXES))
    return DataError(f"{folder} holds no images; known endings are {endings}")


def _refuse(error: OSError) -> None:
    raise DataError(
        f"the folder {error.filename} cannot be read ({error.strerror}); mend or remove it"
    ) from error


def walk_folders(
    folder: Path, without: Collection[str], failed: Callable[[OSError], None]
) -> Iterator[tuple[Path, list[str]]]:
    """A folder and those below it, each with the names of its files, sorted.

    Hidden folders are left out; linked ones are not, but each real folder comes once.

    Args:
        folder: Where to begin.
        without: Real paths of folders that are not looked into, unless it begins there.
        failed: Called with the error of a folder that cannot be read; the others follow.
    """
    seen: set[str] = set()
    for place, folders, files in os.walk(folder, onerror=failed, followlinks=True):
        real = os.path.realpath(place)
        if real in seen or (real in without and Path(place) != folder):
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield Path(place), sorted(files)


def parts_of(
    data: str | Path | None, images: str | Path | None, masks: str | Path | None
) -> dict[str, Place]:
    """The parts that folders divide a set into: some of `train`, `val` and `test`, with places.

    They lie below both folders (`images/train` and `masks/train`), or hold both
    (`train/images` and `train/masks`); `training`, `valid`, `validation` and `testing` are names of
    them, too. A folder that holds images itself is not divided.

    Raises:
        DataError: A part of the images has no folder of masks.
    """
    if data is not None:
        root = Path(data)
        if not root.is_dir():
            return {}
        if not (root / "images").is_dir():
            return {name: Place(data=place) for name, place in _divided(root).items()}
        images, masks = root / "images", root / "masks"
    if images is None or masks is None:
        return {}
    of_images, of_masks = _divided(Path(images)), _divided(Path(masks))
    for name, place in of_images.items():
        if name not in of_masks:
            raise DataError(
                f"{images} is divided into {', '.join(of_images)}, but {masks} has no folder "
                f"{place.name}; divide the masks in the same way"
            )
    return {name: Place(images=place, masks=of_masks[name]) for name, place in of_images.items()}


def _divided(folder: Path) -> dict[str, Path]:
    """The folders of a folder's parts, by today's names of these; none if it holds images."""
    try:
        found, others = list_folder(folder)
    except OSError:  # told of when it is read
        return {}
    if found:
        return {}
    parts: dict[str, Path] = {}
    for path in others:
        name = _PARTS.get(path.name.casefold())
        if name is None or not path.is_dir():
            continue
        if name in parts:
            raise DataError(
                f"{parts[name]} and {path} are both called {name}; join them, or rename one"
            )
        parts[name] = path
    return {name: parts[name] for name in ("train", "val", "test") if name in parts}


def list_archive(archive: Path) -> tuple[Listing, Listing]:
    """The members of `images/` and `masks/`; nothing is ever unpacked."""
    if not archive.is_file():
        raise DataError(f"there is no archive {archive}; give an existing .tar file or a folder")
    found: dict[str, list[tuple[Name, Source]]] = {"images": [], "masks": []}
    try:
        with tarfile.open(archive, "r:") as tar:
            for member in tar:
                path = PurePosixPath(member.name)
                folder = path.parent.name
                if folder not in found or path.suffix.lower() not in IMAGE_SUFFIXES:
                    continue
                if (
                    not member.isreg()
                    or member.issparse()
                    or path.is_absolute()
                    or ".." in path.parts
                ):
                    raise DataError(
                        f"{archive} holds {member.name!r}, which is a link, a device or an unsafe "
                        "path; make the archive again from plain files"
                    )
                if not path.name.startswith("."):
                    source = TarMember(archive, member.name, member.offset_data, member.size)
                    found[folder].append((("", stem_of(source)), source))
    except (tarfile.TarError, OSError, ValueError, OverflowError) as error:
        raise DataError(
            f"{archive} is no uncompressed tar archive ({error}); unpack it, or pack it by tar -cf"
        ) from error
    for folder, files in found.items():
        if not files:
            raise DataError(f"{archive} holds no images under {folder}/; needed are both folders")
    return Listing(found["images"]), Listing(found["masks"])
