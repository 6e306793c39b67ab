"""The package's own shape: imports go one way, and heavy ones wait until they are needed."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import dsunet

SOURCE = Path(dsunet.__file__).parent

# Each layer may import from itself and from the layers above it in this list.
LAYERS = [
    {"errors", "config"},
    {"layers"},
    {"data.images", "data.pairs", "data.views", "data.dataset", "data.synthetic", "data"},
    {"encoders"},
    {"fusion", "decoder"},
    {"checkpoint"},
    {"weights"},
    {"model"},
    {"losses", "devices", "inference"},
    {"metrics", "visualize"},
    {"predict"},
    {"training"},
    {"cli", "__main__"},
]


def layer_of(module: str) -> int:
    """The number of the layer that a module's name (without `dsunet.`) belongs to."""
    for number, members in enumerate(LAYERS):
        if any(module == m or module.startswith(f"{m}.") for m in members):
            return number
    raise AssertionError(f"{module} is in no layer")


def own_imports(file: Path) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("dsunet."):
            found.append(node.module.removeprefix("dsunet."))
        elif isinstance(node, ast.Import):
            found += [a.name.removeprefix("dsunet.") for a in node.names if "dsunet." in a.name]
    return found


@pytest.mark.parametrize(
    "file",
    [f for f in sorted(SOURCE.rglob("*.py")) if f != SOURCE / "__init__.py"],
    ids=lambda f: str(f.relative_to(SOURCE)),
)
def test_imports_go_one_way(file: Path) -> None:
    parts = file.relative_to(SOURCE).with_suffix("").parts
    module = ".".join(part for part in parts if part != "__init__")
    checkpoint_names_the_model = ast.parse(file.read_text(encoding="utf-8"))
    typing_only = {
        node.module.removeprefix("dsunet.")
        for block in ast.walk(checkpoint_names_the_model)
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in ast.walk(block)
        if isinstance(node, ast.ImportFrom) and node.module
    }
    for imported in own_imports(file):
        if imported not in typing_only:
            assert layer_of(imported) <= layer_of(module), f"{module} imports {imported}"


def modules_after(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(); print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    return set(done.stdout.splitlines()[-1].split())


def test_import_is_light() -> None:
    loaded = modules_after("import dsunet")
    assert not loaded & {"torch", "timm", "lightning", "matplotlib", "jsonargparse", "numpy"}


def test_help_is_light() -> None:
    loaded = modules_after("from dsunet.cli import main; main(['train', '--help'])")
    assert not loaded & {"torch", "timm", "lightning", "matplotlib", "numpy"}


def test_predicting_does_not_need_training_packages() -> None:
    loaded = modules_after("import dsunet; dsunet.Segmenter; dsunet.create_model")
    assert not loaded & {"lightning", "matplotlib", "py_sod_metrics", "tensorboard"}


def test_public_names_exist() -> None:
    for name in dsunet.__all__:
        assert getattr(dsunet, name) is not None
    assert set(dsunet.__all__) <= set(dir(dsunet))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = dsunet.nothing
