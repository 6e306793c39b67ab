"""Files that are whole or not there at all, and folders that one process writes at a time."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import secrets
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from dsunet.errors import OutputError

if TYPE_CHECKING:
    from PIL import Image

__all__ = [
    "PNG_LEVEL",
    "Stamp",
    "check_writable",
    "clear_temporaries",
    "decode_text",
    "encode_text",
    "lock_folder",
    "replace_durably",
    "sha256_of",
    "stamp_of",
    "stopped_writing",
    "temporary_beside",
    "write_atomically",
    "write_json",
    "write_png",
]

# short, whatever the file is called: names may have 255 bytes at most
PREFIX, SUFFIX = ".dsunet-", ".tmp"

PNG_LEVEL = 2
"""How hard zlib tries at pictures: of 1 to 9, where 6 is usual and takes several times as long."""

_held: set[str] = set()  # files that this process has locked
_guard = threading.Lock()


class Stamp(NamedTuple):
    """What changes when a file does; times are in nanoseconds."""

    inode: int
    size: int
    """In bytes."""
    written: int
    """When its content changed."""
    changed: int
    """When its content or its attributes did."""

    @property
    def of_content(self) -> tuple[int, int]:
        """Size and time of the last change of content, which copies of a folder may keep."""
        return self.size, self.written


def stamp_of(path: Path) -> Stamp:
    """What tells whether a file has changed; to be taken before it is read.

    Raises:
        OSError: It is not there.
    """
    status = path.stat()
    return Stamp(status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def write_atomically(path: Path, data: bytes) -> None:
    """Writes `data` to a temporary file beside `path`, flushes it to disk and renames it.

    Raises:
        OSError: The disk is full, or the place cannot be written to; `path` is as it was.
    """
    with temporary_beside(path) as temporary:
        with open(temporary, "wb") as file:
            file.write(data)
        replace_durably(temporary, path)


def write_json(path: Path, content: Any) -> None:
    """Writes plain values as JSON, as `write_atomically` does."""
    write_atomically(path, (json.dumps(content, indent=2) + "\n").encode())


def write_png(path: Path, image: Image.Image) -> None:
    """Writes a picture as PNG, as `write_atomically` does."""
    encoded = io.BytesIO()
    image.save(encoded, "PNG", compress_level=PNG_LEVEL)
    write_atomically(path, encoded.getvalue())


@contextlib.contextmanager
def temporary_beside(path: Path) -> Iterator[Path]:
    """An empty temporary file in the folder of `path`, which is made; removed if still there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{PREFIX}{secrets.token_hex(8)}{SUFFIX}")
    try:
        # made like this, not by tempfile, it gets the permissions that any new file gets
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def replace_durably(temporary: Path, path: Path) -> None:
    """Flushes a finished file to disk and renames it to `path`, in the same folder."""
    with open(temporary, "rb+") as file:
        os.fsync(file.fileno())
    os.replace(temporary, path)
    if os.name == "posix":  # the new name, too, is to survive a power cut
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            with contextlib.suppress(OSError):  # some network file systems cannot
                os.fsync(folder)
        finally:
            os.close(folder)


def clear_temporaries(folder: Path) -> None:
    """Removes what killed processes left of unfinished files, directly in a folder."""
    for file in folder.glob(f"{PREFIX}*{SUFFIX}"):
        file.unlink(missing_ok=True)


def check_writable(folder: Path) -> None:
    """Finds out early whether a folder, there or to be made, can be written to.

    Raises:
        OutputError: It is no folder, or not writable.
    """
    place = folder
    while not place.exists():
        place = place.parent
    if not place.is_dir():
        raise OutputError(f"{place} is a file, so {folder} cannot be written to; choose another")
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise OutputError(
            f"{folder} cannot be written to ({error.strerror}); choose another folder, or change "
            f"the permissions of {place}"
        ) from error


def stopped_writing(error: OSError, folder: Path, done: str) -> OutputError:
    """What to raise when work that can be resumed cannot write on: the disk is full, say.

    Args:
        error: The system's.
        folder: Where it happened, if the error does not say.
        done: What was done with the files before: `saved`, say.
    """
    return OutputError(
        f"{error.filename or folder} cannot be written ({error.strerror or error}); what was "
        f"{done} before is whole: make room, and go on with `resume`"
    )


@contextlib.contextmanager
def lock_folder(folder: Path, wait: float = 0.0) -> Iterator[None]:
    """Holds the file `.lock` in a folder; the system lets go of it when the process ends.

    Processes started from this one do not hold it, so that none outlives a killed parent with it.
    Without effect where the system or the file system has no such locks.

    Args:
        folder: An existing folder.
        wait: Seconds to wait for another process that holds it.

    Raises:
        OutputError: Another process holds it.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    name = str((folder / ".lock").resolve())
    taken = OutputError(
        f"another process is writing to {folder}; wait for it, or choose another folder"
    )
    until = time.monotonic() + wait
    # the system's locks tell processes apart, not threads
    while not _take(name):
        _wait_until(until, taken)
    try:
        with open(name, "wb") as file:
            while not _lock(fcntl, file):
                _wait_until(until, taken)
            yield
    finally:
        _held.discard(name)


def _take(name: str) -> bool:
    """Whether no thread of this process had it; now this one has."""
    with _guard:
        if name in _held:
            return False
        _held.add(name)
        return True


def _wait_until(until: float, error: OutputError) -> None:
    if time.monotonic() >= until:
        raise error
    time.sleep(0.02)


def _lock(fcntl: object, file: BinaryIO) -> bool:
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # type: ignore[attr-defined]
    except BlockingIOError:
        return False
    except OSError:  # network file systems without locks
        return True
    return True


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def encode_text(text: str) -> bytes:
    """UTF-8; names of files that are no valid text keep their bytes."""
    return text.encode("utf-8", "surrogateescape")


def decode_text(data: bytes) -> str:
    """The inverse of `encode_text`."""
    return data.decode("utf-8", "surrogateescape")
