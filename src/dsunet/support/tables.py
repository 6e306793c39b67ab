"""Tables of measures as plain data, written as Markdown, LaTeX, CSV and JSON.

In each column the best value is set bold and the second best underlined, over the rows that take
part.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from dsunet.support.files import encode_text, write_atomically, write_json

if TYPE_CHECKING:
    from rich.table import Table as RichTable

__all__ = ["Cell", "Column", "Row", "Table"]


@dataclass(frozen=True)
class Column:
    """One measure, of one data set perhaps."""

    group: str
    """The data set that the measure is of; empty for none."""
    title: str
    """The head as plain text, without an arrow: `S`."""
    latex: str
    r"""The head as LaTeX, without an arrow: `$S_\alpha$`."""
    higher_is_better: bool | None
    """`None` where neither is better: no arrow, and no best value."""
    digits: int = 3
    """Digits after the point that are printed; values that agree in them are equal in rank."""
    key: str = ""
    """The head in CSV, after the group; empty for the title."""


@dataclass(frozen=True)
class Cell:
    """One value.

    Raises:
        ValueError: Value, spread or interval is not finite; a missing value is `None` for a cell.
    """

    value: float
    spread: float | None = None
    """Standard deviation, over seeds for example; printed after ±."""
    interval: tuple[float, float] | None = None
    """Low and high; printed in brackets below the value."""

    def __post_init__(self) -> None:
        for number in (self.value, self.spread, *(self.interval or ())):
            if number is not None and not math.isfinite(number):
                raise ValueError(f"a cell of a table is {number}; put None where a value lacks")


@dataclass(frozen=True)
class Row:
    """The values of one method."""

    name: str
    cells: tuple[Cell | None, ...]
    """One for each column; `None` where there is no value."""
    group: str = ""
    """Rows that follow each other under one name, `published` for example, stand together."""
    ranked: bool = True
    """Whether the row takes part in best and second best."""
    signed: bool = False
    """Whether the values are differences: printed with their sign, and never ranked."""


class _Style(NamedTuple):
    """How a kind of file writes the parts of a cell."""

    best: Callable[[str], str]
    second: Callable[[str], str]
    minus: str
    plus_minus: str
    missing: str
    below: Callable[[str, str], str]
    """The value with its interval."""


@dataclass(frozen=True)
class Table:
    """Rows of values under columns.

    Raises:
        ValueError: A row has more or fewer cells than there are columns.
    """

    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    """Sentences below the table."""

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row.cells) != len(self.columns):
                raise ValueError(
                    f"the row {row.name!r} has {len(row.cells)} cells, but the table has "
                    f"{len(self.columns)} columns; give one each, None where a value lacks"
                )

    def markdown(self) -> str:
        """As GitHub reads it: best **bold**, second best underlined; title above, notes below."""
        heads = [
            (f"{_markdown(column.group)}<br>" if column.group else "")
            + f"{_markdown(column.title)}{_arrow(column)}"
            for column in self.columns
        ]
        lines = [f"**{_markdown(self.title)}**", ""] if self.title else []
        lines.append(_line(["method", *heads]))
        lines.append(_line([":--", *("--:" for _ in heads)]))
        texts = self._texts(_MARKDOWN)
        for group, members in self._row_groups():
            if group:
                lines.append(_line([f"*{_markdown(group)}*", *("" for _ in heads)]))
            lines += [_line([_markdown(self.rows[i].name), *texts[i]]) for i in members]
        for note in self.notes:
            lines += ["", _markdown(note)]
        return "\n".join(lines) + "\n"

    def latex(self) -> str:
        r"""A `table` with booktabs' rules: best `\textbf`, second best `\underline`.

        One that is wider than the text is made as wide as that. `\label` is made of the title.
        """
        lines = ["% needs \\usepackage{booktabs,graphicx}", "\\begin{table}", "  \\centering"]
        if self.title:
            lines.append(f"  \\caption{{{_latex(self.title)}}}")
            lines.append(f"  \\label{{tab:{_label(self.title)}}}")
        lines.append(f"  {_FITTING}{{%")
        lines += [f"  \\begin{{tabular}}{{l{'r' * len(self.columns)}}}", "    \\toprule"]
        lines += self._latex_groups()
        heads = [f"{column.latex}{_latex_arrow(column)}" for column in self.columns]
        lines.append(_latex_line(["method", *heads]))
        texts = self._texts(_LATEX)
        for group, members in self._row_groups():
            lines.append("    \\midrule")
            if group:
                span = f"\\multicolumn{{{len(self.columns) + 1}}}{{l}}"
                lines.append(_latex_line([f"{span}{{\\textit{{{_latex(group)}}}}}"]))
            lines += [_latex_line([_latex(self.rows[i].name), *texts[i]]) for i in members]
        lines += ["    \\bottomrule", "  \\end{tabular}}"]
        if self.notes:
            below = " \\\\ ".join(map(_latex, self.notes))
            lines += ["", f"  \\smallskip\\parbox{{\\linewidth}}{{\\footnotesize {below}}}"]
        return "\n".join([*lines, "\\end{table}"]) + "\n"

    def csv(self) -> str:
        """The values in full precision under one row of heads; nothing where one lacks.

        The column `group` is there if a row has one; after a column that has some, there is one of
        spreads, or two of intervals: low and high.
        """
        grouped = any(row.group for row in self.rows)
        exact = [_exact(cells) for cells in zip(*(row.cells for row in self.rows), strict=True)]
        exact = exact or [{"": []} for _ in self.columns]
        heads = ["group"] * grouped + ["method"]
        for column, parts in zip(self.columns, exact, strict=True):
            name = f"{column.group} {column.key or column.title}".strip()
            heads += [f"{name} {part}".strip() for part in parts]
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(heads)
        for number, row in enumerate(self.rows):
            numbers = [values[number] for parts in exact for values in parts.values()]
            texts = ["" if n is None else repr(n) for n in numbers]
            writer.writerow([row.group] * grouped + [row.name, *texts])
        return text.getvalue()

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    def rich(self) -> RichTable:
        """For the terminal: best bold, second best underlined; title above, notes below."""
        from rich import box
        from rich.table import Table as RichTable
        from rich.text import Text

        table = RichTable(
            box=box.SIMPLE_HEAD,
            title=Text(self.title) if self.title else None,
            caption=Text("\n".join(self.notes)) if self.notes else None,
            title_justify="left",
            caption_justify="left",
        )
        table.add_column("method", overflow="fold")
        for column in self.columns:
            group = f"{column.group}\n" if column.group else ""
            head = Text(f"{group}{column.title}{_arrow(column)}")
            table.add_column(head, justify="right", no_wrap=True)
        texts = self._texts(_RICH)
        for group, members in self._row_groups():
            table.add_section()
            if group:
                table.add_row(Text(group, "italic"))
            for i in members:
                table.add_row(Text(self.rows[i].name), *texts[i])
        return table

    def only(self, columns: Sequence[int]) -> Table:
        """Some of the columns, by number, and the rows that have a value in them."""
        rows = (replace(row, cells=tuple(row.cells[i] for i in columns)) for row in self.rows)
        return replace(
            self,
            columns=tuple(self.columns[i] for i in columns),
            rows=tuple(row for row in rows if any(row.cells)),
        )

    def write(self, base: Path) -> list[Path]:
        """Writes `base` with `.md`, `.tex`, `.csv` and `.json` appended; returns these paths."""
        paths = [base.with_name(base.name + ending) for ending in (".md", ".tex", ".csv", ".json")]
        for path, text in zip(paths, (self.markdown(), self.latex(), self.csv()), strict=False):
            write_atomically(path, encode_text(text))
        write_json(paths[3], self.to_dict())
        return paths

    def _texts(self, style: _Style) -> list[list[str]]:
        """The cells as printed, row by row."""
        ranks = [self._ranks(number) for number in range(len(self.columns))]
        return [
            [
                _text(cell, column.digits, row.signed, rank.get(i), style)
                for cell, column, rank in zip(row.cells, self.columns, ranks, strict=True)
            ]
            for i, row in enumerate(self.rows)
        ]

    def _ranks(self, number: int) -> dict[int, int]:
        """The rows that are best (0) and second best (1) in a column."""
        column = self.columns[number]
        printed = {
            i: float(f"{cell.value:.{column.digits}f}")
            for i, row in enumerate(self.rows)
            if row.ranked and not row.signed and (cell := row.cells[number]) is not None
        }
        if column.higher_is_better is None or len(printed) < 2:
            return {}
        best = sorted(set(printed.values()), reverse=column.higher_is_better)[:2]
        return {i: best.index(value) for i, value in printed.items() if value in best}

    def _row_groups(self) -> list[tuple[str, list[int]]]:
        """Numbers of the rows that follow each other in one group."""
        return [
            (group, list(members))
            for group, members in groupby(
                range(len(self.rows)), key=lambda number: self.rows[number].group
            )
        ]

    def _latex_groups(self) -> list[str]:
        """The row of data sets above the heads, with a rule under each."""
        if not any(column.group for column in self.columns):
            return []
        cells, rules, first = [""], [], 2
        for group, members in groupby(self.columns, key=lambda column: column.group):
            count = len(list(members))
            cells.append(f"\\multicolumn{{{count}}}{{c}}{{{_latex(group)}}}")
            if group:
                rules.append(f"\\cmidrule(lr){{{first}-{first + count - 1}}}")
            first += count
        return [_latex_line(cells), f"    {' '.join(rules)}"]


def _text(cell: Cell | None, digits: int, signed: bool, rank: int | None, style: _Style) -> str:
    if cell is None:
        return style.missing
    number = f"{cell.value:{'+' if signed else ''}.{digits}f}"
    if float(number) == 0:
        number = number.lstrip("+-")
    number = number.replace("-", style.minus)
    mark = {0: style.best, 1: style.second}.get(-1 if rank is None else rank)
    text = mark(number) if mark else number
    if cell.spread is not None:
        text = f"{text}{style.plus_minus}{cell.spread:.{digits}f}"
    if cell.interval is None:
        return text
    low, high = (f"{end:.{digits}f}".replace("-", style.minus) for end in cell.interval)
    return style.below(text, f"[{low}, {high}]")


def _exact(cells: Sequence[Cell | None]) -> dict[str, list[float | None]]:
    """A column's numbers by what is added to its head."""
    found: dict[str, list[float | None]] = {
        "": [None if cell is None else cell.value for cell in cells]
    }
    if any(cell is not None and cell.spread is not None for cell in cells):
        found["spread"] = [None if cell is None else cell.spread for cell in cells]
    if any(cell is not None and cell.interval is not None for cell in cells):
        for number, end in enumerate(("low", "high")):
            found[end] = [
                None if cell is None or cell.interval is None else cell.interval[number]
                for cell in cells
            ]
    return found


def _arrow(column: Column) -> str:
    return {True: " ↑", False: " ↓", None: ""}[column.higher_is_better]


def _latex_arrow(column: Column) -> str:
    return {True: " $\\uparrow$", False: " $\\downarrow$", None: ""}[column.higher_is_better]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _latex_line(cells: Sequence[str]) -> str:
    return f"    {' & '.join(cells)} \\\\"


def _clean(text: str) -> str:
    """In one line, with question marks for what is no text in the names of files."""
    return "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))


def _markdown(text: str) -> str:
    """Text without meaning in Markdown."""
    return "".join(f"\\{c}" if c in "\\`*_[]<>|~&#" else c for c in _clean(text))


_LATEX_CHARACTERS = {
    **{c: f"\\{c}" for c in "&%$#_{}"},
    "\\": "\\textbackslash{}",
    "~": "\\textasciitilde{}",
    "^": "\\textasciicircum{}",
    "<": "\\textless{}",
    ">": "\\textgreater{}",
    "|": "\\textbar{}",
    "−": "$-$",
    "×": "$\\times$",
    "±": "$\\pm$",
    "≥": "$\\geq$",
    "≤": "$\\leq$",
    "Δ": "$\\Delta$",
}


# to the width of the text, if it is wider
_FITTING = "\\resizebox{\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi}{!}"


def _label(text: str) -> str:
    """Letters, digits and hyphens of a text, for references to it."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _latex(text: str) -> str:
    """Text without meaning in LaTeX."""
    written = "".join(_LATEX_CHARACTERS.get(c, c) for c in _clean(text))
    # after a line's end, these would be its arguments
    return f"{{{written[0]}}}{written[1:]}" if written.startswith(("[", "*")) else written


_MARKDOWN = _Style(
    lambda t: f"**{t}**",
    lambda t: f"<u>{t}</u>",
    "−",
    " ± ",
    "–",
    lambda t, interval: f"{t}<br>{interval}",
)
_LATEX = _Style(
    lambda t: f"\\textbf{{{t}}}",
    lambda t: f"\\underline{{{t}}}",
    "$-$",
    " $\\pm$ ",
    "--",
    lambda t, interval: f"\\shortstack[r]{{{t} \\\\ {{\\scriptsize {interval}}}}}",
)
_RICH = _Style(
    lambda t: f"[bold]{t}[/]",
    lambda t: f"[underline]{t}[/]",
    "−",
    " ± ",
    "–",
    lambda t, interval: f"{t}\n{interval}",
)
