"""Feature maps of images on disk, found again by the images' content.

A store is a folder of four files. `about.json` says what is in it; `keys.bin` has one SHA-256 an
image, in the order in which they came; `features.bin` has one record of fixed size for each image
and flip, all of them side by side, as a sparse file that takes disk only where something was
written; `sums.bin` has the CRC-32 of every image's key and record, 0 where there is none yet. A
record is written before its sum, and read only where key, record and sum agree, so whatever happens
to a process, the disk or one of the files, a record is whole and that image's, or it is absent.
Any number of processes may read and write at a time.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from dsunet.data.dataset import Slot
from dsunet.data.images import Header, decode, read_header
from dsunet.data.intensity import mark_of
from dsunet.data.pairs import Pair, choose_orientation
from dsunet.data.sources import Source, content_stamp, open_source
from dsunet.errors import DataError, OutputError
from dsunet.support.files import lock_folder, write_json

__all__ = [
    "FLIPS",
    "FeatureKind",
    "FeatureStore",
    "StoredImages",
    "content_key",
    "flip_number",
    "record_bytes",
]

FLIPS = 4
FORMAT = 1
_KEY_BYTES = 32


def flip_number(axes: Iterable[int]) -> int:
    """A number for the flipped axes (-1 is left and right, -2 top and bottom): 0 to 3."""
    return sum(1 if axis == -1 else 2 for axis in set(axes))


def content_key(pair: Pair, preview: int | None = None) -> bytes:
    """What tells the picture that the network sees from others: 32 bytes.

    The SHA-256 of the image's file; where the picture is taken as it is stored although its EXIF
    says otherwise, read as a preview (see `read_pair`), or not by the full range of its values, of
    a mark behind it, too.

    Raises:
        DataError: A file cannot be read, or image and mask differ in size.
    """
    with open_source(pair.image) as file:
        content = file.read()
    key = hashlib.sha256(content)
    image = _header(pair.image, content)
    if image.orientation >= 5:
        with open_source(pair.mask) as file:
            mask = _header(pair.mask, file.read())
        if not choose_orientation(image, mask)[0]:
            key.update(b"as stored")
    if preview is not None and image.format in ("JPEG", "MPO"):
        key.update(f"preview {preview}".encode())
    key.update(mark_of(pair.intensity))
    return key.digest()


def _header(source: Source, content: bytes) -> Header:
    header = read_header(source)
    # a PNG's EXIF may come after the pixels, where only decoding finds it
    return decode(source) if header.format == "PNG" and b"eXIf" in content else header


def record_bytes(shapes: Iterable[tuple[int, int, int]], dtype: str) -> int:
    """Bytes of maps of these channels, heights and widths."""
    return sum(c * h * w for c, h, w in shapes) * np.dtype(dtype).itemsize


@dataclass(frozen=True)
class FeatureKind:
    """What the maps in a store are, and what they depend on beside the image."""

    encoder: str
    """timm's name of the architecture."""
    weights: str
    """Fingerprint of its weights, see `dsunet.weights`."""
    size: tuple[int, int]
    """Height and width of the view in pixels."""
    depths: tuple[int, ...]
    """After how many blocks the maps are taken."""
    norm: bool
    """Whether they have passed the final LayerNorm."""
    shapes: tuple[tuple[int, int, int], ...]
    """Channels, height and width of each map."""
    interpolate: str
    """How position embeddings were brought to the view's grid."""
    precision: str
    """What the encoder computes in."""
    dtype: str
    """What the maps are stored in: `float16` or `float32`."""

    @property
    def name(self) -> str:
        """Short name that other kinds do not have."""
        text = json.dumps({"format": FORMAT, **asdict(self)}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def record_bytes(self) -> int:
        """Bytes of the maps of one image and flip."""
        return record_bytes(self.shapes, self.dtype)


@dataclass(frozen=True)
class StoredImages:
    """Which images of a data set are which in a store."""

    store: FeatureStore
    numbers: list[int]
    """Of every pair's image in the store; -1 for one that could not be read."""
    stamps: list[tuple[int, int] | None]
    """`Stamp.of_content` of every image when it was looked at."""

    def place(self, index: int, source: Source, axes: Iterable[int]) -> Slot | None:
        """Where the maps of a pair's image, flipped along some axes, are or belong.

        Raises:
            DataError: The image was written to in the meantime, and may be another one.
        """
        if self.numbers[index] < 0:
            return None
        if content_stamp(source) != self.stamps[index]:
            raise DataError(
                f"{source} has changed since the feature cache looked at it; leave images alone "
                "while they are used, and go on with `resume`"
            )
        return self.numbers[index], flip_number(axes)

    def read(self, place: Slot) -> tuple[np.ndarray, ...] | None:
        """The maps C×H×W of one image and flip, copied; `None` if they are absent or broken."""
        return self.store.read(place)


class FeatureStore:
    """The feature maps of one kind in a folder.

    Args:
        folder: An existing store.

    Raises:
        OutputError: There is none, or a file of it is broken.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        about = folder / "about.json"
        try:
            content = json.loads(about.read_bytes())
            self.kind = _kind_of(content)
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise OutputError(
                f"{folder} is no feature store that can be read ({about.name}: "
                f"{' '.join(str(error).split())}); remove that folder, and it is made anew"
            ) from error

    @classmethod
    def open(cls, folder: Path, kind: FeatureKind) -> FeatureStore:
        """The store in a folder; it is made if there is none.

        Raises:
            OutputError: The folder cannot be written to, or holds another kind.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if not (folder / "about.json").exists():
                write_json(folder / "about.json", {"format": FORMAT, **asdict(kind)})
        except OSError as error:
            raise OutputError(
                f"the feature cache {folder} cannot be written to ({error.strerror}); choose "
                "another folder"
            ) from error
        store = cls(folder)
        if store.kind != kind:
            raise OutputError(f"{folder} holds features of another kind; remove it")
        return store

    def __getstate__(self) -> dict[str, Any]:
        """For a loader's process, which maps the files anew."""
        return {"folder": self.folder, "kind": self.kind, "_keys": self._keys}

    # -- images

    def keys(self) -> list[bytes]:
        """The content of every image in it, in the order of their numbers."""
        try:
            content = (self.folder / "keys.bin").read_bytes()
        except FileNotFoundError:
            return []
        # a killed process may have left a part of one
        return [content[i : i + _KEY_BYTES] for i in range(0, len(content) - 31, _KEY_BYTES)]

    def add(self, keys: Iterable[bytes]) -> dict[bytes, int]:
        """Makes room for images that are not in it yet; returns the number of every image.

        Raises:
            OSError: The disk does not allow it.
            OutputError: Another process holds the store for longer than a minute.
        """
        keys = list(dict.fromkeys(keys))
        if known := self._all_known(keys):  # the disk may be read-only
            return known
        with lock_folder(self.folder, wait=60):
            before = self.keys()
            present = set(before)
            after = [*before, *(key for key in keys if key not in present)]
            # the keys come last: an image that has one has room, too
            for name, size in (
                ("features.bin", self.kind.record_bytes * FLIPS),
                ("sums.bin", 4 * FLIPS),
            ):
                with open(self.folder / name, "ab") as file:
                    if file.tell() < size * len(after):
                        file.truncate(size * len(after))
            with open(self.folder / "keys.bin", "ab") as file:
                file.truncate(len(before) * _KEY_BYTES)
                file.seek(0, os.SEEK_END)
                file.write(b"".join(after[len(before) :]))
                file.flush()
                os.fsync(file.fileno())
        self._forget_mapped(after)
        return {key: number for number, key in enumerate(after)}

    def _all_known(self, keys: Sequence[bytes]) -> dict[bytes, int]:
        """The numbers of all images if they have room; none if one has not."""
        present = self.keys()
        number_of = {key: number for number, key in enumerate(present)}
        for name, size in (("features.bin", self.kind.record_bytes), ("sums.bin", 4)):
            file = self.folder / name
            if not file.exists() or file.stat().st_size < size * FLIPS * len(present):
                return {}
        if any(key not in number_of for key in keys):
            return {}
        self._forget_mapped(present)
        return number_of

    def _forget_mapped(self, keys: list[bytes]) -> None:
        """The files may have grown."""
        for mapped in ("_sums", "_records"):
            self.__dict__.pop(mapped, None)
        self._keys = keys

    # -- maps

    @cached_property
    def _keys(self) -> list[bytes]:
        """The images that the numbers mean here, whatever others have written since."""
        return self.keys()

    @cached_property
    def _sums(self) -> np.ndarray:
        return self._mapped("sums.bin", np.dtype("<u4"), 1)[..., 0]

    @cached_property
    def _records(self) -> np.ndarray:
        return self._mapped("features.bin", np.dtype("u1"), self.kind.record_bytes)

    def _mapped(self, name: str, dtype: np.dtype[Any], length: int) -> np.ndarray:
        """A file as images × flips × length."""
        path = self.folder / name
        images = path.stat().st_size // (FLIPS * length * dtype.itemsize) if path.exists() else 0
        shape = (images, FLIPS, length)
        return np.memmap(path, dtype, "r", shape=shape) if images else np.empty(shape, dtype)

    def has(self, place: Slot) -> bool:
        """Whether something was written there; `read` tells whether it is whole."""
        return place[0] < len(self._sums) and bool(self._sums[place])

    def read(self, place: Slot) -> tuple[np.ndarray, ...] | None:
        """The maps C×H×W of one image and flip, copied; `None` if they are absent or broken."""
        if not self.has(place) or place[0] >= min(len(self._records), len(self._keys)):
            return None
        record = self._records[place].tobytes()
        if _sum(self._keys[place[0]], record) != self._sums[place]:
            return None
        values = np.frombuffer(bytearray(record), self.kind.dtype)
        ends = np.cumsum([c * h * w for c, h, w in self.kind.shapes])
        parts = np.split(values, ends[:-1])
        return tuple(p.reshape(s) for p, s in zip(parts, self.kind.shapes, strict=True))

    def write(self, place: Slot, maps: Sequence[np.ndarray]) -> None:
        """Writes the maps of one image and flip.

        Raises:
            OSError: The disk is full, say; the place counts as absent then.
        """
        record = b"".join(np.ascontiguousarray(m, self.kind.dtype).tobytes() for m in maps)
        if len(record) != self.kind.record_bytes:
            raise ValueError("maps of other shapes than the store's")
        number = place[0] * FLIPS + place[1]
        _write_at(self.folder / "features.bin", record, number * len(record))
        total = np.uint32(_sum(self._keys[place[0]], record))
        _write_at(self.folder / "sums.bin", total.tobytes(), number * 4)

    # -- upkeep

    def verify(self, progress: Callable[[int, int], None] | None = None) -> tuple[int, int]:
        """Reads every record; those that are broken count as absent from now on.

        Returns:
            How many are whole, and how many were broken.
        """
        there = [(int(i), int(flip)) for i, flip in np.argwhere(self._sums)]
        broken = 0
        for done, place in enumerate(there, 1):
            if self.read(place) is None:
                broken += 1
                _write_at(self.folder / "sums.bin", bytes(4), (place[0] * FLIPS + place[1]) * 4)
            if progress is not None:
                progress(done, len(there))
        return len(there) - broken, broken

    def facts(self) -> dict[str, Any]:
        """Ready for JSON: `folder`, `images`, `records` there, `bytes` on disk, and the kind."""
        files = [self.folder / name for name in ("keys.bin", "sums.bin", "features.bin")]
        return {
            "folder": str(self.folder),
            "images": len(self.keys()),
            "records": int(np.count_nonzero(self._sums)),
            "bytes": sum(_disk_bytes(file) for file in files if file.exists()),
            **asdict(self.kind),
        }


def _kind_of(content: dict[str, Any]) -> FeatureKind:
    if content.pop("format") != FORMAT:
        raise ValueError("written by another version of dsunet")
    return FeatureKind(
        **content
        | {
            "size": tuple(content["size"]),
            "depths": tuple(content["depths"]),
            "shapes": tuple(tuple(shape) for shape in content["shapes"]),
        }
    )


def _sum(key: bytes, record: bytes) -> int:
    return zlib.crc32(record, zlib.crc32(key)) or 1  # 0 stands for: nothing there


def _write_at(path: Path, data: bytes, offset: int) -> None:
    """Not through the mapped file: a full disk would end the process, without an error."""
    with open(path, "r+b", buffering=0) as file:
        file.seek(offset)
        try:
            written = file.write(data)
        except OSError as error:  # which does not say where
            raise OSError(error.errno, error.strerror, str(path)) from error
        if written != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def _disk_bytes(file: Path) -> int:
    """What a file, which may be sparse, takes of the disk."""
    status = file.stat()
    return status.st_blocks * 512 if hasattr(status, "st_blocks") else status.st_size
