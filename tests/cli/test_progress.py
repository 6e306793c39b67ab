"""Progress where there is no terminal."""

from __future__ import annotations

import io
import sys

import pytest

from dsunet.cli.output import Progress


def test_a_line_a_minute(capsys: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    with Progress("predicting", lambda: now[0]) as tell:
        for done in range(1, 1201):
            now[0] += 0.5
            tell(done, 1200)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 9  # of ten minutes; the end speaks for itself
    assert lines[0] == "predicting: 120 of 1,200, 2 a second, about 9 min left"
    assert lines[-1] == "predicting: 1,080 of 1,200, 2 a second, about 1 min left"


def test_what_was_done_before_does_not_count_as_speed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    now = [0.0]
    with Progress("predicting", lambda: now[0]) as tell:
        for done in range(1001, 1200):
            now[0] += 1
            tell(done, 2000)
    assert "1,060 of 2,000, 1 a second, about 16 min left" in capsys.readouterr().err


def test_what_is_quick_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("predicting") as tell:
        for done in range(1, 11):
            tell(done, 10)
    assert capsys.readouterr().err == ""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with Progress("predicting") as tell:
        tell(51, 100)  # an earlier run has done fifty
        tell(100, 100)
    said = terminal.getvalue()
    assert "predicting: " in said
    assert "/100" in said
    assert "\n" not in said  # nothing is left of it
