"""The site: every page is on it, links lead where they led, and nothing comes from elsewhere."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

import api_pages
import dsunet
import public_names
from dsunet.cli import COMMANDS
from helpers import ROOT
from make_site import configuration, docstrings, site_path, targets, with_links

COMMANDS_PAGE = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")


def test_links_lead_to_where_pages_are_on_the_site() -> None:
    text = "[a](docs/compare.md#x) ![b](docs/images/demo.png) [c](https://x.y) [d](#e) [f](tests)"
    assert with_links("README.md", text) == (
        "[a](compare.md#x) ![b](images/demo.png) [c](https://x.y) [d](#e) [f](#)"
    )
    text = "[a](../README.md#use) [b](../benchmarks/README.md) [c](compare.md) [d](../LICENSE)"
    assert with_links("docs/predict.md", text) == (
        "[a](index.md#use) [b](benchmarks/README.md) [c](compare.md) [d](files/LICENSE)"
    )
    text = "[a](../docs/compare.md)\n```sh\n[b](../docs/compare.md)\n```\n"
    assert with_links("benchmarks/README.md", text) == text.replace("../docs/", "../", 1)
    assert [*targets("docs/x.md", "[a](../b.md)\n```\n[c](d.md)\n```\n[e](f.md#g)")] == [
        "b.md",
        "docs/f.md",
    ]


def test_every_page_is_in_the_navigation() -> None:
    named = re.findall(r"([\w./-]+\.md)$", configuration(), re.MULTILINE)
    pages = [path.name for path in (ROOT / "docs").glob("*.md")]
    assert sorted(named) == sorted(
        [
            *(*pages, "index.md", "benchmarks/README.md", "project/CONTRIBUTING.md"),
            *("project/CHANGELOG.md", "project/THIRD_PARTY.md"),
        ]
    )
    for page in named:
        places = (f"docs/{page}", page, page.removeprefix("project/"), "README.md")
        at_home = next(place for place in places if (ROOT / place).is_file())
        assert site_path(at_home) == page


def test_the_pages_of_the_api_are_up_to_date() -> None:
    """If not: `python website/api_pages.py`."""
    assert tuple(api_pages.ROOMS) == public_names.ROOMS
    for path, text in api_pages.pages().items():
        assert path.read_text(encoding="utf-8") == text


def test_names_become_docstrings_once() -> None:
    text = "- `dsunet.data.a`: A.\n- `dsunet.data.b`\n"
    assert docstrings(text) == "\n::: dsunet.data.a\n\n\n::: dsunet.data.b\n\n"
    assert docstrings(text, "- `dsunet.b`: B.\n").endswith("\n- `dsunet.data.b`\n")


def test_which_command_names_every_command_and_no_other() -> None:
    named = set(re.findall(r"`dsunet ([a-z]+(?: [a-z]+)?)", COMMANDS_PAGE))
    words = {name for name in named if name in COMMANDS}
    words |= {name.split()[0] for name in named} & COMMANDS.keys()
    assert words == COMMANDS.keys()
    for name in named:
        assert name in COMMANDS or name.split()[0] in COMMANDS, name


@pytest.mark.slow
def test_the_site_is_built() -> None:
    """Strictly: a link or a name that leads nowhere fails. Afterwards no page asks others."""
    site = ROOT / "build" / "site"
    done = subprocess.run(
        [sys.executable, "website/make_site.py"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 30
    asked = re.compile(r"<(?:script|link|img|iframe)\b[^>]*\b(?:src|href)=\"?(?:https?:)?//", re.I)
    for page in pages:
        assert not asked.search(page.read_text(encoding="utf-8")), page
    for style in site.rglob("*.css"):
        assert not re.search(r"url\(\"?https?:|@import", style.read_text(encoding="utf-8")), style
    api = (site / "api.html").read_text(encoding="utf-8")
    for name in dsunet.__all__:
        assert f'id="dsunet.{name}"' in api
    assert '<div class="diagram"><svg' in (site / "architecture.html").read_text(encoding="utf-8")
