"""`dsunet compare` over several data sets, with intervals and with what models take."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dsunet.cli import main
from dsunet.data.synthetic import synthetic_pair
from dsunet.metrics.comparison_table import ModelCosts, sets_table
from dsunet.metrics.published import published_rows
from dsunet.metrics.results import Comparison, Evaluation

CALL = "compare near far --set A=masks/A --set B=masks/B --measures S,MAE,Fmax"


@pytest.fixture
def sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two data sets and two methods' maps of them, in METHOD/SET."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for name, numbers in (("A", range(4)), ("B", range(4, 7))):
        for number in numbers:
            mask = synthetic_pair(number, 40)[1]
            for folder, noise in (("masks", 0), ("near", 30), ("far", 120)):
                Path(folder, name).mkdir(parents=True, exist_ok=True)
                map_ = np.asarray(mask, float) + rng.normal(0, noise, (40, 40))
                picture = Image.fromarray(map_.clip(0, 255).astype(np.uint8))
                picture.save(Path(folder, name, f"{number}.png"))
    return tmp_path


@pytest.fixture(autouse=True)
def _undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are made, but not drawn."""
    for module in ("comparison", "differences"):
        monkeypatch.setattr(f"dsunet.visualize.{module}.save_figure", lambda *_: [])


def rows_of(path: str) -> dict[str, dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return {row["method"]: row for row in csv.DictReader(file)}


@pytest.mark.slow
def test_columns_are_grouped_by_set(sandbox: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*CALL.split(), "--output", "out", "--intervals"]) == 0
    shown = capsys.readouterr().out
    assert "A (4 images), B (3 images)" in shown
    both = rows_of("out/table.csv")
    for name in "AB":
        alone = f"compare near/{name} far/{name} --masks masks/{name} --measures S,MAE,Fmax"
        assert main([*alone.split(), "--output", f"alone{name}", "--intervals"]) == 0
        for row, expected in zip(
            both.values(), rows_of(f"alone{name}/table.csv").values(), strict=True
        ):
            for key in ("S", "S low", "S high", "MAE", "MAE low", "Fmax", "Fmax high"):
                assert row[f"{name} {key}"] == expected[key]
            assert float(row[f"{name} S low"]) < float(row[f"{name} S"])
        assert rows_of(f"out/{name}/table.csv").keys() == both.keys()
        assert Path("out", name, "per_image.csv").is_file()
    latex = Path("out/table.tex").read_text()
    assert re.search(r"& \\multicolumn\{3\}\{c\}\{A\} & \\multicolumn\{3\}\{c\}\{B\}", latex)
    assert re.search(r"\\shortstack\[r\]\{\\textbf\{0\.\d{3}\} \\\\ \{\\scriptsize \[0\.", latex)
    low = json.loads(Path("out/table.json").read_text())["rows"][0]["cells"][0]["interval"][0]
    assert f"<br>[{low:.3f}, " in Path("out/table.md").read_text()
    assert "95 % percentile bootstrap interval over images, 10,000 draws" in shown
    assert f"[{low:.3f}, " in shown


def test_what_lacks_counts_for_no_method_and_is_said(
    sandbox: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("far/A/2.png").unlink()
    for file in Path("far/B").iterdir():
        file.unlink()
    Path("far/B").rmdir()
    assert main([*CALL.split(), "--output", "out"]) == 1
    shown = capsys.readouterr()
    assert "A: 1 of 4 images count for no method" in shown.out
    assert "could not be read or lacks (1 of far)" in shown.out
    assert "far has no maps of B." in shown.out
    assert "dsunet compare: A: failed: far/A has no map of 2" in shown.err
    rows = rows_of("out/table.csv")
    assert rows["far"]["B S"] == ""
    assert rows["near"]["B S"] != ""
    few = "compare near/A --masks masks/A --measures S,MAE,Fmax --output few --list list.txt"
    Path("list.txt").write_text("0\n1\n3\n")
    assert main(few.split()) == 0
    assert rows_of("few/table.csv")["A"]["S"] == rows["near"]["A S"]


def test_what_models_take_stands_in_front(
    sandbox: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def costs_of(models: dict[str, str], *, device: str, speed: bool) -> dict[str, ModelCosts]:
        assert (models, device, speed) == ({"near": "dsunet-lite"}, "cpu", True)
        return {"near": ModelCosts(3_704_227, 3_454_187_968, 21.5, "images/s: on a slow machine.")}

    monkeypatch.setattr("dsunet.benchmarking.costs.costs_of", costs_of)
    models = "--model-of near=dsunet-lite --speed --device cpu --output out"
    assert main([*CALL.split(), *models.split()]) == 0
    shown = capsys.readouterr().out
    assert "images/s: on a slow machine." in shown
    assert "a multiplication and an addition count as two" in shown
    line = next(x for x in Path("out/table.md").read_text().splitlines() if x.startswith("| near"))
    assert line.startswith("| near | 3.7 | 3.5 | 21.5 | ")
    assert "| far | – | – | – | " in Path("out/table.md").read_text()
    row = rows_of("out/table.csv")["near"]
    assert float(row["parameters_M"]) == 3.704227
    assert list(row)[1:5] == ["parameters_M", "FLOPs_G", "images/s", "A S"]
    heads = r"\multicolumn{3}{c}{} & \multicolumn{3}{c}{A}"
    assert heads in Path("out/table.tex").read_text()


def test_published_rows_of_several_sets_are_one_row() -> None:
    sets = ("CAMO", "COD10K")
    published = {name: published_rows(name) for name in sets}
    evaluation = Evaluation({"S": 0.99, "MAE": 0.5}, protocol="benchmark")
    for counts, ranked in (((250, 2026), True), ((250, 9), False)):
        comparisons = {
            name: Comparison({"ours": evaluation}, {}, [str(i) for i in range(count)], [])
            for name, count in zip(sets, counts, strict=True)
        }
        table = sets_table(comparisons, published)
        names = [row.name for row in table.rows]
        assert len(names) == len(set(names)) > 5
        row = next(row for row in table.rows if row.name == "DSU-Net")
        expected = [
            next(r.scores[key] for r in published[name] if r.method == "DSU-Net")
            for name in sets
            for key in ("S", "MAE")
        ]
        assert [cell and cell.value for cell in row.cells] == expected
        assert row.ranked is ranked
        assert any("of the whole of CAMO and COD10K" in note for note in table.notes)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("near", "give the folder of masks by --masks DIR, or several data sets by --set"),
        ("near --masks masks/A --set A=masks/A", "one of the two"),
        ("near --set masks/A", "--set is 'masks/A', but needs a name and what it stands for"),
        ("near --set A=masks/A --set A=masks/B", "--set is given twice for A"),
        ("near --set A=nowhere", "there is no folder nowhere; give the folder of the masks of A"),
        ("near --set ../A=masks/A", "the name is that of a folder in each method's one"),
        ("near --set C=masks/A", "no method has a folder C; with --set C=…, its maps are in METH"),
        ("near masks/A --set A=masks/A", "masks/A has no folder A; with --set, each method's"),
        ("near --set A=masks/A --list x", "--list is of one data set; leave it out, or compare"),
        ("near --set A=masks/A --images x", "--images is of one data set"),
        ("near --set A=masks/A --published CAMO", "--published names CAMO, but --set A"),
        ("near --set A=masks/A --speed", "--speed times models; name them by --model-of"),
        ("near --set A=masks/A --model-of far=x", "the method far, but those compared are near"),
    ],
)
def test_bad_input_is_one_line(
    sandbox: Path, capsys: pytest.CaptureFixture[str], arguments: str, message: str
) -> None:
    assert main(["compare", *arguments.split()]) == 1
    shown = capsys.readouterr()
    assert message in shown.err
    assert shown.err.count("\n") == 1
