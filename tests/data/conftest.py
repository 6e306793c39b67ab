"""A small set of generated pairs."""

from __future__ import annotations

from pathlib import Path

import pytest

from dsunet.data.synthetic import write_synthetic


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_synthetic(tmp_path / "set", 6, 48, seed=3)
    return tmp_path / "set"
