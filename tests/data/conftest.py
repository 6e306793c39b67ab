"""A small set of generated pairs, and inputs of kinds that users brought."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from dsunet.data.synthetic import write_synthetic
from helpers import SHARED


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_synthetic(tmp_path / "set", 6, 48, seed=3)
    return tmp_path / "set"


@pytest.fixture(scope="session")
def field_cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make.py` of the field cases draws; nobody may change it."""
    maker = SHARED / "field-cases" / "make.py"
    if not maker.is_file():
        pytest.skip("the field cases are not beside the repository")
    folder = tmp_path_factory.mktemp("cases")
    subprocess.run([sys.executable, maker, folder], check=True)
    return folder
