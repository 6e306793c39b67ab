"""Tables mark what is best, all formats agree, and the published results are the paper's."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pytest
from rich.console import Console

from dsunet.metrics.published import published_datasets, published_rows, published_tables
from dsunet.support.tables import Cell, Column, Row, Table
from helpers import SHARED

S = Column("", "S", r"$S_\alpha$", True)
MAE = Column("", "MAE", r"$\mathcal{M}$", False)


def table(*rows: Row, columns: tuple[Column, ...] = (S, MAE), **other: object) -> Table:
    return Table("", columns, rows, **other)  # type: ignore[arg-type]


def cells(*values: float | None) -> tuple[Cell | None, ...]:
    return tuple(None if value is None else Cell(value) for value in values)


def body(markdown: str) -> list[list[str]]:
    """The cells below the heads."""
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def test_best_and_second_best() -> None:
    made = table(Row("a", cells(0.9, 0.1)), Row("b", cells(0.8, 0.2)), Row("c", cells(0.7, 0.3)))
    assert body(made.markdown()) == [
        ["a", "**0.900**", "**0.100**"],
        ["b", "<u>0.800</u>", "<u>0.200</u>"],
        ["c", "0.700", "0.300"],
    ]


def test_equal_in_print_is_equal_in_rank() -> None:
    made = table(
        Row("a", cells(0.9341, 0.02)),
        Row("b", cells(0.9339, 0.0204)),
        Row("c", cells(0.9329, 0.0206)),
        Row("d", cells(0.9331, 0.5)),
    )
    assert body(made.markdown()) == [
        ["a", "**0.934**", "**0.020**"],
        ["b", "**0.934**", "**0.020**"],
        ["c", "<u>0.933</u>", "<u>0.021</u>"],
        ["d", "<u>0.933</u>", "0.500"],
    ]
    finer = table(*made.rows, columns=(Column("", "S", "S", True, digits=4), MAE))
    assert [row[1] for row in body(finer.markdown())] == [
        "**0.9341**",
        "<u>0.9339</u>",
        "0.9329",
        "0.9331",
    ]


def test_missing_values_and_rows_that_are_not_ranked() -> None:
    made = table(
        Row("bound", cells(1.0, 0.0), ranked=False),
        Row("a", cells(0.5, None)),
        Row("b", cells(0.6, 0.3)),
        Row("difference", cells(-0.1, 0.0), signed=True),
    )
    assert body(made.markdown()) == [
        ["bound", "1.000", "0.000"],
        ["a", "<u>0.500</u>", "–"],
        ["b", "**0.600**", "0.300"],  # alone in its column: no rank
        ["difference", "−0.100", "0.000"],
    ]


def test_signs_and_spreads() -> None:
    made = table(
        Row("a", (Cell(0.91234, 0.00456), Cell(0.1, 0.0))),
        Row("b", cells(0.9, 0.2)),
        Row("gain", (Cell(0.0123), Cell(-0.0001, 0.002)), signed=True),
    )
    assert body(made.markdown()) == [
        ["a", "**0.912** ± 0.005", "**0.100** ± 0.000"],
        ["b", "<u>0.900</u>", "<u>0.200</u>"],
        ["gain", "+0.012", "0.000 ± 0.002"],
    ]
    assert r"a & \textbf{0.912} $\pm$ 0.005 & \textbf{0.100} $\pm$ 0.000 \\" in made.latex()
    rows = list(csv.reader(io.StringIO(made.csv())))
    assert rows[0] == ["method", "S", "S spread", "MAE", "MAE spread"]
    assert rows[1] == ["a", "0.91234", "0.00456", "0.1", "0.0"]
    assert rows[2] == ["b", "0.9", "", "0.2", ""]


@pytest.fixture
def grouped() -> Table:
    columns = tuple(
        Column(group, column.title, column.latex, column.higher_is_better, key=column.title.lower())
        for group in ("DUTS-TE", "a_b")
        for column in (S, MAE)
    )
    return Table(
        "50 % & more_",
        columns,
        (
            Row("one", cells(0.1, 0.2, None, 0.4), "published"),
            Row("two", cells(0.5, 0.6, 0.7, 0.8), "published"),
            Row(r"x_1 & 2% #3 {y} \z $4 | *~^<>", cells(0.9, 1.0, 1.1, 1.2), "this run"),
        ),
        ("A note_ with 100%.", "Another."),
    )


def test_groups_in_markdown(grouped: Table) -> None:
    text = grouped.markdown()
    assert text.splitlines()[0] == r"**50 % \& more\_**"
    assert "| DUTS-TE<br>S ↑ | DUTS-TE<br>MAE ↓ | a\\_b<br>S ↑ | a\\_b<br>MAE ↓ |" in text
    lines = [line for line in text.splitlines() if line.startswith("|")]
    # a pipe in a name is no column
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {6}
    assert [line.split(" | ")[0] for line in lines[2:5]] == ["| *published*", "| one", "| two"]
    assert text.endswith("A note\\_ with 100%.\n\nAnother.\n")


def test_latex_names_are_no_arguments_of_the_line_before() -> None:
    columns = (Column("", "S", "S", True),)
    rows = tuple(Row(name, (Cell(0.5),)) for name in ("[x]", "*y", "z[*]"))
    text = Table("", columns, rows).latex()
    for written in ("    {[}x] &", "    {*}y &", "    z[*] &"):
        assert written in text


def test_latex_is_well_formed(grouped: Table) -> None:
    text = grouped.latex()
    assert re.findall(r"\\begin{(\w+)}", text) == ["table", "tabular"]
    assert re.findall(r"\\end{(\w+)}", text) == ["tabular", "table"]
    bare = re.sub(r"\\[{}%&#$_]", "", text)  # without what is escaped
    assert bare.count("{") == bare.count("}")
    assert bare.count("$") % 2 == 0
    assert "#" not in bare
    assert bare.count("%") == 2  # the comment, and at the end of a line that is no space
    assert r"\label{tab:50-more}" in text
    assert r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%" in text
    assert "_" not in re.sub(r"\$[^$]*\$", "", bare)
    rows = [line for line in bare.splitlines() if line.endswith(r"\\")]
    for row in rows:
        spans = [int(n) for n in re.findall(r"\\multicolumn{(\d+)}", row)]
        assert row.count("&") + 1 + sum(spans) - len(spans) == 5, row
    assert r"& \multicolumn{2}{c}{DUTS-TE} & \multicolumn{2}{c}{a\_b} \\" in text
    assert r"\cmidrule(lr){2-3} \cmidrule(lr){4-5}" in text
    assert r"$S_\alpha$ $\uparrow$ & $\mathcal{M}$ $\downarrow$" in text
    name = (
        r"x\_1 \& 2\% \#3 \{y\} \textbackslash{}z \$4 \textbar{} "
        r"*\textasciitilde{}\textasciicircum{}\textless{}\textgreater{}"
    )
    assert name in text
    assert r"one & 0.100 & \textbf{0.200} & -- & \textbf{0.400} \\" in text
    assert r"\caption{50 \% \& more\_}" in text


def test_csv_and_json_are_exact(grouped: Table, tmp_path: Path) -> None:
    paths = grouped.write(tmp_path / "new" / "v1.2")
    assert [path.name for path in paths] == ["v1.2.md", "v1.2.tex", "v1.2.csv", "v1.2.json"]
    assert paths[0].read_text(encoding="utf-8") == grouped.markdown()
    with open(paths[2], newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["group", "method", "DUTS-TE s", "DUTS-TE mae", "a_b s", "a_b mae"]
    assert rows[1] == ["published", "one", "0.1", "0.2", "", "0.4"]
    content = json.loads(paths[3].read_text())
    assert content["rows"][0]["cells"][2] is None
    assert content["rows"][1]["cells"][2] == {
        "value": 0.7,
        "spread": None,
        "interval": None,
    }
    assert content["columns"][1]["higher_is_better"] is False


def test_terminal(grouped: Table) -> None:
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(grouped.rich())
    text = console.export_text()
    assert "50 % & more_" in text
    assert r"x_1 & 2% #3 {y} \z $4 | *~^<>" in text
    assert re.search(r"one +0\.100 +0\.200 +– +0\.400", text)
    assert "A note_ with 100%." in text


def test_some_columns(grouped: Table) -> None:
    part = grouped.only([2])
    assert [column.title for column in part.columns] == ["S"]
    assert [row.name[:3] for row in part.rows] == ["two", "x_1"]  # one has no value there


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match="'a' has 1 cells, but the table has 2 columns"):
        table(Row("a", cells(0.5)))
    with pytest.raises(ValueError, match="a cell of a table is nan; put None"):
        Cell(float("nan"))


def test_published_results() -> None:
    assert published_datasets() == (
        "DUTS-TE DUT-OMRON HKU-IS PASCAL-S ECSSD CHAMELEON CAMO COD10K NC4K".split()
    )
    assert published_tables() == "III IV V VI VII VIII later".split()
    assert len(published_rows()) == 18 + 12 + 12 + 12 + 8 + 8 + 4
    found = published_rows("cod10k", "vi")
    assert [row.method for row in found] == ("SINet PFNet ZoomNet FEDER SAM2-UNet DSU-Net".split())
    assert found[-1].scores == {"S": 0.891, "F": 0.819, "E": 0.947, "MAE": 0.019}
    assert found[3].note == "as printed; other papers print 0.748 for this F"
    ours = [row for row in published_rows("DUTS-TE") if row.method == "DSU-Net"]
    assert [(row.table, dict(row.scores)) for row in ours] == [
        ("III", {"S": 0.934, "E": 0.959, "MAE": 0.020}),
        ("VII", {"S": 0.934, "E": 0.959, "MAE": 0.020}),
    ]
    assert dict(published_rows("NC4K", "later")[0].scores) == {"S": 0.914, "MAE": 0.023}


def test_unknown_published_results() -> None:
    with pytest.raises(ValueError, match="data set 'DUTS'; known: DUTS-TE, DUT-OMRON"):
        published_rows("DUTS")
    with pytest.raises(ValueError, match="table 'IX'; known: III, IV"):
        published_rows(table="IX")


def test_published_results_are_those_read_from_the_paper() -> None:
    source = SHARED / "paper" / "published_results.csv"
    if not source.is_file():
        pytest.skip(f"{source} is not there")
    with open(source, newline="", encoding="utf-8") as file:
        read = list(csv.DictReader(file))
    for row, result in zip(read, published_rows(), strict=True):
        assert (row["table"], row["method"], row["dataset"], row["note"]) == (
            result.table,
            result.method,
            result.dataset,
            result.note,
        )
        printed = {name: float(row[name]) for name in ("S", "F", "E", "MAE") if row[name]}
        assert printed == dict(result.scores)
