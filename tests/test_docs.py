"""README, docs and help: commands parse, snippets compile, names and links lead somewhere.

test_docs_run.py runs the commands and the snippets.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import itertools
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from jsonargparse import ArgumentError, set_parsing_settings

from dsunet.cli import COMMANDS
from dsunet.cli.parser import Parser
from dsunet.config import MODEL_PRESETS
from helpers import ROOT, TESTS
from pages import PAGES, WRITTEN, blocks, commands, examples


class Reader:
    """Parses command lines as the command line does, and runs nothing."""

    def __init__(self) -> None:
        set_parsing_settings(docstring_parse_attribute_docstrings=True)
        self.parsers: dict[str, Parser] = {}

    def parser(self, name: str) -> Parser:
        if name not in self.parsers:
            command = COMMANDS[name]
            self.parsers[name] = Parser(name, command.summary, command.examples)
            command.add_arguments(self.parsers[name])
        return self.parsers[name]

    def complaint(self, line: str) -> str | None:
        """What is wrong with a line that begins with `dsunet`."""
        arguments = shlex.split(line, comments=True)[1:]
        words = 2 if " ".join(arguments[:2]) in COMMANDS else 1
        name = " ".join(arguments[:words])
        if name not in COMMANDS:
            return f"no command {name!r}"
        for flag, value in itertools.pairwise(arguments):
            if flag == "--config":
                stand_in(value, "{teacher: RUN}" if name == "distill" else "{}")
        try:
            self.parser(name).parse(arguments[words:])
        except (ArgumentError, TypeError) as error:
            return str(error)
        return None


def stand_in(config: str, settings: str) -> None:
    """A file of settings: ours, or what is needed of those that a run has left."""
    Path(config).parent.mkdir(parents=True, exist_ok=True)
    if (ROOT / config).is_file():
        shutil.copy(ROOT / config, config)
    else:
        Path(config).write_text(settings)


def test_every_command_parses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    reader = Reader()
    lines = [(page.name, line) for page in PAGES for line in commands(page)]
    lines += [("help", line) for line in examples()]
    assert len(lines) > 100
    wrong = [(place, line, reader.complaint(line)) for place, line in lines]
    assert [each for each in wrong if each[2]] == []


def test_commands_that_do_not_parse_are_told() -> None:
    reader = Reader()
    assert reader.complaint("dsunet trian") == "no command 'trian'"
    assert "--bogus" in str(reader.complaint("dsunet train --data d --output o --bogus 1"))
    assert "epochs" in str(reader.complaint("dsunet train --data d --output o --epochs soon"))


def unresolved(snippet: str, own: set[str]) -> Iterator[str]:
    """Names that a snippet imports, or takes from `dsunet`, and that are not there."""
    for node in ast.walk(ast.parse(snippet)):
        if isinstance(node, ast.Import):
            wanted = [(alias.name, None) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            wanted = [(str(node.module), alias.name) for alias in node.names]
        elif isinstance(node, ast.Attribute) and re.match(r"dsunet(\.\w+)*$", ast.unparse(node)):
            wanted = [(ast.unparse(node.value), node.attr)]
        else:
            continue
        for module, name in wanted:
            if module.partition(".")[0] in own:
                continue
            if not module.startswith("dsunet"):
                found = importlib.util.find_spec(module) is not None
            else:
                found = name is None or hasattr(importlib.import_module(module), name)
            if not found:
                yield f"{module}.{name}"


def test_snippets_compile_and_their_names_are_there() -> None:
    count = 0
    for page in PAGES:
        snippets = blocks(page, "python")
        own = {named[1] for each in snippets if (named := re.match(r"# (\w+)\.py\n", each))}
        for snippet in snippets:
            compile(snippet, page.name, "exec")
            assert list(unresolved(snippet, own)) == [], page.name
            count += 1
    assert count > 10
    assert list(unresolved("import dsunet\ndsunet.nothing(dsunet.load)", set())) == [
        "dsunet.nothing"
    ]


def test_no_page_has_commands_that_no_test_runs() -> None:
    runs = (TESTS / "test_docs_run.py").read_text(encoding="utf-8")
    for page in PAGES:
        if blocks(page, "sh") or blocks(page, "python"):
            assert re.search(rf'run_page\(.*"{page.name}", capsys\)|/ "{page.name}"\n', runs), (
                f"{page.name} has commands; add it to test_docs_run.py"
            )


@pytest.mark.parametrize("page", WRITTEN, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_readmes_parameter_counts(models_shown: str) -> None:
    table = re.findall(r"\| `(\w+-\w+)` .*\| ([\d,]+) \| ([\d,]+) \(", PAGES[0].read_text())
    assert len(table) == len(MODEL_PRESETS)
    for name, total, trained in table:
        assert re.search(rf"{name} .*{total} .*{trained} ", models_shown), name
