"""What every command prints."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import sys
import time
from collections.abc import Callable, Collection
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dsunet.cli.parser import with_hyphens
from dsunet.support.files import check_writable

if TYPE_CHECKING:
    from dsunet.support.tables import Table

__all__ = [
    "FOLDS",
    "Progress",
    "check_outputs",
    "fail",
    "one_line",
    "print_failures",
    "print_line",
    "print_table",
    "scores",
    "visible",
    "with_flags",
]

FOLDS = "folds.json"
"""What `dsunet train --folds` writes beside the folders of its runs."""


def fail(prog: str, message: str, status: int) -> int:
    """Prints an error and returns the exit status."""
    print(f"{prog}: error: {visible(with_flags(message))}", file=sys.stderr)
    return status


def visible(text: str) -> str:
    """Text with control characters, as names of files may have them, made visible."""
    return "".join(
        c if c.isprintable() or 0xD800 <= ord(c) < 0xE000 else repr(c)[1:-1] for c in text
    )


def one_line(error: BaseException) -> str:
    """An error's message without line breaks, with settings written as flags."""
    text = " ".join(part.strip() for part in str(error).splitlines() if part.strip())
    return with_hyphens(with_flags(text))


def with_flags(text: str) -> str:
    """Text in which arguments, `so_written`, are written as flags, --so-written; paths stay."""
    return re.sub(r"(?<![\w/.-])`([a-z]\w*)`(?![\w/.-])", _flag, text)


def _flag(argument: re.Match[str]) -> str:
    return "--" + argument[1].replace("_", "-")


def print_line(line: str) -> None:
    """Prints at once; whoever reads our output may go away, and training goes on."""
    try:
        print(visible(with_flags(line)), flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def scores(measures: dict[str, float]) -> str:
    """Measures in one line."""
    return "  ".join(f"{name} {value:.4f}" for name, value in measures.items())


def check_outputs(*files: str | None) -> None:
    """Finds out early whether the files that are asked for can be written."""
    for file in files:
        if file:
            check_writable(Path(file).parent)


def print_failures(prog: str, reasons: Collection[str], outcome: str) -> None:
    """The first few reasons, and what became of all these images; nothing if there are none."""
    for reason in itertools.islice(reasons, 10):
        print(f"{prog}: failed: {visible(with_flags(reason))}", file=sys.stderr)
    if reasons:
        print(f"{prog}: {len(reasons)} images {outcome}", file=sys.stderr)


def print_table(table: Table) -> None:
    """Prints a table, in parts side by side that are as wide as the terminal."""
    from rich.console import Console
    from rich.measure import Measurement

    console = Console()
    title, notes = table.title, table.notes
    rows = tuple(replace(row, name=visible(row.name)) for row in table.rows)
    table = replace(table, title="", rows=rows, notes=())
    boundless = console.options.update_width(10_000)
    starts = [0]
    for end in range(1, len(table.columns) + 1):
        part = table.only(range(starts[-1], end)).rich()
        too_wide = Measurement.get(console, boundless, part).maximum > console.width
        if too_wide and end - 1 > starts[-1]:
            starts.append(end - 1)
    print(title)
    for first, end in pairwise([*starts, len(table.columns)]):
        console.print(table.only(range(first, end)).rich())
    for note in notes:
        print(visible(with_flags(note)))


LINE_EVERY = 60.0
"""Seconds between two lines of progress where there is no terminal."""


class Progress:
    """A progress bar on a terminal, a line a minute elsewhere; gives a callback (done, all)."""

    def __init__(self, title: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.title = title
        self.clock = clock
        self.bar: Any = None

    def __enter__(self) -> Callable[[int, int], None]:
        if not sys.stderr.isatty():
            return self._lines()
        from tqdm import tqdm

        bar = self.bar = tqdm(desc=self.title, leave=False, dynamic_ncols=True, file=sys.stderr)

        def show(done: int, total: int) -> None:
            if bar.total is None:  # what an earlier run did took no time in this one
                bar.reset(total)
                bar.initial = bar.n = max(0, done - 1)
            bar.update(done - bar.n)

        return show

    def _lines(self) -> Callable[[int, int], None]:
        start = said = self.clock()
        before: int | None = None  # what was done when it began, such as by an earlier run

        def tell(done: int, total: int) -> None:
            nonlocal said, before
            before = done - 1 if before is None else before
            now = self.clock()
            if now - said < LINE_EVERY or not before + 1 < done < total:
                return
            said = now
            rate = max(done - before, 1) / (now - start)
            left = (total - done) / rate / 60
            line = (
                f"{self.title}: {done:,} of {total:,}, {rate:.2g} a second, about "
                f"{max(1, round(left)):,} min left"
            )
            with contextlib.suppress(OSError):  # whoever read it may have gone away
                print(line, file=sys.stderr, flush=True)

        return tell

    def __exit__(self, *exception: object) -> None:
        if self.bar is not None:
            self.bar.close()
