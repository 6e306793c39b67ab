"""A run's report: what stands in it is so, and it is one file that asks for no other."""

from __future__ import annotations

import base64
import html
import io
import re
import shutil
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import dsunet
from dsunet.cli import main
from dsunet.config import DataConfig
from dsunet.data.synthetic import write_synthetic
from dsunet.metrics import measure
from dsunet.metrics.cuts import Alarm
from dsunet.report import make_report
from dsunet.report.pictures import MAP_COLOUR, TRUTH_COLOUR, Picture
from dsunet.report.sizes import Object, by_size, objects_of
from dsunet.running.maps import quantise
from runs import run

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


class Page(HTMLParser):
    """What a page shows, and what it would fetch."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.open: list[str] = []
        self.text = ""
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("img", "meta", "br", "link"):
            self.open.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]
        assert tag not in ("script", "link", "iframe")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def images_of(page: Page) -> list[bytes]:
    return [base64.b64decode(a.partition(",")[2]) for a in page.addresses if a[:5] == "data:"]


@pytest.fixture
def copied(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


@pytest.mark.slow
def test_the_page_says_what_the_run_came_to(copied: Path, pictures: Path) -> None:
    before = {path: path.read_bytes() for path in copied.iterdir() if path.is_file()}
    assert make_report(copied, device="cpu") == copied / "report.html"
    assert {path: path.read_bytes() for path in before} == before
    page = Page(copied / "report.html")
    assert page.open == []
    assert all(address.startswith(("#", "data:image/")) for address in page.addresses)
    names = (copied / "val.txt").read_text().split()
    assert len(names) == 3
    segmenter = dsunet.Segmenter(copied, "cpu")
    dice = {}
    for name in names:
        probability = segmenter(next((pictures / "images").glob(f"{name}.*"))).probability
        mask = np.asarray(Image.open(pictures / "masks" / f"{name}.png"))
        values = measure(quantise(probability), mask, ["S", "Dice", "MAE"]).values
        dice[name] = values["Dice"]
        for key, value in values.items():
            assert f"{key} {value:.3f}" in page.text
            assert f">{value:.4f}</td>" in page.source
    shown = re.findall(r"<figcaption><b>(.*?)</b>", page.source)
    assert shown == sorted(names, key=lambda name: dice[name])
    drawn = images_of(page)
    charts, shots = drawn[:2], drawn[2:]
    assert all(ET.fromstring(chart).tag.endswith("svg") for chart in charts)
    assert len(shots) == 2 * len(names)
    pixels = np.asarray(Image.open(io.BytesIO(shots[0])).convert("RGB")).astype(int)
    assert min(pixels.shape[:2]) >= 64
    for colour in (TRUTH_COLOUR, MAP_COLOUR):
        assert np.abs(pixels - colour).sum(-1).min() < 120  # one JPEG later
    assert f"dsunet predict PICTURES --weights {copied}" in page.text
    assert "Maps agree best with the truth" in page.text


def test_fewer_pictures_and_another_place(copied: Path, tmp_path: Path) -> None:
    path = make_report(copied, tmp_path / "new" / "page.html", pictures=1, device="cpu")
    assert path == tmp_path / "new" / "page.html"
    page = Page(path)
    assert len(images_of(page)) == 4  # two charts, one picture and its map
    assert "1 of 3, those with the lowest Dice first" in page.text
    assert page.source.count("<tr><td>salient") + page.source.count("<tr><td>camo") == 3
    assert not (copied / "report.html").exists()


@pytest.mark.slow
def test_names_are_text_and_nothing_else(tmp_path: Path) -> None:
    """A file may be called like a piece of a page."""
    write_synthetic(tmp_path / "data", 4, 64)
    for folder in ("images", "masks"):
        for number, path in enumerate(sorted((tmp_path / "data" / folder).iterdir())):
            path.rename(path.with_name(f"<b>&{number}{path.suffix}"))
    folder = tmp_path / "<run>"
    run(folder, tmp_path, data={"data": str(tmp_path / "data"), "val_fraction": 0.5, "workers": 0})
    page = Page(make_report(folder, device="cpu"))
    assert page.open == []
    assert "<b>&" in page.text
    assert html.escape("<run>") in page.source


@pytest.mark.slow
def test_without_validation(pictures: Path, tmp_path: Path) -> None:
    run(tmp_path / "run", pictures, epochs=1)
    page = Page(make_report(tmp_path / "run"))
    assert "Nothing was held out for validation" in page.text
    assert len(images_of(page)) == 1
    assert "Worst pictures" not in page.text


@pytest.mark.slow
def test_pictures_without_an_object_and_broken_ones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    write_synthetic(data, 6, 64)
    masks = sorted((data / "masks").iterdir())
    Image.new("L", (64, 64)).save(masks[0])
    (tmp_path / "val.txt").write_text("\n".join(path.stem for path in masks[:3]))
    how = {"data": str(data), "val_list": str(tmp_path / "val.txt"), "workers": 0}
    run(tmp_path / "run", data, data=how, epochs=1)
    (tmp_path / "val.txt").unlink()  # the run has the names itself
    next((data / "images").glob(f"{masks[1].stem}.*")).write_bytes(b"no picture")
    assert main(["report", str(tmp_path / "run"), "--device", "cpu"]) == 1
    said = capsys.readouterr()
    assert masks[1].stem in said.err
    assert "1 images are not in the report" in said.err
    page = Page(tmp_path / "run" / "report.html")
    assert "no object" in page.text
    assert f"left out: {data}" in page.text
    assert len(re.findall("<figure>", page.source)) == 2


@pytest.mark.slow
def test_data_that_have_moved(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = Path(shutil.copytree(pictures, tmp_path / "data"))
    how = {"data": str(data), "val_fraction": 0.3, "workers": 0}
    run(tmp_path / "run", data, data=how, epochs=1)
    data.rename(tmp_path / "elsewhere")
    command = ["report", str(tmp_path / "run"), "--device", "cpu"]
    assert main(command) == 1
    assert "give the folder where the data lie now as --data" in capsys.readouterr().err
    assert main([*command, "--data", str(tmp_path / "elsewhere")]) == 0
    assert "report: " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["nowhere"], "nowhere is no run; give the folder that dsunet train has written"),
        (["begun"], "begun has trained no epoch yet"),
        (["broken"], "the run in broken cannot be read"),
        (["run", "--pictures", "-1"], "--pictures is -1, but needs at least 0"),
        (["run", "--output", "begun"], "--output begun is a folder; name a file"),
    ],
)
def test_wrong_usage(
    flags: list[str],
    message: str,
    copied: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(copied.parent)
    for name, text in (("begun", "model: dsunet-nano\n"), ("broken", "- 1\n")):
        Path(name).mkdir()
        Path(name, "config.yaml").write_text(text)
    Path("broken", "metrics.csv").write_text("epoch\n1\n")
    assert main(["report", *flags]) == 1
    said = capsys.readouterr().err
    assert message in said
    assert len(said.splitlines()) == 1


@pytest.mark.slow
def test_training_ends_with_a_report(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", "--data", str(pictures), "--model", "dsunet-nano", "--sam-size", "128"]
    command += ["--dino-size", "112", "--epochs", "1", "--batch-size", "4", "--workers", "0"]
    command += ["--device", "cpu", "--val-fraction", "0.3"]
    folder = tmp_path / "run"
    assert main([*command, "--output", str(folder)]) == 0
    assert f"report: {folder}/report.html" in capsys.readouterr().out
    assert (folder / "report.html").is_file()
    assert main([*command, "--output", str(tmp_path / "other"), "--report", "false"]) == 0
    assert not (tmp_path / "other" / "report.html").exists()


@pytest.mark.slow
def test_a_report_that_fails_does_not_take_the_training_along(
    pictures: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device", "report.html")

    monkeypatch.setattr("dsunet.report.page.write_atomically", full)
    command = ["train", "--data", str(pictures), "--model", "dsunet-nano", "--sam-size", "128"]
    command += ["--dino-size", "112", "--epochs", "1", "--batch-size", "4", "--workers", "0"]
    assert main([*command, "--device", "cpu", "--output", str(tmp_path / "run")]) == 0
    assert "there is no report: " in capsys.readouterr().err


def test_objects_are_found_if_half_of_them_is() -> None:
    truth, found = np.zeros((10, 10), bool), np.zeros((10, 10), bool)
    truth[0, 0:4] = True  # half of it found
    found[0, 2:8] = True
    truth[5, 5] = truth[6, 6] = True  # one object, by its corner; not found
    found[9, 9] = True  # touches none
    found[8, 0] = True
    objects, strange = objects_of(truth, found)
    assert objects == [Object(0.04, 0.5), Object(0.02, 0.0)]
    assert strange == 2
    small = Object(0.001, 0.6)
    assert [tuple(row) for row in by_size([*objects, small, Object(1.0, 0.49)])] == [
        ("below 0.1 %", 1, 1),
        ("0.1 to 1 %", 0, 0),
        ("1 to 10 %", 2, 1),
        ("above 10 %", 1, 0),
    ]


def test_what_comes_first() -> None:
    good, bad = Picture("good", {"Dice": 0.9}), Picture("bad", {"Dice": 0.2})
    silent = Picture("silent", {"MAE": 0.0}, Alarm(3, 0.0, 0.0))
    alarmed = Picture("alarmed", {"MAE": 0.3}, Alarm(255, 0.1, 0.3))
    ordered = sorted([good, silent, bad, alarmed], key=lambda picture: picture.goodness)
    assert [picture.name for picture in ordered] == ["alarmed", "bad", "good", "silent"]


@pytest.mark.slow
def test_ignored_pixels_are_in_no_object(tmp_path: Path) -> None:
    """Neither as truth nor as a region of the map."""
    data = tmp_path / "data"
    write_synthetic(data, 4, 64)
    for path in (data / "masks").iterdir():
        mask = np.array(Image.open(path))
        mask[:8] = 77
        Image.fromarray(mask).save(path)
    how = {"data": str(data), "val_fraction": 0.5, "workers": 0, "ignore_value": "77"}
    run(tmp_path / "run", data, data={**how, "object_values": "255"}, epochs=1)
    assert DataConfig(**how).reading.ignored is not None
    page = Page(make_report(tmp_path / "run", device="cpu"))
    assert "Worst pictures" in page.text


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="the page is looked at in Chromium, which is not here")
def test_in_a_browser(copied: Path) -> None:
    """It shows all its pictures, says nothing on the console, and fits a phone."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="the page is looked at with Playwright, which is not here"
    )
    path = make_report(copied, device="cpu")
    said: list[str] = []
    asked: list[str] = []
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for width in (1280, 360):
            page = browser.new_page(viewport={"width": width, "height": 800})
            page.on("console", lambda message: said.append(message.text))
            page.on("request", lambda request: asked.append(request.url))
            page.goto(path.as_uri())
            sizes = "[...document.images].map((image) => image.naturalWidth)"
            assert min(page.evaluate(sizes)) > 0
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            page.close()
        browser.close()
    assert said == []
    assert {url for url in asked if not url.startswith("data:")} == {path.as_uri()}
