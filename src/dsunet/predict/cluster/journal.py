"""What is done of a part, line by line, so that whoever takes the part over goes on with it."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Any

__all__ = ["Journal", "key_of", "rows_in"]


def key_of(source: str, output: str) -> str:
    """What tells the images of a part apart: several may want one output, of which one gets it."""
    return f"{source}\0{output}"


class Journal:
    """The rows of a part that is being done, and which images processes have died over.

    A line is written when an image's outputs are on disk. After a process has died, images are
    begun one at a time, each with a line before, so that it shows which one it was.

    Args:
        path: The file; what it holds already is an earlier process's.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: dict[str, dict[str, Any]] = {}
        """By `key_of`."""
        begun: Counter[str] = Counter()
        attempts = 0
        for line in _lines(path):
            if "row" in line:
                self._keep(line["row"])
            elif "begun" in line:
                begun[line["begun"]] += 1
            else:
                attempts += 1
        self.attempts = attempts
        """How many processes have taken the part before this one."""
        self.deaths = Counter({name: n for name, n in begun.items() if name not in self.rows})
        """How many of them died over an image, by `key_of`."""

    def __enter__(self) -> Journal:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        torn = self.path.exists() and not self.path.read_bytes().endswith(b"\n")
        self._file = open(self.path, "ab", buffering=0)
        if torn:
            self._file.write(b"\n")
        self._write({"attempt": self.attempts + 1})
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def begin(self, key: str) -> None:
        """An image is begun, alone."""
        self._write({"begun": key})

    def add(self, row: dict[str, Any]) -> None:
        """An image is done, or cannot be."""
        self._keep(row)
        self._write({"row": row})

    def _keep(self, row: dict[str, Any]) -> None:
        self.rows[key_of(row["input"], row["output"])] = row

    def _write(self, line: dict[str, Any]) -> None:
        self._file.write(json.dumps(line).encode() + b"\n")


def rows_in(path: Path) -> list[dict[str, Any]]:
    """The rows that a process has left."""
    return [line["row"] for line in _lines(path) if "row" in line]


def _lines(path: Path) -> list[dict[str, Any]]:
    """Whole lines alone: the last one may be torn."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    lines = []
    for line in content.split(b"\n"):
        try:
            read = json.loads(line)
        except ValueError:
            continue
        if isinstance(read, dict):
            lines.append(read)
    return lines
