"""README, docs and help as text: their commands, their snippets."""

from __future__ import annotations

import re
from pathlib import Path

from dsunet.cli import COMMANDS
from helpers import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

WRITTEN = [
    *PAGES,
    *(
        ROOT / name
        for name in ("CHANGELOG.md", "CONTRIBUTING.md", "THIRD_PARTY.md", "benchmarks/README.md")
    ),
    *sorted((ROOT / "src/dsunet/weights/shipped").glob("*.md")),
]
"""All that is there to be read, with or without commands to try."""


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of one language."""
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


def commands(page: Path) -> list[str]:
    """The lines of a page's shell blocks that call us."""
    lines = [line for block in blocks(page, "sh") for line in block.splitlines()]
    return [line for line in lines if line.startswith("dsunet ")]


def examples() -> list[str]:
    """The examples in the help of all commands."""
    shown = [command.examples.strip().splitlines() for command in COMMANDS.values()]
    return [line.strip() for lines in shown for line in lines]
