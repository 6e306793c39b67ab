"""The public names and their signatures as text.

`python tests/public_names.py > tests/public_names.txt` writes them down. What is written there is
promised to users. A line that changes or goes needs a reason and an entry
in CHANGELOG.md; a new line is a new promise.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator
from typing import Any

# Rooms whose names users are told of, beside `dsunet` itself.
ROOMS = ("config", "data", "errors", "metrics", "objects", "predict", "visualize")


def signature(value: Any) -> str:
    """A callable's arguments and their defaults, without types, which Pythons write apart."""
    try:
        found = inspect.signature(value)
    except (TypeError, ValueError):
        return ""
    plain = [p.replace(annotation=p.empty) for p in found.parameters.values()]
    return str(found.replace(parameters=plain, return_annotation=found.empty))


def members(name: str, kind: type) -> Iterator[str]:
    """The public methods and properties that a class of ours defines or inherits from us."""
    for member in sorted(dir(kind)):
        found = inspect.getattr_static(kind, member)
        home = next(base for base in kind.__mro__ if member in vars(base))
        if member.startswith("_") or not home.__module__.startswith("dsunet"):
            continue
        if isinstance(found, property):
            yield f"{name}.{member}"
        elif callable(getattr(kind, member)):
            yield f"{name}.{member}{signature(getattr(kind, member))}"


def lines() -> Iterator[str]:
    """One for each name, those of `dsunet` with signatures and members."""
    package = importlib.import_module("dsunet")
    for name in package.__all__:
        value = getattr(package, name)
        yield f"dsunet.{name}{signature(value)}"
        if isinstance(value, type):
            yield from members(f"dsunet.{name}", value)
    for room in ROOMS:
        module = importlib.import_module(f"dsunet.{room}")
        yield from (f"dsunet.{room}.{name}" for name in sorted(module.__all__))


if __name__ == "__main__":
    print(*lines(), sep="\n")
