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

# The modules that the names of `dsunet` come from, as type checkers read them.
HOMES = {
    alias.name: str(node.module).removeprefix("dsunet.")
    for node in ast.walk(ast.parse((SOURCE / "__init__.py").read_text(encoding="utf-8")))
    if isinstance(node, ast.ImportFrom)
    for alias in node.names
}

# Rooms whose names come when they are first used, as those of `dsunet` do.
LAZY = ("data", "metrics", "objects", "visualize")

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
    {"objects"},
    {"serve"},
    {"export"},
    {"training"},
    {"report"},
    {"calibration"},
    {"benchmarking"},
    {"planning"},
    {"research"},
    {"cli"},
]


def layer_of(module: str) -> int:
    """The number of the layer that a module's name (without `dsunet.`) belongs to."""
    for number, members in enumerate(LAYERS):
        if any(module == m or module.startswith(f"{m}.") for m in members):
            return number
    raise AssertionError(f"{module} is in no layer")


def running_nodes(tree: ast.AST) -> list[ast.AST]:
    """All nodes but those that only type checkers read."""
    typing_only = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in ast.walk(block)
    }
    return [node for node in ast.walk(tree) if id(node) not in typing_only]


def own_imports(file: Path) -> list[str]:
    """Modules of this package that a file imports when it runs, without `dsunet.` in front."""
    found = []
    for node in running_nodes(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "dsunet":
            found += [HOMES.get(alias.name, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("dsunet."):
            found.append(str(node.module).removeprefix("dsunet."))
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if alias.name.startswith("dsunet.")]
            found += [name.removeprefix("dsunet.") for name in names]
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "dsunet":
            # after a plain `import dsunet`, wherever that stands
            found += [HOMES[node.attr]] if node.attr in HOMES else []
    return found


def test_a_plain_import_counts(tmp_path: Path) -> None:
    file = tmp_path / "module.py"
    file.write_text("def f():\n    import dsunet\n    return dsunet.load, dsunet.__version__\n")
    assert own_imports(file) == ["weights.models"]


def test_imports_go_one_way() -> None:
    wrong = []
    for file in sorted(SOURCE.rglob("*.py")):
        if file == SOURCE / "__init__.py":
            continue
        module = module_of(file)
        wrong += [
            f"{module} imports {imported}"
            for imported in own_imports(file)
            if layer_of(imported) > layer_of(module)
        ]
    assert wrong == []


def module_of(file: Path) -> str:
    """A file's module, without `dsunet.` in front; a package is meant by its own name."""
    parts = file.relative_to(SOURCE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def graph_of(files: list[Path]) -> dict[str, set[str]]:
    """Which of these files import which others of them, inside functions too.

    `from dsunet.weights import known` imports the module `known` where there is one; a name that a
    package only hands on comes from the package, which stands above all that it hands on, be it
    lazily.
    """
    graph: dict[str, set[str]] = {module_of(file): set() for file in files}
    for file in files:
        tree = ast.parse(file.read_text(encoding="utf-8"))
        names = {
            f"{node.module}.{alias.name}".removeprefix("dsunet.")
            for node in (ast.walk(tree) if file.stem == "__init__" else running_nodes(tree))
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("dsunet.")
            for alias in node.names
        }
        for name in names:
            home = name if name in graph else name.rpartition(".")[0]
            if home in graph:
                graph[module_of(file)].add(home)
    return graph


def circle_in(graph: dict[str, set[str]]) -> list[str]:
    """Modules that import each other in a circle, from one back to itself; empty without any."""
    settled: set[str] = set()

    def follow(path: list[str]) -> list[str]:
        for after in sorted(graph[path[-1]]):
            if after in path:
                return [*path[path.index(after) :], after]
            if after not in settled and (found := follow([*path, after])):
                return found
        settled.add(path[-1])
        return []

    return next((found for module in sorted(graph) if (found := follow([module]))), [])


def test_circles_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.SOURCE", tmp_path)
    (tmp_path / "room").mkdir()
    texts = {
        "__init__": "if TYPE_CHECKING:  # what it hands on lazily\n    from dsunet.room.a import x",
        "a": "from dsunet.room import b",
        "b": "def f():\n    from dsunet.room.c import y",
        "c": "if TYPE_CHECKING:\n    from dsunet.room.a import x",
    }
    for name, text in texts.items():
        (tmp_path / "room" / f"{name}.py").write_text(text)
    files = sorted(tmp_path.rglob("*.py"))
    assert graph_of(files)["room.b"] == {"room.c"}
    assert circle_in(graph_of(files)) == []
    (tmp_path / "room" / "c.py").write_text("from dsunet.room.a import x")
    assert circle_in(graph_of(files)) == ["room.a", "room.b", "room.c", "room.a"]
    (tmp_path / "room" / "c.py").write_text("from dsunet.room import x")
    assert circle_in(graph_of(files)) == ["room", "room.a", "room.b", "room.c", "room"]


def test_no_room_has_a_circle() -> None:
    """Nothing calls upward: the modules of a room can be read one after the other."""
    rooms = sorted(path for path in SOURCE.iterdir() if path.is_dir())
    circles = {room.name: circle_in(graph_of(sorted(room.rglob("*.py")))) for room in rooms}
    assert {room: circle for room, circle in circles.items() if circle} == {}


def test_the_network_opens_no_file_and_asks_no_hub() -> None:
    """The paper's figure is a room of its own; what reads files is another."""
    opening = {"open", "read_bytes", "read_text", "write_bytes", "write_text"}
    found = []
    for file in sorted((SOURCE / "network").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                name = ast.unparse(node.func).rpartition(".")[2]
                found += [f"{file.name} calls {name}"] if name in opening else []
            elif isinstance(node, ast.ImportFrom | ast.Import):
                names = [str(getattr(node, "module", "")), *(a.name for a in node.names)]
                hub = [name for name in names if name.startswith(("huggingface", "safetensors"))]
                found += [f"{file.name} imports {name}" for name in hub]
    assert found == []


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


@pytest.mark.parametrize("package", ["dsunet", *(f"dsunet.{room}" for room in LAZY)])
def test_type_checkers_see_the_names_that_come_lazily(package: str) -> None:
    """From the same modules."""
    module = importlib.import_module(package)
    tree = ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))
    seen = {
        alias.name: f"{node.module}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname == alias.name
    }
    assert sorted(seen) == sorted(module.__all__)
    for name, home in seen.items():
        assert getattr(module, name) is getattr(importlib.import_module(home), name)


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
