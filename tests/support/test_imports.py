"""Callables named by import path."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from dsunet.errors import CustomModelError
from dsunet.support.imports import import_path, resolve


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p])
    for name in (
        "netbox",
        "netbox.inner",
        "netbox.broken",
        "netbox.needy",
        "netbox.typo",
        "netbox.script",
    ):
        monkeypatch.delitem(sys.modules, name, raising=False)
    folder = tmp_path / "netbox"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "inner.py").write_text(
        "SIZE = 3\n\n\ndef tiny():\n    return 1\n\n\nclass Nets:\n    make = staticmethod(tiny)\n"
    )
    (folder / "broken.py").write_text("x = 1\nraise KeyError('a')\n")
    (folder / "needy.py").write_text("import not_installed_anywhere\n")
    (folder / "script.py").write_text("import sys\n\nsys.exit(2)\n")
    (folder / "typo.py").write_text("def f(:\n")
    return tmp_path


def test_the_working_directory_comes_first_for_the_import_alone(here: Path) -> None:
    before = list(sys.path)
    assert resolve("netbox.inner:tiny")() == 1
    assert resolve("netbox.inner:Nets.make")() == 1
    assert sys.path == [*before, str(here)]  # what the module imports later is found, last
    assert resolve("os.path:basename")("a/b") == "b"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("netbox", "'netbox' is no import path; it needs the form PACKAGE.MODULE:NAME"),
        ("nets/mine.py:tiny", "is no import path"),
        ("netbox.inner:", "is no import path"),
        ("absent_box.inner:tiny", "there is no module 'absent_box' in .*the working directory"),
        ("netbox.absent:tiny", "there is no module 'netbox.absent' in"),
        ("netbox.inner:tinny", r"no 'tinny' in .*inner.py; did you mean tiny\?"),
        ("netbox.inner:other", "no 'other' in .*inner.py; it has tiny, Nets"),
        ("netbox.inner:SIZE", "netbox.inner:SIZE is of type int and cannot be called"),
        ("netbox.broken:x", r"netbox.broken failed: KeyError: 'a' \(.*broken.py, line 2\)"),
        ("netbox.needy:x", "netbox.needy failed: ModuleNotFoundError: .*'not_installed_anywhere'"),
        ("netbox.script:x", r"netbox.script failed: SystemExit: 2 \(.*script.py, line 3\)"),
        ("netbox.typo:f", r"netbox.typo failed: SyntaxError: .* \(.*typo.py, line 1\)"),
    ],
)
def test_errors_say_where_was_looked(here: Path, spec: str, message: str) -> None:
    with pytest.raises(CustomModelError, match=message):
        resolve(spec)


def test_import_path() -> None:
    assert import_path(import_path) == "dsunet.support.imports:import_path"
    assert import_path(Path()) == f"{type(Path()).__module__}:{type(Path()).__qualname__}"
