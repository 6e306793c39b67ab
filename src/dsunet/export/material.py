"""Pictures that a file is compared, measured and calibrated on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from PIL import Image

from dsunet.data.folders import list_images, parts_of
from dsunet.data.images import read_image
from dsunet.data.pairing import find_pairs
from dsunet.data.pairs import Pair
from dsunet.data.sources import Source, name_of
from dsunet.data.synthetic import synthetic_pair
from dsunet.errors import DataError, ImageError

__all__ = ["CALIBRATED", "COMPARED", "MEASURED", "Case", "Material", "made_pictures", "pictures_in"]

COMPARED = 16
"""The most pictures of the user's that are compared pixel by pixel."""

MEASURED = 200
"""The most pairs that S is measured on."""

CALIBRATED = 48
"""The most pictures that an int8 file is calibrated on."""

_T = TypeVar("_T")


@dataclass(frozen=True)
class Case:
    """A picture, RGB."""

    name: str
    picture: Image.Image


@dataclass(frozen=True)
class Material:
    """What a file is held against its network on."""

    cases: list[Case]
    pairs: list[Pair] = field(default_factory=list)
    """Pictures with masks; none where there are no masks."""
    folder: Path | None = None
    """Where they are from; `None` for made ones."""
    intensity: str = "full"
    """Which stored values are black and white, see `ModelConfig`."""

    @classmethod
    def of(
        cls, folder: str | Path | None, intensity: str, on_line: Callable[[str], None]
    ) -> Material:
        """That of a folder, evenly drawn; without a folder, made pictures.

        Pairs are found as by `dsunet.data.find_pairs`, if there is a folder `masks/`, a folder that
        is divided into parts with both kinds, or a `.tar` file; else there are pictures alone.

        Args:
            folder: Of images, or with `images/` in it.
            intensity: Which stored values are black and white, see `ModelConfig`.
            on_line: Is told of pictures that cannot be read.

        Raises:
            DataError: There is no image, or a picture has no mask or a mask no picture.
        """
        if folder is None:
            return cls(made_pictures(5))
        root = Path(folder)
        if not _has_masks(root):
            return cls(pictures_in(root, COMPARED, intensity, on_line), [], root, intensity)
        found = find_pairs(root)
        pairs = [replace(pair, intensity=intensity) for pair in _drawn(found, MEASURED)]
        chosen = _drawn(pairs, COMPARED)
        cases = _read([pair.image for pair in chosen], intensity, on_line)
        return cls(_some(cases, root), pairs, root, intensity)

    def calibration(
        self, folder: str | Path | None, on_line: Callable[[str], None]
    ) -> tuple[list[Case], str]:
        """Pictures to calibrate on, evenly drawn, and where they are from, in words.

        Args:
            folder: Of images, or with `images/` in it; without it they are the pictures that the
                file is held against its network on, or made ones where there are none.
            on_line: Is told of pictures that cannot be read.

        Raises:
            DataError: There is no image.
        """
        if folder is not None:
            chosen = pictures_in(Path(folder), CALIBRATED, self.intensity, on_line)
            return chosen, "the calibration data"
        if self.folder is None:
            return made_pictures(CALIBRATED), "made"
        if not self.pairs:
            chosen = pictures_in(self.folder, CALIBRATED, self.intensity, on_line)
        else:
            files = [pair.image for pair in _drawn(self.pairs, CALIBRATED)]
            chosen = _some(_read(files, self.intensity, on_line), self.folder)
        return chosen, "the data that it is verified on"

    def picture(self, name: str) -> Case:
        """The picture of a name that the file was compared or measured on."""
        for case in self.cases:
            if case.name == name:
                return case
        [pair] = [pair for pair in self.pairs if pair.name == name]
        return Case(name, read_image(pair.image, intensity=self.intensity))


def made_pictures(number: int) -> list[Case]:
    """Pictures made by the computer, for who gives none; see `dsunet.data.synthetic`."""
    return [Case(f"made {i}", synthetic_pair(i, 320)[0]) for i in range(number)]


def pictures_in(
    folder: Path, number: int, intensity: str, on_line: Callable[[str], None]
) -> list[Case]:
    """Some of a folder's images, evenly drawn; those that cannot be read are told of.

    Args:
        folder: Of images, or with `images/` in it.
        number: How many at most.
        intensity: Which stored values are black and white, see `ModelConfig`.
        on_line: Is told of those that cannot be read.

    Raises:
        DataError: There is none.
    """
    inside = folder / "images" if (folder / "images").is_dir() else folder
    if not inside.is_dir():
        raise DataError(f"there is no folder {inside}; give a folder of images")
    return _some(_read(_drawn(list_images(inside), number), intensity, on_line), inside)


def _has_masks(root: Path) -> bool:
    archive = root.suffix.lower() == ".tar" and root.is_file()
    return archive or (root / "masks").is_dir() or bool(parts_of(root, None, None))


def _drawn(items: Sequence[_T], number: int) -> list[_T]:
    """So many of some items at most, at even distances."""
    if len(items) <= number:
        return list(items)
    return [items[i * len(items) // number] for i in range(number)]


def _read(files: Sequence[Source], intensity: str, on_line: Callable[[str], None]) -> list[Case]:
    cases: list[Case] = []
    for file in files:
        try:
            cases.append(Case(name_of(file), read_image(file, intensity=intensity)))
        except ImageError as error:
            on_line(f"left out: {error}")
    return cases


def _some(cases: list[Case], folder: Path) -> list[Case]:
    if not cases:
        raise DataError(f"there is no image that can be read in {folder}; give a folder of images")
    return cases
