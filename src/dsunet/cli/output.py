"""What every command prints."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from dsunet.cli.parser import with_hyphens
from dsunet.files import check_writable

__all__ = [
    "Progress",
    "check_outputs",
    "fail",
    "few",
    "one_line",
    "print_failures",
    "print_line",
    "scores",
    "visible",
]


def fail(prog: str, message: str, status: int) -> int:
    """Prints an error and returns the exit status."""
    print(f"{prog}: error: {visible(message)}", file=sys.stderr)
    return status


def visible(text: str) -> str:
    """Text with control characters, as names of files may have them, made visible."""
    return "".join(
        c if c.isprintable() or 0xD800 <= ord(c) < 0xE000 else repr(c)[1:-1] for c in text
    )


def one_line(error: BaseException) -> str:
    """An error's message without line breaks, with settings written as flags."""
    text = " ".join(part.strip() for part in str(error).splitlines() if part.strip())
    return with_hyphens(text)


def print_line(line: str) -> None:
    """Prints at once; whoever reads our output may go away, and training goes on."""
    try:
        print(visible(line), flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def scores(measures: dict[str, float]) -> str:
    """Measures in one line."""
    return "  ".join(f"{name} {value:.4f}" for name, value in measures.items())


def few(names: Collection[object], limit: int = 5) -> str:
    """The first few of many names."""
    shown = ", ".join(str(name) for name in itertools.islice(names, limit))
    return shown + (", …" if len(names) > limit else "")


def check_outputs(*files: str | None) -> None:
    """Finds out early whether the files that are asked for can be written."""
    for file in files:
        if file:
            check_writable(Path(file).parent)


def print_failures(prog: str, reasons: Collection[str], outcome: str) -> None:
    """The first few reasons, and what became of all these images; nothing if there are none."""
    for reason in itertools.islice(reasons, 10):
        print(f"{prog}: failed: {visible(reason)}", file=sys.stderr)
    if reasons:
        print(f"{prog}: {len(reasons)} images {outcome}", file=sys.stderr)


class Progress:
    """A progress bar on a terminal, nothing elsewhere; gives a callback (done, all)."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.bar: Any = None

    def __enter__(self) -> Callable[[int, int], None] | None:
        if not sys.stderr.isatty():
            return None
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            SpinnerColumn,
            TextColumn,
            TimeRemainingColumn,
        )

        self.bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self.bar.start()
        task = self.bar.add_task(self.title, total=None)
        return lambda done, total: self.bar.update(task, completed=done, total=total)

    def __exit__(self, *exception: object) -> None:
        if self.bar:
            self.bar.stop()
