"""Which files on this machine hold which encoder's weights.

A small index beside the user's other caches, by the encoders' fingerprints: it lets a weights file
of ours find its encoders again, wherever they are, and saves summing gigabytes at every start. An
entry counts as long as its file is the same by inode, size and times of change. Without it, or
where it cannot be written, everything works, only slower.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

from dsunet.errors import OutputError
from dsunet.support.files import Stamp, lock_folder, stamp_of, write_json

__all__ = ["cache_folder", "places", "recall", "remember"]


def cache_folder() -> Path:
    """`$DSUNET_CACHE`, else `dsunet` in the user's folder for caches."""
    if folder := os.environ.get("DSUNET_CACHE"):
        return Path(folder)
    caches = os.environ.get("XDG_CACHE_HOME")
    return (Path(caches) if caches else Path.home() / ".cache") / "dsunet"


def remember(path: Path, name: str, fingerprint: str, stamp: Stamp) -> None:
    """Notes that a file, as it was at `stamp`, holds an encoder (by its stored name)."""
    with contextlib.suppress(OSError, RuntimeError):  # no home, a full disk: then it is not noted
        cache_folder().mkdir(parents=True, exist_ok=True)
        # others may be writing; that is over in milliseconds
        with contextlib.suppress(OutputError), lock_folder(cache_folder(), wait=2):
            entries = _read()
            key = f"{name} {path.resolve()}"
            entries[key] = {"fingerprint": fingerprint, "stamp": stamp}
            write_json(cache_folder() / "encoders.json", entries)


def recall(path: Path, name: str) -> str | None:
    """The fingerprint of the encoder in a file, if it was noted and the file has not changed."""
    with contextlib.suppress(OSError, RuntimeError):
        path = path.resolve()
        entry = _read().get(f"{name} {path}")
        if entry is not None and entry["stamp"] == [*stamp_of(path)]:
            return str(entry["fingerprint"])
    return None


def places(fingerprint: str) -> list[Path]:
    """Unchanged files that hold an encoder of that fingerprint."""
    found = []
    with contextlib.suppress(RuntimeError):
        for key, entry in _read().items():
            name, path = key.split(" ", 1)
            if entry["fingerprint"] == fingerprint and recall(Path(path), name):
                found.append(Path(path))
    return found


def _read() -> dict[str, dict[str, Any]]:
    with contextlib.suppress(OSError, ValueError):
        entries = json.loads((cache_folder() / "encoders.json").read_bytes())
        if isinstance(entries, dict):
            return {
                key: entry
                for key, entry in entries.items()
                if " " in key and isinstance(entry, dict) and {"fingerprint", "stamp"} <= set(entry)
            }
    return {}
