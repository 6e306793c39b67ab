"""Which files on this machine hold which encoder's weights.

A small index beside the user's other caches, by the encoders' fingerprints: it lets a weights file
of ours find its encoders again, wherever they are, and saves summing gigabytes at every start. An
entry counts as long as its file's size and time of change are the same. Without it, or where it
cannot be written, everything works, only slower.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

from dsunet.files import write_json

__all__ = ["cache_folder", "places", "recall", "remember"]


def cache_folder() -> Path:
    """`$DSUNET_CACHE`, else `dsunet` in the user's folder for caches."""
    if folder := os.environ.get("DSUNET_CACHE"):
        return Path(folder)
    caches = os.environ.get("XDG_CACHE_HOME")
    return (Path(caches) if caches else Path.home() / ".cache") / "dsunet"


def remember(path: Path, family: str, fingerprint: str) -> None:
    """Notes that a file holds an encoder of that fingerprint."""
    with contextlib.suppress(OSError, RuntimeError):  # no home, a full disk: then it is not noted
        path = path.resolve()
        entries = _read()
        entries[f"{family} {path}"] = {"fingerprint": fingerprint, **_state(path)}
        write_json(cache_folder() / "encoders.json", entries)


def recall(path: Path, family: str) -> str | None:
    """The fingerprint of the encoder in a file, if it was noted and the file has not changed."""
    with contextlib.suppress(OSError, RuntimeError):
        path = path.resolve()
        entry = _read().get(f"{family} {path}", {})
        fingerprint = entry.pop("fingerprint", None)
        if entry == _state(path):
            return str(fingerprint)
    return None


def places(fingerprint: str) -> list[Path]:
    """Unchanged files that hold an encoder of that fingerprint."""
    found = []
    with contextlib.suppress(RuntimeError):
        for key, entry in _read().items():
            family, path = key.split(" ", 1)
            if entry["fingerprint"] == fingerprint and recall(Path(path), family) == fingerprint:
                found.append(Path(path))
    return found


def _state(path: Path) -> dict[str, int]:
    status = path.stat()
    return {"size": status.st_size, "changed_ns": status.st_mtime_ns}


def _read() -> dict[str, dict[str, Any]]:
    with contextlib.suppress(OSError, ValueError):
        entries = json.loads((cache_folder() / "encoders.json").read_bytes())
        if isinstance(entries, dict):
            return {
                key: entry
                for key, entry in entries.items()
                if " " in key and isinstance(entry, dict) and "fingerprint" in entry
            }
    return {}
