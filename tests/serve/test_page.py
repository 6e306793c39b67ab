"""The page in Debian's Chromium, as its user meets it: from a drop to a download."""

from __future__ import annotations

import base64
import io
import re
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from skimage import data

import dsunet
from served import Served, served

playwright = pytest.importorskip(
    "playwright.sync_api", reason="the page is tried with Playwright, which is not installed"
)

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
WAIT = 60_000
"""Milliseconds, generous as the tests of other files run beside."""
REFUSED = re.compile(r"the server responded with a status of (401|415|422|429|503)")
"""What Chromium itself writes to the console of an answer that is an error."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="the page is tried in Chromium, which is not here"),
]

Files = dict[str, bytes]


def encoded(picture: Image.Image, form: str, **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, form, **options)
    return file.getvalue()


PHOTOS = {name: Image.fromarray(getattr(data, name)()) for name in ("chelsea", "coffee", "rocket")}
COFFEE = encoded(PHOTOS["coffee"], "PNG")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def segmenter() -> dsunet.Segmenter:
    """What the service runs."""
    return dsunet.Segmenter(device="cpu", engine="onnx")


class Page:
    """The page in a window of its own; what it asks for and complains of is kept."""

    def __init__(self, chromium: Any, url: str, **options: Any) -> None:
        self.context = chromium.new_context(**{"reduced_motion": "reduce"} | options)
        self.window = self.context.new_page()
        self.window.set_default_timeout(WAIT)
        self.asked: list[str] = []
        self.complaints: list[str] = []
        self.window.on("request", lambda request: self.asked.append(request.url))
        self.window.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.window.on(
            "console",
            lambda line: self.complaints.append(line.text) if line.type != "log" else None,
        )
        self.url = url
        self.window.goto(url)

    def close(self) -> None:
        """Nothing was asked of others, and nothing was wrong that the page does not tell."""
        self.context.close()
        foreign = [url for url in self.asked if not url.startswith((f"{self.url}/", "blob:"))]
        assert foreign == []
        assert [line for line in self.complaints if not REFUSED.search(line)] == []

    def choose(self, files: Files) -> None:
        given = [{"name": n, "mimeType": "", "buffer": content} for n, content in files.items()]
        self.window.set_input_files("#files", given)

    def transfer(self, files: Files) -> Any:
        """What a browser hands over with a drop or a paste."""
        coded = {name: base64.b64encode(content).decode() for name, content in files.items()}
        return self.window.evaluate_handle(
            """(files) => {
              const transfer = new DataTransfer();
              for (const [name, coded] of Object.entries(files)) {
                const bytes = Uint8Array.from(atob(coded), (c) => c.charCodeAt(0));
                transfer.items.add(new File([bytes], name, { type: "image/png" }));
              }
              return transfer;
            }""",
            coded,
        )

    def ended(self, count: int) -> None:
        """Waits until so many pictures are done or have failed."""
        thumb = '.thumb:is([data-state="done"], [data-state="failed"])'
        self.window.locator(thumb).nth(count - 1).wait_for()
        self.settled()

    def settled(self) -> None:
        """Waits until what was changed is drawn."""
        self.window.evaluate(
            """() => new Promise((resolve) => {
              requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(resolve, 50)));
            })"""
        )

    def states(self) -> list[str]:
        thumbs = self.window.locator(".thumb")
        found: list[str] = thumbs.evaluate_all("all => all.map((each) => each.dataset.state)")
        return found

    def shown(self, canvas: str = "after") -> np.ndarray:
        """H×W×4, what a canvas holds."""
        url = self.window.evaluate(f"() => document.getElementById('{canvas}').toDataURL()")
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))))

    def requests(self) -> int:
        return sum("/v1/segment" in url for url in self.asked)

    def slide(self, name: str, value: int | str) -> None:
        self.window.locator(f"#{name}").fill(str(value))
        self.settled()

    def check(self, name: str, value: str) -> None:
        self.window.locator(f'input[name="{name}"][value="{value}"]').check()
        self.settled()

    def set(self, controls: dict[str, str]) -> None:
        """Radio buttons by their names, sliders and colours by their #id."""
        for name, value in controls.items():
            if name.startswith("#"):
                self.slide(name[1:], value)
            else:
                self.check(name, value)

    def download(self, button: str = "download") -> tuple[str, bytes]:
        with self.window.expect_download() as coming:
            self.window.click(f"#{button}:enabled")
        return coming.value.suggested_filename, Path(coming.value.path()).read_bytes()


@pytest.fixture
def opened(chromium: Any, service: Served) -> Iterator[Callable[..., Page]]:
    pages: list[Page] = []

    def one(**options: Any) -> Page:
        pages.append(Page(chromium, service.url, **options))
        return pages[-1]

    yield one
    for each in pages:
        each.close()


def picture(content: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(content))
    image.load()
    return image


def test_what_is_dropped_is_cut_out(opened: Callable[..., Page]) -> None:
    page = opened()
    assert page.window.locator("h1").is_visible()
    transfer = page.transfer({"coffee.png": COFFEE})
    page.window.dispatch_event("body", "dragover", {"dataTransfer": transfer})
    assert page.window.locator("#dropping").is_visible()
    page.window.dispatch_event("body", "drop", {"dataTransfer": transfer})
    page.ended(1)
    assert page.window.locator("#dropping").is_hidden()
    alpha = page.shown()[..., 3]
    assert alpha[200, 250] == 255, "the cup stays"
    assert alpha[5, 5] == 0, "the table goes"
    assert page.window.locator("#status").inner_text() == "1 picture cut out"
    assert "600 × 400 px" in page.window.locator("#facts").inner_text()


def test_what_is_pasted_is_cut_out(opened: Callable[..., Page]) -> None:
    page = opened()
    page.window.evaluate(
        "(given) => window.dispatchEvent(new ClipboardEvent('paste', { clipboardData: given }))",
        page.transfer({"image.png": COFFEE}),
    )
    page.ended(1)
    assert page.states() == ["done"]


def test_controls_work_without_another_request(opened: Callable[..., Page]) -> None:
    page = opened()
    page.choose({"coffee.png": COFFEE})
    page.ended(1)
    asked = page.requests()
    soft = page.shown()
    assert np.array_equal(page.shown("before")[..., :3], np.asarray(PHOTOS["coffee"]))
    frame = page.window.locator("#frame")
    assert frame.evaluate("each => each.style.getPropertyValue('--cut')") == "0%"
    page.slide("compare", 40)
    assert frame.evaluate("each => each.style.getPropertyValue('--cut')") == "40%"
    assert (
        page.window.locator("#before")
        .evaluate("each => getComputedStyle(each).clipPath")
        .startswith("inset(0px 60%")
    )

    box = frame.bounding_box()
    page.window.mouse.move(box["x"] + 0.2 * box["width"], box["y"] + 50)
    page.window.mouse.down()
    page.window.mouse.move(box["x"] + 0.75 * box["width"], box["y"] + 90, steps=5)
    page.window.mouse.up()
    assert page.window.locator("#compare").input_value() == "75"

    page.check("edge", "threshold")
    page.slide("threshold", 90)
    hard = page.shown()
    assert (hard[..., 3] > 0).sum() < (soft[..., 3] > 0).sum()
    assert page.window.locator("#threshold-value").inner_text() == "90 %"
    page.check("edge", "soft")
    assert np.array_equal(page.shown(), soft)

    for value, colour in (("#ffffff", (255, 255, 255)), ("#000000", (0, 0, 0))):
        page.check("background", value)
        assert tuple(page.shown()[5, 5]) == (*colour, 255)
    page.check("background", "colour")
    page.slide("colour", "#3366cc")
    assert tuple(page.shown()[5, 5]) == (0x33, 0x66, 0xCC, 255)
    page.check("background", "blur")
    blurred = page.shown().astype(int)
    there = np.asarray(PHOTOS["coffee"]).astype(int)
    assert (blurred[..., 3] == 255).all()
    assert abs(blurred[:20, :20, :3].mean((0, 1)) - there[:20, :20].mean((0, 1))).max() < 25
    page.check("view", "map")
    assert set(np.unique(page.shown()[..., :3].std(-1))) == {0}
    page.check("view", "overlay")
    assert not np.array_equal(page.shown(), blurred)
    page.check("view", "cutout")
    assert np.array_equal(page.shown(), blurred)
    assert page.requests() == asked


# Controls that are set one after the other → the name and the picture of the download.
VIEWS: list[tuple[dict[str, str], str, Callable[[Any], Image.Image]]] = [
    ({}, "cutout", lambda r: r.cutout()),
    (
        {"background": "#ffffff", "edge": "threshold", "#threshold": "70"},
        "cutout",
        lambda r: r.cutout(0.7, "white"),
    ),
    (
        {"background": "colour", "#colour": "#3366cc", "edge": "soft"},
        "cutout",
        lambda r: r.cutout(None, "#3366cc"),
    ),
    ({"view": "overlay"}, "overlay", lambda r: r.overlay()),
    ({"view": "map"}, "map", lambda r: Image.fromarray(r.map())),
    (
        {"edge": "threshold", "#threshold": "30"},
        "map",
        lambda r: Image.fromarray(r.binary(0.3).view(np.uint8) * np.uint8(255)),
    ),
    (
        {"view": "cutout", "edge": "soft"},
        "cutout",
        lambda r: r.cutout(None, "#3366cc"),
    ),
]


def assert_alike(given: Image.Image, wanted: Image.Image, colours: int) -> None:
    """The same picture but for the rounding of its colours; opacity is the same to the digit."""
    assert (given.mode, given.size) == (wanted.mode, wanted.size)
    distance = np.abs(np.asarray(given).astype(int) - np.asarray(wanted))
    assert distance.max() <= colours
    if given.mode == "RGBA":
        assert distance[..., 3].max() == 0


def test_downloads_have_the_pixels_of_the_package(
    opened: Callable[..., Page], segmenter: dsunet.Segmenter
) -> None:
    page = opened()
    page.choose({"coffee.png": COFFEE})
    page.ended(1)
    result = segmenter(COFFEE).refined()
    for controls, word, expected in VIEWS:
        page.set(controls)
        name, content = page.download()
        assert name == f"coffee-{word}.png"
        # colours along the edge are computed in doubles there and in floats here
        assert_alike(picture(content), expected(result), colours=1)


def test_a_photograph_that_lies_on_its_side(
    opened: Callable[..., Page], segmenter: dsunet.Segmenter
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    lying = PHOTOS["chelsea"].transpose(Image.Transpose.ROTATE_90)
    content = encoded(lying, "JPEG", quality=92, exif=exif)
    page = opened()
    page.choose({"chelsea.jpg": content})
    page.ended(1)
    _, made = page.download()
    assert picture(made).size == (451, 300)
    # decoders of JPEG may round differently
    assert_alike(picture(made), segmenter(content).refined().cutout(), colours=4)


def test_a_large_picture_is_made_in_strips(
    opened: Callable[..., Page], segmenter: dsunet.Segmenter
) -> None:
    large = PHOTOS["coffee"].resize((2400, 1600), Image.Resampling.BICUBIC)
    content = encoded(large, "PNG")
    page = opened()
    page.choose({"large.png": content})
    page.ended(1)
    assert page.shown().shape == (1067, 1600, 4), "the preview is smaller"
    result = segmenter(content).refined()
    assert_alike(picture(page.download()[1]), result.cutout(), colours=1)
    page.set({"view": "overlay"})
    assert_alike(picture(page.download()[1]), result.overlay(), colours=1)


def test_a_picture_that_browsers_do_not_show(
    opened: Callable[..., Page], segmenter: dsunet.Segmenter
) -> None:
    content = encoded(PHOTOS["coffee"], "TIFF")
    page = opened()
    page.choose({"coffee.tif": content})
    page.ended(1)
    assert page.window.locator("#compare").is_hidden()
    assert "cannot show the original" in page.window.locator("#facts").inner_text()
    result = segmenter(content).refined()
    assert_alike(picture(page.download()[1]), result.cutout(), colours=0)
    page.set({"background": "#000000"})
    # a canvas keeps colours times opacity, in whole numbers
    assert_alike(picture(page.download()[1]), result.cutout(None, "black"), colours=2)
    page.set({"view": "map"})
    assert_alike(picture(page.download()[1]), Image.fromarray(result.map()), colours=0)


def test_all_at_once(opened: Callable[..., Page]) -> None:
    page = opened()
    page.choose({f"{name}.png": encoded(photo, "PNG") for name, photo in PHOTOS.items()})
    page.choose({"coffee.jpg": encoded(PHOTOS["coffee"], "JPEG"), "Grüße 猫.png": COFFEE})
    page.ended(5)
    name, content = page.download("download-all")
    assert name == "cutouts.zip"
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == [
            *("chelsea-cutout.png", "coffee-cutout.png", "rocket-cutout.png"),
            *("coffee-cutout-2.png", "Grüße 猫-cutout.png"),
        ]
        sizes = [picture(archive.read(each)).size for each in archive.namelist()]
    assert sizes == [(451, 300), (600, 400), (640, 427), (600, 400), (600, 400)]
    page.window.locator(".thumb input").nth(1).check()
    assert picture(page.download()[1]).size == (600, 400)


def test_a_broken_file_spoils_no_other(opened: Callable[..., Page]) -> None:
    page = opened()
    page.choose({"coffee.png": COFFEE, "broken.png": COFFEE[:500], "notes.txt": b"no picture"})
    page.ended(3)
    assert page.states() == ["done", "failed", "failed"]
    assert page.window.locator("#status").inner_text() == "1 picture cut out, 2 failed"
    assert page.window.locator("#notice").is_hidden()
    for number, name in ((1, "broken.png"), (2, "notes.txt")):
        page.window.locator(".thumb input").nth(number).check()
        page.settled()
        assert page.window.locator("#notice-title").inner_text() == f"{name} could not be cut out"
        assert len(page.window.locator("#notice-text").inner_text()) > 20
        assert page.window.locator("#download").is_disabled()
    page.window.click("#again")
    page.ended(3)
    page.window.click("#drop-this")
    assert page.states() == ["done", "failed"]


def test_with_the_keyboard_alone(opened: Callable[..., Page], tmp_path: Path) -> None:
    (tmp_path / "coffee.png").write_bytes(COFFEE)
    (tmp_path / "chelsea.png").write_bytes(encoded(PHOTOS["chelsea"], "PNG"))
    page = opened()
    keys = page.window.keyboard

    def focused() -> str:
        found: str = page.window.evaluate(
            """() => {
              const on = document.activeElement;
              return on.id || on.value || on.name || on.textContent;
            }"""
        )
        return found

    def tab_to(name: str) -> None:
        for _ in range(20):
            if focused() == name:
                return
            keys.press("Tab")
        raise AssertionError(f"{name} is not reached; {focused()} is")

    files = [tmp_path / "coffee.png", tmp_path / "chelsea.png"]
    # listened for early, as Playwright's part in the browser takes a moment to know of it
    page.window.on("filechooser", lambda chooser: chooser.set_files(files))
    tab_to("Choose pictures")
    keys.press("Enter")
    page.ended(2)
    name = page.window.locator("#name")
    assert (name.inner_text(), focused()) == ("coffee.png", "on"), "the first picture has the focus"
    keys.press("ArrowRight")
    page.settled()
    assert name.inner_text() == "chelsea.png"
    keys.press("Delete")
    page.settled()
    assert (name.inner_text(), page.states()) == ("coffee.png", ["done"])
    tab_to("cutout")
    keys.press("ArrowRight")
    assert focused() == "overlay"
    keys.press("ArrowLeft")
    tab_to("soft")
    keys.press("ArrowRight")
    tab_to("threshold")
    before = page.shown()
    keys.press("Tab")
    tab_to("threshold")
    keys.press("End")
    page.settled()
    assert not np.array_equal(page.shown(), before)
    tab_to("download")
    with page.window.expect_download() as coming:
        keys.press("Enter")
    assert coming.value.suggested_filename == "coffee-cutout.png"
    page.window.locator("#compare").focus()
    for _ in range(3):
        keys.press("ArrowRight")
    compare = page.window.locator("#compare")
    assert compare.get_attribute("aria-valuetext") == "3 % of the original"
    tab_to("clear")
    keys.press("Enter")
    page.settled()
    assert focused() == "Choose pictures"


def test_everything_has_a_name(opened: Callable[..., Page]) -> None:
    page = opened()
    page.choose({"coffee.png": COFFEE})
    page.ended(1)
    page.window.locator('input[value="threshold"]').check()
    page.window.locator('input[value="colour"]').check()
    nameless = page.window.locator("button, input, canvas[role], dialog").evaluate_all(
        """(all) => all.filter((each) => each.id !== "files"
          && !each.getAttribute("aria-label") && !each.getAttribute("aria-labelledby")
          && !each.labels?.[0]?.textContent.trim() && !each.textContent.trim())
          .map((each) => each.outerHTML)"""
    )
    assert nameless == []


def test_a_busy_server_is_asked_again(opened: Callable[..., Page]) -> None:
    page = opened()
    answers = [(503, "1"), (429, "1")]

    def answer(route: Any) -> None:
        if not answers:
            route.continue_()
            return
        status, seconds = answers.pop(0)
        route.fulfill(status=status, headers={"Retry-After": seconds}, json={"error": "busy"})

    page.window.route("**/v1/segment**", answer)
    page.choose({"coffee.png": COFFEE})
    page.window.get_by_text("It is asked again in 1 s.").wait_for()
    page.ended(1)
    assert (page.states(), page.requests()) == (["done"], 3)


def test_a_few_requests_at_a_time(opened: Callable[..., Page]) -> None:
    page = opened()
    open_now, most = set(), [0]

    def begun(request: Any) -> None:
        if "/v1/segment" in request.url:
            open_now.add(request)
            most[0] = max(most[0], len(open_now))

    page.window.on("request", begun)
    page.window.on("requestfinished", lambda request: open_now.discard(request))
    page.choose({f"{number}.png": COFFEE for number in range(9)})
    page.ended(9)
    assert page.states() == ["done"] * 9
    assert 1 < most[0] <= 3


def test_the_slider_begins_at_the_calibrated_threshold(opened: Callable[..., Page]) -> None:
    page = opened()
    page.window.locator("#model").filter(has_text="dsunet-lite").wait_for()
    assert page.window.locator("#threshold").input_value() == "50"
    told = {"models": [{"name": "calibrated", "threshold": 0.392}], "limits": {}}
    page.window.route("**/v1/models", lambda route: route.fulfill(json=told))
    page.window.reload()
    page.window.locator("#model").filter(has_text="calibrated").wait_for()
    assert page.window.locator("#threshold").input_value() == "39"
    assert page.window.locator("#threshold-value").text_content() == "39 %"


def test_a_token_is_asked_for_once(chromium: Any) -> None:
    with served("--workers", 1, DSUNET_TOKEN="open sesame") as guarded:
        page = Page(chromium, guarded.url)
        page.choose({"coffee.png": COFFEE, "again.png": COFFEE})
        page.window.fill("#token", "wrong")
        page.window.get_by_role("button", name="Go on").click()
        page.window.get_by_text("The server refused that token").wait_for()
        page.window.get_by_role("button", name="Cancel").click()
        page.ended(2)
        assert page.states() == ["failed", "failed"]
        page.window.click("#again")
        page.window.fill("#token", "open sesame")
        page.window.keyboard.press("Enter")
        page.window.locator('.thumb[data-state="done"]').wait_for()
        page.choose({"third.png": COFFEE})
        page.window.locator('.thumb[data-state="done"]').nth(1).wait_for()
        kept = page.window.evaluate(
            "() => [localStorage.length, sessionStorage.length, document.cookie]"
        )
        assert kept == [0, 0, ""]
        page.close()


def test_what_is_too_large_is_not_sent(chromium: Any) -> None:
    with served("--workers", 1, "--max-bytes", 1000) as narrow:
        page = Page(chromium, narrow.url)
        page.window.get_by_text("dsunet-lite").wait_for()
        page.choose({"coffee.png": COFFEE})
        page.ended(1)
        assert "takes 0.00 MB at most" in page.window.locator("#notice-text").inner_text()
        assert page.requests() == 0
        page.close()


@pytest.mark.parametrize("width", [360, 390])
def test_a_phone_scrolls_in_one_direction(opened: Callable[..., Page], width: int) -> None:
    page = opened(
        viewport={"width": width, "height": 740},
        device_scale_factor=2,
        is_mobile=True,
        has_touch=True,
    )
    overflow = "() => document.documentElement.scrollWidth - innerWidth"
    assert page.window.evaluate(overflow) == 0
    long = {f"{'a-very-long-name' * 8}-{number}.png": COFFEE for number in range(8)}
    page.choose({**long, "broken.png": COFFEE[:500]})
    page.ended(9)
    page.check("edge", "threshold")
    assert page.window.evaluate(overflow) == 0
    page.window.locator(".thumb input").nth(8).check()
    page.settled()
    assert page.window.evaluate(overflow) == 0
    assert page.window.evaluate("() => innerWidth") == width


def test_dark_where_the_system_is(opened: Callable[..., Page]) -> None:
    found = {}
    for scheme in ("light", "dark"):
        body = opened(color_scheme=scheme).window.locator("body")
        style = "each => [getComputedStyle(each).backgroundColor, getComputedStyle(each).color]"
        found[scheme] = [
            sum(map(int, re.findall(r"\d+", colour))) for colour in body.evaluate(style)
        ]
    assert found["light"][0] > 600 > 200 > found["light"][1]
    assert found["dark"][0] < 200 < 600 < found["dark"][1]


def test_it_moves_only_where_that_is_wanted(opened: Callable[..., Page]) -> None:
    for motion in ("reduce", "no-preference"):
        page = opened(reduced_motion=motion)
        page.window.evaluate(
            """() => {
              window.seen = [];
              const compare = document.getElementById("compare");
              new MutationObserver(() => window.seen.push(Number(compare.value)))
                .observe(document.getElementById("frame"), { attributeFilter: ["style"] });
            }"""
        )
        page.choose({"coffee.png": COFFEE})
        page.ended(1)
        page.window.wait_for_timeout(1200)
        seen = page.window.evaluate("() => window.seen")
        assert seen[-1] == 0
        assert any(0 < each < 100 for each in seen) == (motion != "reduce")
