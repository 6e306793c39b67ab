"""Builds the site of the documentation: `python website/make_site.py` into `build/site`.

The pages are written to be read where they lie, on GitHub as well. Here they are laid out for the
site, in `build/docs`: the README is the front page; links that lead out of `docs/` bring along what
they lead to, other Markdown as pages and anything else as files; diagrams become pictures, so that
no page asks for anything from elsewhere; names of the API's pages become their docstrings. Pages
that `nav` in `mkdocs.yml` does not name stand under "More". Zensical builds, and stops at a link
that leads nowhere.
"""

from __future__ import annotations

import posixpath
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LINK = re.compile(r"(\]\()([^)#\s]+)((?:#[^)\s]*)?\))")
FENCE = re.compile(r"(^```.*?^```)", re.DOTALL | re.MULTILINE)
MERMAID = re.compile(r"^```mermaid\n(.*?)^```", re.DOTALL | re.MULTILINE)
NAME = re.compile(r"^- `(dsunet[\w.]*)`.*$", re.MULTILINE)


def site_path(path: str) -> str:
    """Where a file of the repository is on the site; both relative, with slashes."""
    if path == "README.md":
        return "index.md"
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    if not path.endswith(".md"):
        return f"files/{path}"
    # CONTRIBUTING.md beside contributing.md would be one file on some disks
    return path if "/" in path else f"project/{path}"


def targets(path: str, text: str) -> Iterator[str]:
    """The files of the repository that a page links to."""
    for part in FENCE.split(text)[::2]:
        for found in LINK.finditer(part):
            if "://" not in found[2]:
                yield posixpath.normpath(posixpath.join(posixpath.dirname(path), found[2]))


def with_links(path: str, text: str) -> str:
    """A page whose links lead to where their targets are on the site."""
    here = posixpath.dirname(site_path(path)) or "."

    def turned(link: re.Match[str]) -> str:
        if "://" in link[2]:
            return link[0]
        target = posixpath.normpath(posixpath.join(posixpath.dirname(path), link[2]))
        if not (ROOT / target).is_file():  # a folder, which a site has none of
            return f"{link[1]}#{link[3].rpartition('#')[2]}"
        return f"{link[1]}{posixpath.relpath(site_path(target), here)}{link[3]}"

    parts = FENCE.split(text)
    parts[::2] = [LINK.sub(turned, part) for part in parts[::2]]
    return "".join(parts)


def drawn(block: re.Match[str]) -> str:
    """A diagram as a picture in the page."""
    import mermaidx

    svg = " ".join(mermaidx.render(block[1]).svg().split())
    return f'<div class="diagram">{svg}</div>\n'


def stage(folder: Path) -> None:
    """Lays all pages, and what they link to, out for the site."""
    shutil.rmtree(folder, ignore_errors=True)
    waiting = ["README.md", *(f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md"))]
    seen = set(waiting)
    while waiting:
        path = waiting.pop()
        place = folder / site_path(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        if not path.endswith(".md"):
            shutil.copyfile(ROOT / path, place)
            continue
        text = (ROOT / path).read_text(encoding="utf-8")
        new = [t for t in targets(path, text) if t not in seen and (ROOT / t).is_file()]
        seen.update(new)
        waiting += dict.fromkeys(new)
        text = with_links(path, text)
        if path in ("docs/api.md", "docs/api-rooms.md"):
            package = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
            text = docstrings(text, "" if path == "docs/api.md" else package)
        place.write_text(MERMAID.sub(drawn, text), encoding="utf-8")
    shutil.copyfile(ROOT / "website" / "style.css", folder / "style.css")


def docstrings(text: str, elsewhere: str = "") -> str:
    """A page of names as one of docstrings; what stands `elsewhere` under its short name stays."""
    others = {name.rpartition(".")[2] for name in NAME.findall(elsewhere)}

    def turned(entry: re.Match[str]) -> str:
        return entry[0] if entry[1].rpartition(".")[2] in others else f"\n::: {entry[1]}\n"

    return NAME.sub(turned, text)


def configuration() -> str:
    """`mkdocs.yml` with the pages that its `nav` does not name."""
    text = (ROOT / "website" / "mkdocs.yml").read_text(encoding="utf-8")
    pages = sorted(page.name for page in (ROOT / "docs").glob("*.md"))
    more = [page for page in pages if not re.search(rf"[ /]{re.escape(page)}$", text, re.MULTILINE)]
    return text + "".join(["  - More:\n", *(f"      - {page}\n" for page in more)] if more else [])


def main() -> int:
    """Builds; returns the exit status."""
    stage(ROOT / "build" / "docs")
    config = ROOT / "build" / "mkdocs.yml"
    config.write_text(configuration(), encoding="utf-8")
    zensical = Path(sys.executable).with_name("zensical")
    return subprocess.run([zensical, "build", "--strict", "--config-file", config]).returncode


if __name__ == "__main__":
    sys.exit(main())
