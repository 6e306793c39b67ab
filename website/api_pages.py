"""The pages of the API: every public name with its first line, which the site makes docstrings of.

`python website/api_pages.py` writes `docs/api.md` and `docs/api-rooms.md`; a test holds them up to
date.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# Rooms whose names users are told of, as in tests/public_names.py.
ROOMS = {
    "config": "Settings",
    "data": "Data",
    "errors": "Errors",
    "metrics": "Measures",
    "objects": "Objects",
    "predict": "Prediction",
    "visualize": "Pictures",
}

PACKAGE = """\
# The package

The names of `dsunet`, which come when they are first used: `import dsunet` loads no torch. What is
listed here stays; a name that changes stands in the [changelog](../CHANGELOG.md), and its old
spelling goes on working. More names are in [its rooms](api-rooms.md); how the house is laid out is
in [architecture](architecture.md).

"""
INNER = """\
# The rooms

The public names of the rooms of `dsunet`, beside [those of the package itself](api.md). Settings
are frozen dataclasses: the same fields are flags of the commands, and keys of YAML files.
"""


def entries(module: str) -> Iterator[str]:
    """A line for each name of a module."""
    room = importlib.import_module(module)
    for name in sorted(room.__all__):
        value = getattr(room, name)
        ours = callable(value) and str(getattr(value, "__module__", "")).startswith("dsunet")
        about = (inspect.getdoc(value) or "").splitlines() if ours else []
        yield f"- `{module}.{name}`" + (f": {about[0]}" if about else "")


def pages() -> dict[Path, str]:
    """The texts by file."""
    rooms = [
        f"\n## {title}: `dsunet.{room}`\n\n" + "".join(f"{e}\n" for e in entries(f"dsunet.{room}"))
        for room, title in ROOMS.items()
    ]
    return {
        ROOT / "docs" / "api.md": PACKAGE + "".join(f"{e}\n" for e in entries("dsunet")),
        ROOT / "docs" / "api-rooms.md": INNER + "".join(rooms),
    }


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
