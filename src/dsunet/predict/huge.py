"""Pictures that are larger than memory: read, segmented and written a band of tiles at a time."""

from __future__ import annotations

import errno
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from dsunet.config import Options
from dsunet.data.augment import Box
from dsunet.data.colour import profile_trouble
from dsunet.data.pixels import turn_back
from dsunet.data.sources import Source
from dsunet.data.strips import Strips, strips_of, vips
from dsunet.data.tiles import Grid
from dsunet.metrics.detection import image_score
from dsunet.predict.encoding import Kept, kept_of
from dsunet.predict.inputs import Taken
from dsunet.predict.segmenter import Segmenter
from dsunet.running.maps import quantise
from dsunet.running.tiling import blended_bands
from dsunet.support.files import PNG_LEVEL, replace_durably, temporary_beside

__all__ = ["Found", "Huge", "as_huge", "whole_for"]


KINDS = ("probability", "binary")
"""What can be written without the whole picture."""

_INCH = 25.4  # millimetres
_ROWS = 64  # that are made ready to be written at a time


def whole_for(options: Options) -> str:
    """Why outputs take a whole picture and its whole map at a time; empty if they do not."""
    if whole := [kind for kind in options.save if kind not in KINDS]:
        return f"{' and '.join(whole)} show it with all its pixels"
    if any(options.refines(kind) for kind in options.save):
        return "edges follow all its pixels (`refine`)"
    for name in ("crop_to_object", "benchmark_normalization", "keep_exif"):
        if getattr(options, name):
            return f"`{name}` is not done band by band"
    return "" if options.format == "png" else f"{options.format} is encoded as a whole"


class Found:
    """What is known of a map that was never there as a whole; nothing yet."""

    def __init__(self, least: float) -> None:
        self.levels = np.zeros(256, np.int64)
        """Pixels of each grey value."""
        self._least = least
        self._pixels, self._sum = 0, 0.0

    def add(self, band: np.ndarray, levels: np.ndarray) -> None:
        """Some rows: H×W float32 in 0..1, and as they are written."""
        object_ = band[band >= self._least]
        self._pixels += object_.size
        self._sum += float(object_.sum(dtype=np.float64))
        self.levels += np.bincount(levels.ravel(), minlength=256)

    @property
    def score(self) -> float:
        """Mean probability of the object's pixels, 0 without any."""
        return self._sum / self._pixels if self._pixels else 0.0

    @property
    def empty(self) -> bool:
        """Whether all of the map is black."""
        return not self.levels[1:].any()


@dataclass(frozen=True)
class Huge:
    """A picture that is read from top to bottom."""

    strips: Strips
    upright: bool
    """Whether it is seen as its EXIF orientation says."""
    kept: Kept
    """What its outputs keep of its file."""
    profile_trouble: str
    """Why its colour profile cannot be used; empty if it can, or there is none."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height as it is seen."""
        return self.strips.header.seen_size(upright=self.upright)

    @property
    def frames(self) -> bool:
        """Whether it has more pages or frames than the first."""
        return self.strips.header.frames

    @property
    def orientation(self) -> int:
        """By which it is turned to be seen."""
        return self.strips.header.orientation if self.upright else 1

    def write(
        self, segmenter: Segmenter, options: Options, paths: Mapping[str, Path], batch_size: int
    ) -> Found:
        """Segments it and writes its outputs.

        Beside each output lies a file of one byte a pixel meanwhile, which takes no memory.

        Args:
            segmenter: The model, which goes by tiles.
            options: What to write.
            paths: The file of each kind.
            batch_size: How many tiles go in one pass.

        Returns:
            What was written: nothing, if the map was taken for one without an object.

        Raises:
            ImageError: The file is cut off or broken.
            OSError: Something cannot be written.
        """
        found, (width, height) = Found(options.object_from), self.strips.header.size
        with ExitStack() as stack:
            raw = {kind: stack.enter_context(temporary_beside(at)) for kind, at in paths.items()}
            with ExitStack() as opened:
                files = {}
                for kind, at in raw.items():
                    begin = _begun(at, width, height)
                    files[kind] = opened.enter_context(open(at, "rb+"))
                    files[kind].seek(begin)
                self._segment(segmenter, options, files, found, batch_size)
            least = options.image_threshold
            empty = options.abstain and least is not None and image_score(found.levels) < least
            for kind, path in paths.items():
                self._encode(raw[kind], path, empty)
        return Found(options.object_from) if empty else found

    def _segment(
        self,
        segmenter: Segmenter,
        options: Options,
        files: Mapping[str, BinaryIO],
        found: Found,
        batch_size: int,
    ) -> None:
        """Writes the rows of each output as they are found, as the picture is stored."""
        tiles, orientation = segmenter.tiles, self.orientation
        assert tiles is not None
        width, height = self.size

        def maps_of(boxes: Sequence[Box]) -> list[np.ndarray]:
            parts = [self.strips.part(box) for box in boxes]
            seen = [Taken(*part.as_colours(upright=self.upright)).seen for part in parts]
            return [_turned_back(map_, orientation) for map_ in tiles.maps_of(seen)]

        grid = Grid.of(height, width, tiles.tiling).stored(orientation)
        for _, band in blended_bands(grid, maps_of, batch_size):
            for start in range(0, len(band), _ROWS):
                probability = band[start : start + _ROWS].clip(0, 1)
                levels = quantise(probability)
                found.add(probability, levels)
                for kind, file in files.items():
                    above = probability >= options.object_from
                    rows = levels if kind == "probability" else above.view(np.uint8) * np.uint8(255)
                    file.write(rows.tobytes())

    def _encode(self, raw: Path, path: Path, empty: bool) -> None:
        """A file of grey values, as the picture is stored → the picture's output, upright."""
        package, orientation = vips(), self.orientation
        width, height = self.strips.header.size
        try:
            if empty:
                picture = package.Image.black(width, height)
            elif orientation == 1:
                picture = package.Image.tiffload(str(raw), access="sequential")
            else:  # it takes its rows in another order, which mapped memory gives
                picture = package.Image.rawload(str(raw), width, height, 1, offset=_offset(raw))
            picture = picture.copy(interpretation="b-w")
            picture.set_type(package.GValue.gint_type, "orientation", orientation)
            picture = picture.autorot()
            # a resolution is always written; of 0 it is none to any reader
            across, down = (value / _INCH for value in self.kept.dpi or (0, 0))
            picture = picture.copy(xres=across, yres=down)
            with temporary_beside(path) as temporary:
                picture.pngsave(str(temporary), compression=PNG_LEVEL, keep="none")
                replace_durably(temporary, path)
        except package.Error as error:
            text = " ".join(str(error).split())
            number = errno.ENOSPC if "No space left" in text else errno.EIO
            raise OSError(number, text, str(path)) from error


def _begun(path: Path, width: int, height: int) -> int:
    """Makes a TIFF of grey values, not compressed; gives where they begin in the file."""
    import tifffile

    tifffile.imwrite(
        path,
        shape=(height, width),
        dtype=np.uint8,
        photometric="minisblack",
        rowsperstrip=_ROWS,
        bigtiff=True,
        metadata=None,
    )
    return _offset(path)


def _offset(path: Path) -> int:
    """Where the values of such a file begin."""
    import tifffile

    with tifffile.TiffFile(path) as tiff:
        return int(tiff.pages.first.dataoffsets[0])


def _turned_back(map_: np.ndarray, orientation: int) -> np.ndarray:
    """A map of a part as it is seen → as it is stored."""
    if orientation == 1:
        return map_
    return np.asarray(turn_back(Image.fromarray(map_), orientation))


def as_huge(source: Source, segmenter: Segmenter, options: Options) -> Huge | str:
    """A picture that is to be read from top to bottom; or why one so large is not.

    Returns:
        Empty where there is nothing to say: the picture is not that large, or does not go by tiles.

    Raises:
        ImageError: It has more pixels than are allowed, or is broken.
    """
    if segmenter.tiles is None:
        return ""
    strips = strips_of(source, segmenter.intensity)
    if isinstance(strips, str):
        return strips
    upright = not options.ignore_orientation
    if segmenter.tiles.tiling.fits(*strips.header.size):
        return ""
    if reason := whole_for(options):
        return reason
    corner = strips.part((0, 0, 1, 1))
    return Huge(strips, upright, kept_of(corner, upright=upright), profile_trouble(corner.pixels))
