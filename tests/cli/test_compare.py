"""`dsunet compare`: the numbers are PySODMetrics', the files are whole, bad input is one line."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import py_sod_metrics
import pytest
from PIL import Image

from dsunet.cli import main
from dsunet.cli.compare_asked import name_methods
from dsunet.data.synthetic import synthetic_pair
from dsunet.errors import DataError
from dsunet.metrics import ALL_MEASURES
from dsunet.metrics.comparison_table import comparison_table
from dsunet.metrics.published import published_rows
from dsunet.metrics.results import Comparison, Evaluation
from dsunet.visualize import GridRow, difference_grid, most_different, plot_histograms
from dsunet.visualize.comparison import plot_precision_recall, plot_thresholds
from dsunet.visualize.differences import GAP, WIDTH, read_grid_row
from dsunet.visualize.figures import SCREEN_DPI, method_style
from helpers import SHARED

NOISE = {"good": 20, "middle": 90, "poor": 160}


@pytest.fixture
def sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Images and masks of six made-up pictures, and noisy maps of three methods."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for folder in ("images", "masks", *NOISE):
        Path(folder).mkdir()
    for number in range(6):
        image, mask = synthetic_pair(number, 48 + 4 * number)
        name = f"{number}.png"
        image.save(Path("images", name))
        mask.save(Path("masks", name))
        truth = np.asarray(mask, float)
        for method, noise in NOISE.items():
            map_ = truth + rng.normal(0, noise, truth.shape)
            Image.fromarray(map_.clip(0, 255).astype(np.uint8)).save(Path(method, name))
    return tmp_path


@pytest.fixture
def unsaved(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are made, but not drawn."""
    for module in ("comparison", "differences"):
        monkeypatch.setattr(f"dsunet.visualize.{module}.save_figure", lambda *_: [])


def rows_of(path: str) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def directly(method: str) -> dict[str, float]:
    """PySODMetrics as its README uses it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        f = py_sod_metrics.Fmeasure()
    s, e, mae = py_sod_metrics.Smeasure(), py_sod_metrics.Emeasure(), py_sod_metrics.MAE()
    weighted = py_sod_metrics.WeightedFmeasure()
    overlap = py_sod_metrics.FmeasureV2(
        {
            "Dice": py_sod_metrics.DICEHandler(with_dynamic=True, with_adaptive=False),
            "IoU": py_sod_metrics.IOUHandler(with_dynamic=True, with_adaptive=False),
        }
    )
    for file in sorted(Path(method).iterdir()):
        map_, mask = np.asarray(Image.open(file)), np.asarray(Image.open(Path("masks", file.name)))
        for measure in (f, s, e, mae, weighted, overlap):
            measure.step(pred=map_, gt=mask)
    f_result, e_result, both = f.get_results()["fm"], e.get_results()["em"], overlap.get_results()
    return {
        "S": s.get_results()["sm"],
        "F": f_result["adp"],
        "Fmax": f_result["curve"].max(),
        "Fmean": f_result["curve"].mean(),
        "Fw": weighted.get_results()["wfm"],
        "E": e_result["curve"].mean(),
        "Emax": e_result["curve"].max(),
        "Eadp": e_result["adp"],
        "MAE": mae.get_results()["mae"],
        "mDice": both["Dice"]["dynamic"].mean(),
        "mIoU": both["IoU"]["dynamic"].mean(),
        "Dicemax": both["Dice"]["dynamic"].max(),
        "IoUmax": both["IoU"]["dynamic"].max(),
    }


@pytest.mark.slow
def test_the_table_is_pysodmetrics(sandbox: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for file in Path("poor").iterdir():  # no map that spans the whole range
        Image.fromarray((np.asarray(Image.open(file)) * 0.4 + 30).astype(np.uint8)).save(file)
    call = "compare good middle poor --masks masks --output out --protocol benchmark"
    assert main(call.split()) == 0
    shown = capsys.readouterr().out
    rows = rows_of("out/table.csv")
    assert [row["method"] for row in rows] == ["good", "middle", "poor"]
    for row in rows:
        expected = directly(row["method"])
        assert set(row) == {"method", "BIoU", "Dice", "IoU", *expected} == {"method", *ALL_MEASURES}
        assert {key: float(row[key]) for key in expected} == expected
        assert f"{expected['S']:.3f}" in shown
    assert json.loads(Path("out/table.json").read_text())["title"] == "6 images"
    for name in ("precision_recall", "thresholds", "histograms", "differences"):
        assert Path(f"out/{name}.pdf").read_bytes().startswith(b"%PDF-")
        with Image.open(f"out/{name}.png") as picture:
            picture.load()
    assert re.search(r"\| good \| \*\*0\.\d{3}\*\* \|", Path("out/table.md").read_text())


@pytest.mark.usefixtures("unsaved")
def test_every_image(sandbox: Path) -> None:
    call = "compare good poor --masks masks --measures MAE,S --output out --protocol benchmark"
    assert main(call.split()) == 0
    rows = rows_of("out/per_image.csv")
    assert [(row["image"], row["method"]) for row in rows[:3]] == [
        ("0", "good"),
        ("0", "poor"),
        ("1", "good"),
    ]
    assert list(rows[0]) == ("image method MAE S object_share object_count height width".split())
    mask = np.asarray(Image.open("masks/1.png"))
    map_ = np.asarray(Image.open("good/1.png")).astype(float)
    stretched = (map_ - map_.min()) / (map_.max() - map_.min())
    about = rows[2]
    assert float(about["MAE"]) == pytest.approx(np.abs(stretched - (mask > 128)).mean())
    assert float(about["object_share"]) == (mask > 128).mean()
    assert (int(about["height"]), int(about["width"])) == mask.shape == (52, 52)
    assert int(about["object_count"]) >= 1


@pytest.mark.slow
def test_the_grid_has_a_column_of_images_if_there_are_some(sandbox: Path) -> None:
    command = "compare good poor --masks masks --output out --measures S --rows 2".split()
    for more, columns in (([], 3), (["--images", "images"], 4)):
        assert main(command + more) == 0
        with Image.open("out/differences.png") as picture:
            width = (columns * (WIDTH + GAP) + GAP) * SCREEN_DPI
            assert picture.width == pytest.approx(width, abs=2)
            red, green, _ = np.moveaxis(np.asarray(picture.convert("RGB")), -1, 0)
        assert (red != green).any() == bool(more)  # maps are grey
    assert not list(Path("out").glob(".dsunet-*"))


@pytest.mark.usefixtures("unsaved")
def test_measures_by_the_names_that_tables_print(
    sandbox: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    titles = ",".join(about.title.upper() for about in ALL_MEASURES.values())
    command = ["compare", "good", "poor", "--masks", "masks", "--output", "out"]
    assert main([*command, "--measures", titles, "--differ-by", "boundary IoU"]) == 0
    assert list(rows_of("out/table.csv")[0])[1:] == list(ALL_MEASURES)
    assert "BOUNDARY" not in capsys.readouterr().out


def test_published_rows_are_ranked_beside_the_whole_set() -> None:
    published = published_rows("CHAMELEON")
    scores = {"S": 0.99, "MAE": 0.5}
    for count, ranked in ((76, True), (75, False)):
        names = [str(i) for i in range(count)]
        comparison = Comparison({"ours": Evaluation(scores, protocol="benchmark")}, {}, names, [])
        rows = comparison_table(comparison, published).rows
        assert {row.ranked for row in rows if row.group == "published"} == {ranked}
        assert rows[-1].ranked


@pytest.mark.usefixtures("unsaved")
def test_published_rows_stand_beside(sandbox: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = "compare good poor --masks masks --published duts-te --output out --measures S,Fw"
    assert main(command.split()) == 0
    rows = rows_of("out/table.csv")
    names = [row["method"] for row in rows if row["group"] == "published"]
    assert names == [
        *"U2Net ICON EDN MENet SAM2-UNet DSU-Net".split(),
        *(f"ablation {letter}" for letter in "ABC"),
    ]  # DSU-Net once, though tables III and VII have it
    assert [row["method"] for row in rows if row["group"] == "measured here"] == ["good", "poor"]
    text = Path("out/table.md").read_text()
    assert "whole of DUTS-TE, as papers print them; those measured here are of 6 images" in text
    assert "are of 6 images, and are ranked among themselves." in text
    good = next(line for line in text.splitlines() if line.startswith("| good"))
    assert "**" in good
    assert all("**" not in line for line in text.splitlines() if line.startswith("| DSU-Net"))
    assert "ICON: third digit of S unreadable in the scan" in text
    assert "DUTS-TE, 6 images" in capsys.readouterr().out
    assert main("compare good --masks masks --published DUTS".split()) == 1
    assert "no published results for the data set 'DUTS'; known: DUTS-TE" in capsys.readouterr().err


@pytest.mark.usefixtures("unsaved")
def test_a_broken_map_counts_for_none(sandbox: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("poor/2.png").write_bytes(b"no picture")
    assert main("compare good poor --masks masks --measures S --output out".split()) == 1
    shown = capsys.readouterr()
    assert "dsunet compare: failed: poor/2.png: not a readable image" in shown.err
    assert "1 images count for no method (2)" in shown.err
    assert {row["image"] for row in rows_of("out/per_image.csv")} == set("01345")
    assert "1 of 6 images count for no method" in Path("out/table.tex").read_text()


@pytest.mark.slow
def test_a_broken_image_leaves_its_place_empty(
    sandbox: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("images/0.png").write_bytes(b"no picture")
    Path("images/1.png").unlink()
    Path("val.txt").write_text("0\n1\n2\n")
    command = (
        "compare good poor --masks masks --images images --output out --list val.txt --measures S"
    )
    assert main(command.split()) == 1
    shown = capsys.readouterr()
    assert "images/0.png: not a readable image" in shown.err
    assert "images has no image of the stem 1" in shown.err
    assert "2 images are missing in the grid" in shown.err
    assert Path("out/differences.pdf").is_file()
    assert len(rows_of("out/per_image.csv")) == 2 * 3


def test_names_come_from_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("a/maps", "b/maps", "c/x/maps", "other", "odd=name"):
        Path(folder).mkdir(parents=True)
    assert list(name_methods(["other", "a/maps"])) == ["other", "maps"]
    assert list(name_methods(["a/maps/", "b/maps", "other"])) == ["a/maps", "b/maps", "other"]
    assert list(name_methods(["a/maps", "maps=b/maps"])) == ["a/maps", "maps"]
    assert name_methods(["ours=other", "odd=name"]) == {
        "ours": Path("other"),
        "odd=name": Path("odd=name"),
    }
    monkeypatch.chdir(tmp_path / "c" / "x" / "maps")
    assert list(name_methods(["."])) == ["maps"]
    for twice in (["../maps", "."], ["n=.", "n=.."]):
        with pytest.raises(ValueError, match="two methods are called .*; give each a name by"):
            name_methods(twice)
    with pytest.raises(DataError, match="there is no folder nowhere; give folders of maps"):
        name_methods(["n=nowhere"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("good nowhere --masks masks", "there is no folder nowhere"),
        ("good --masks nowhere", "there is no folder nowhere"),
        ("good --masks masks --measures S,Z", "there is no measure Z; choose among S, F"),
        ("good poor --masks masks --differ good,bad --output o", "needs two of good, poor"),
        ("good poor --masks masks --differ-by Z --output o", "--differ-by is 'Z', but needs one"),
        ("good poor --masks masks --images images", "--images shape the figures; give --output"),
        ("good --masks masks --rows 0", "--rows is 0, but needs at least 1"),
        ("good --masks masks --workers -1", "--workers is -1, but needs at least 0"),
        ("good --masks masks --images none --output o", "there is no folder none"),
        ("good --masks masks --output good/0.png", "good/0.png is a file"),
    ],
)
def test_bad_input_is_one_line(
    sandbox: Path, capsys: pytest.CaptureFixture[str], arguments: str, message: str
) -> None:
    assert main(["compare", *arguments.split()]) == 1
    shown = capsys.readouterr()
    assert message in shown.err
    assert shown.err.count("\n") == 1
    assert not Path("o").exists()


@pytest.mark.skipif(os.name != "posix", reason="other systems have no such names")
@pytest.mark.slow
def test_odd_names(sandbox: Path, capsys: pytest.CaptureFixture[str]) -> None:
    methods = [r"$x_{\frac", "_b\x1b[31m\nc", "方法"]
    for old, new in zip(NOISE, methods, strict=True):
        Path(old).rename(new)
    for folder in (*methods, "masks", "images"):
        for number, name in enumerate(("日本語", "$_{", os.fsdecode(b"bad\xff"))):
            Path(folder, f"{number}.png").rename(Path(folder, f"{name}.png"))
    command = ["compare", *methods, "--masks", "masks", "--images", "images", "--measures", "S"]
    assert main([*command, "--output", "out"]) == 0
    assert "\x1b" not in capsys.readouterr().out
    assert len(list(Path("out").iterdir())) == 5 + 2 * 4
    table = Path("out/table.tex").read_text(encoding="utf-8")
    assert r"\$x\_\{\textbackslash{}frac & " in table
    assert r"\_b?[31m c & " in table
    assert b"bad\xff," in Path("out/per_image.csv").read_bytes()


@pytest.mark.slow
def test_one_method_and_equal_methods_have_no_grid(
    sandbox: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main("compare good --masks masks --measures S --output one".split()) == 0
    assert main("compare good same=good --masks masks --measures S --output two".split()) == 0
    assert "good and same have the same S on every image" in capsys.readouterr().out
    assert not list(Path().glob("*/differences.*"))
    assert Path("one/histograms.pdf").is_file()


def test_remarks(sandbox: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Image.open("poor/3.png") as map_:
        map_.resize((30, 20)).save("poor/3.png")
    Image.new("L", (48, 48)).save("masks/0.png")
    assert main("compare good poor --masks masks --measures S --protocol benchmark".split()) == 0
    shown = capsys.readouterr().out
    assert "poor: 1 maps had another size than their mask and were resized to it (3)" in shown
    assert "1 masks are empty; F is 0 for them, whatever the map (0)" in shown


@pytest.mark.usefixtures("unsaved")
def test_raw_is_the_usual_protocol_and_benchmark_beside_published_values(
    sandbox: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for file in Path("good").iterdir():  # at most 0.3: nothing is object at 0.5
        Image.fromarray((np.asarray(Image.open(file)) * 0.3).astype(np.uint8)).save(file)
    asked = "compare good --masks masks --measures S,Dice --output"
    shown = {}
    for how in ("", "--protocol benchmark", "--published DUTS-TE", "--threshold 0.2"):
        assert main([*asked.split(), f"out{how}", *how.split()]) == 0
        shown[how] = (capsys.readouterr().out, rows_of(f"out{how}/table.csv")[-1])
    raw, stretched, beside, lower = (row for _, row in shown.values())
    assert float(raw["S"]) < 0.7 < 0.95 < float(stretched["S"]) == float(beside["S"])
    assert float(raw["Dice"]) == 0
    assert float(lower["Dice"]) > 0.95
    assert "measured as they are (--protocol raw); Dice and IoU at 0.5" in shown[""][0]
    for how in ("--protocol benchmark", "--published DUTS-TE"):
        assert "stretched to its full range first, as the paper does" in shown[how][0]
    both = "compare good --masks masks --published DUTS-TE --protocol raw"
    assert main(both.split()) == 1
    assert "--protocol is raw, but the values of --published are by" in capsys.readouterr().err


@pytest.mark.usefixtures("unsaved")
def test_images_without_an_object_are_told_of_apart(
    sandbox: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with_objects = "compare good poor --masks masks --measures S,MAE,Dice --output"
    Path("list.txt").write_text("1\n2\n3\n4\n5\n")
    assert main([*with_objects.split(), "few", "--list", "list.txt"]) == 0
    Image.new("L", (48, 48)).save("masks/0.png")
    Image.new("L", (48, 48)).save("good/0.png")
    capsys.readouterr()
    assert main([*with_objects.split(), "all"]) == 0
    shown = capsys.readouterr().out
    assert rows_of("few/table.csv") == rows_of("all/table.csv")
    assert "1 of 6 images have no object; the measures are over the other 5." in shown
    assert "good: 0 of 1 images without an object (0.0 %) have a false alarm" in shown
    assert "poor: 1 of 1 images without an object (100.0 %) have a false alarm" in shown
    first = rows_of("all/per_image.csv")[0]
    assert (first["S"], first["Dice"], first["MAE"]) == ("", "", "0.0")
    for number in range(6):
        Image.new("L", (48 + 4 * number,) * 2).save(f"masks/{number}.png")
    assert main([*with_objects.split(), "none"]) == 0
    shown = capsys.readouterr().out
    assert "the measures cannot say anything of such a set" in shown
    assert rows_of("none/table.csv")[0]["S"] == ""


def test_the_terminals_table_is_cut_into_parts(
    sandbox: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    assert main("compare good poor --masks masks".split()) == 0
    lines = capsys.readouterr().out.splitlines()
    heads = [line for line in lines if line.strip().startswith("method")]
    assert len(heads) > 2
    assert max(map(len, lines[:-1])) <= 50  # the last is a note
    for about in ALL_MEASURES.values():
        assert any(about.title in head for head in heads)


@pytest.mark.slow
def test_comparing_needs_no_torch(sandbox: Path) -> None:
    code = (
        "import sys; from dsunet.cli import main; "
        "main('compare good poor --masks masks --measures S --output out'.split()); "
        "print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    loaded = set(done.stdout.splitlines()[-1].split())
    assert "matplotlib" in loaded
    assert not loaded & {"torch", "timm", "lightning", "matplotlib.pyplot"}


def test_the_farthest_apart_come_first() -> None:
    first = {"a": 0.9, "b": 0.5, "c": 0.7, "d": 0.2}
    second = {"a": 0.8, "b": 0.9, "c": 0.7, "d": 0.6}
    assert most_different(first, second, 9) == ["b", "d", "a"]  # b and d by 0.4, in their order
    assert most_different(first, second, 1) == ["b"]


def test_the_grid_shows_what_it_was_given(tmp_path: Path) -> None:
    maps = {"A": np.full((10, 10), 255, np.uint8), "B": np.full((40, 20), 90, np.uint8)}
    row = GridRow(
        "n" * 99, np.zeros((40, 40), np.uint8), maps, {"A": 0.2, "B": 0.1}, Image.new("RGB", (9, 9))
    )
    difference_grid([row], "S", ("A", "B"), tmp_path / "grid")
    with Image.open(tmp_path / "grid.png") as picture:
        pixels = np.asarray(picture.convert("RGB"))
    middle = pixels[round((0.26 + WIDTH / 2) * SCREEN_DPI)]
    at = [round((GAP + WIDTH / 2 + i * (WIDTH + GAP)) * SCREEN_DPI) for i in range(4)]
    assert [middle[x].tolist() for x in at] == [[0] * 3, [0] * 3, [255] * 3, [90] * 3]
    # the upright map stands in the middle of its cell, white beside it
    assert middle[at[3] - round(0.4 * WIDTH * SCREEN_DPI)].tolist() == [255] * 3


def test_image_and_mask_are_turned_alike(tmp_path: Path) -> None:
    image, exif = Image.new("RGB", (30, 20)), Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "a.jpg", exif=exif)
    for size, name in (((20, 30), "upright.png"), ((30, 20), "stored.png"), ((8, 8), "other.png")):
        Image.new("L", size).save(tmp_path / name)
    for name, size in (("upright.png", (20, 30)), ("stored.png", (30, 20))):
        row = read_grid_row("a", tmp_path / "a.jpg", tmp_path / name, {}, {})
        assert row.image is not None
        assert row.image.size == row.truth.shape[::-1] == size
    with pytest.raises(DataError, match="8×8"):
        read_grid_row("a", tmp_path / "a.jpg", tmp_path / "other.png", {}, {})


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Figures instead of files."""
    figures: list[Any] = []

    def keep(figure: Any, base: Path) -> list[Path]:
        figures.append(figure)
        return []

    monkeypatch.setattr("dsunet.visualize.comparison.save_figure", keep)
    return figures


def test_curves_are_drawn_over_the_right_axis(drawn: list[Any], tmp_path: Path) -> None:
    # PySODMetrics' first threshold is the highest: F begins there at 0.1
    f = np.linspace(0.1, 0.9, 256)
    curves = {
        name: {"F": f, "E": f / 2, "recall": f, "precision": 1 - f / 3} for name in ("_a", "$b$")
    }
    plot_thresholds(curves, tmp_path / "x")
    plot_precision_recall(curves, tmp_path / "x")
    line = drawn[0].axes[0].lines[0]
    at = dict(zip(line.get_xdata(), line.get_ydata(), strict=True))
    assert at[255] == pytest.approx(0.1)
    assert at[0] == pytest.approx(0.9)
    line = drawn[1].axes[0].lines[1]
    assert (line.get_xdata() == f).all()
    assert (line.get_ydata() == 1 - f / 3).all()
    labels = [text.get_text() for text in drawn[1].legends[0].get_texts()]
    assert [label.strip("\u2009") for label in labels] == ["_a", r"\$b\$"]


def test_histograms_count_every_image(drawn: list[Any], tmp_path: Path) -> None:
    scores = {
        "A": {"1": {"S": 0.31}, "2": {"S": 0.32}, "3": {"S": 0.79}, "4": {"S": 1.0}},
        "B": {"1": {"S": 0.5}, "2": {"S": 0.5}, "3": {"S": 0.5}, "4": {"S": 1.0001}},
    }
    plot_histograms(scores, {"S": "S"}, tmp_path / "x")
    first, second = drawn[0].subfigs[0].axes
    assert first.get_xlim() == second.get_xlim() == pytest.approx((0.3, 1))
    for axes in (first, second):
        assert sum(axes.patches[0].get_data().values) == pytest.approx(1)
    heights = first.patches[0].get_data().values
    assert heights[0] == pytest.approx(0.5)  # 0.31 and 0.32
    assert heights[-1] == pytest.approx(0.25)
    assert first.texts[0].get_text() == "0.605"
    assert first.get_ylabel() == "A"


def test_many_methods_look_different() -> None:
    assert len({method_style(number) for number in range(40)}) == 40


@pytest.mark.slow
def test_real_masks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = SHARED / "data" / "duts-te-200"
    if not source.is_dir():
        pytest.skip(f"{source} is not there")
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    masks = sorted((source / "masks").iterdir())[:4]
    for method, noise in (("near", 20), ("far", 120)):
        Path(method).mkdir()
        for mask in masks:
            with Image.open(mask) as picture:
                truth = np.asarray(picture.convert("L"), float)
            map_ = (truth + rng.normal(0, noise, truth.shape)).clip(0, 255)
            Image.fromarray(map_.astype(np.uint8)).save(Path(method, f"{mask.stem}.png"))
    Path("list.txt").write_text("\n".join(mask.stem for mask in masks))
    measures = "S,F,Fw,E,MAE,mIoU,BIoU"
    status = main(
        ["compare", "near", "far", "--masks", str(source / "masks"), "--list", "list.txt"]
        + ["--images", str(source / "images"), "--output", "out", "--measures", measures]
    )
    assert status == 0
    near, far = rows_of("out/table.csv")
    for key in measures.split(","):
        higher = ALL_MEASURES[key].higher_is_better
        assert (float(near[key]) > float(far[key])) == higher, key
    assert Path("out/differences.png").stat().st_size > 20_000
