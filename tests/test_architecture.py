"""The package's own shape: imports go one way, and heavy ones wait until they are needed."""

from __future__ import annotations

import ast
import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

import dsunet
import public_names

SOURCE = Path(dsunet.__file__).parent

# Each layer may import from itself and from the layers above it in this list.
LAYERS = [
    {"errors"},
    {"config"},
    {"support"},
    {"network"},
    {"weights"},
    {"data"},
    {"running"},
    {"maps"},
    {"metrics"},
    {"visualize"},
    {"predict"},
    {"training"},
    {"benchmarking"},
    {"research"},
    {"cli"},
]


def layer_of(module: str) -> int:
    """The number of the layer that a module's name (without `dsunet.`) belongs to."""
    for number, members in enumerate(LAYERS):
        if any(module == m or module.startswith(f"{m}.") for m in members):
            return number
    raise AssertionError(f"{module} is in no layer")


def own_imports(file: Path) -> list[str]:
    """Modules of this package that a file imports when it runs, without `dsunet.` in front."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    typing_only = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in ast.walk(block)
    }
    found = []
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.ImportFrom) and node.module == "dsunet":
            found += [dsunet._HOMES.get(alias.name, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("dsunet."):
            found.append(str(node.module).removeprefix("dsunet."))
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if alias.name.startswith("dsunet.")]
            found += [name.removeprefix("dsunet.") for name in names]
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "dsunet":
            # after a plain `import dsunet`, wherever that stands
            found += [dsunet._HOMES[node.attr]] if node.attr in dsunet._HOMES else []
    return found


def test_a_plain_import_counts(tmp_path: Path) -> None:
    file = tmp_path / "module.py"
    file.write_text("def f():\n    import dsunet\n    return dsunet.load, dsunet.__version__\n")
    assert own_imports(file) == [dsunet._HOMES["load"]]


def test_imports_go_one_way() -> None:
    wrong = []
    for file in sorted(SOURCE.rglob("*.py")):
        if file == SOURCE / "__init__.py":
            continue
        parts = file.relative_to(SOURCE).with_suffix("").parts
        module = ".".join(part for part in parts if part != "__init__")
        wrong += [
            f"{module} imports {imported}"
            for imported in own_imports(file)
            if layer_of(imported) > layer_of(module)
        ]
    assert wrong == []


HELP = """
import contextlib
from dsunet.cli import main
from dsunet.cli.entry import COMMANDS
main(["--help"])
for name in COMMANDS:
    with contextlib.suppress(SystemExit):
        main([*name.split(), "--help"])
        raise AssertionError(f"{name} has no help")
"""
STEPS = {
    "import": "import dsunet",
    "help": HELP,
    "predict": "dsunet.Segmenter; dsunet.create_model",
}
RUN_STEPS = """
import contextlib, io, json, sys
modules, scope = {}, {}
for name, step in json.loads(sys.argv[1]).items():
    with contextlib.redirect_stdout(io.StringIO()):
        exec(step, scope)
    modules[name] = [*sys.modules]
print(json.dumps(modules))
"""


@pytest.fixture(scope="module")
def loaded() -> dict[str, set[str]]:
    """What is imported after each step of one process."""
    call = [sys.executable, "-c", RUN_STEPS, json.dumps(STEPS)]
    done = subprocess.run(call, capture_output=True, text=True, check=True, timeout=600)
    return {name: set(modules) for name, modules in json.loads(done.stdout).items()}


def test_import_is_light(loaded: dict[str, set[str]]) -> None:
    assert "dsunet" in loaded["import"]
    heavy = {"torch", "timm", "lightning", "matplotlib", "jsonargparse", "numpy"}
    assert not loaded["import"] & heavy


def test_help_is_light(loaded: dict[str, set[str]]) -> None:
    """Of every command, and of the whole."""
    assert {"dsunet.cli.train", "dsunet.cli.weights"} <= loaded["help"]
    heavy = {"torch", "timm", "lightning", "matplotlib", "numpy", "sklearn", "PIL"}
    assert not loaded["help"] & heavy


def test_predicting_does_not_need_training_packages(loaded: dict[str, set[str]]) -> None:
    assert "dsunet.predict" in loaded["predict"]
    heavy = {"lightning", "matplotlib", "py_sod_metrics", "tensorboard"}
    assert not loaded["predict"] & heavy


def test_public_names_stay() -> None:
    """What is promised stands in public_names.txt, and nothing is promised by accident."""
    promised = Path(__file__).with_name("public_names.txt").read_text(encoding="utf-8").splitlines()
    assert list(public_names.lines()) == promised


def test_public_names_exist() -> None:
    for name in dsunet.__all__:
        assert getattr(dsunet, name) is not None
    assert set(dsunet.__all__) <= set(dir(dsunet))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = dsunet.nothing


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("data.find_benchmarks.find_benchmarks", "data.catalogue.find"),
        ("features.extract_features", "visualize.extraction"),
        ("metrics.report.comparison_table", "metrics.comparison_table"),
        ("pruning.prune", "research.pruning.run"),
        ("published.published_rows", "metrics.published"),
    ],
)
def test_modules_are_found_by_the_names_that_the_docs_gave_them(old: str, new: str) -> None:
    module, name = f"dsunet.{old}".rsplit(".", 1)
    found = importlib.import_module(module)
    assert getattr(found, name).__module__ == f"dsunet.{new}"
    assert found.__spec__ is not None
    assert found.__spec__.name == found.__name__ != module
