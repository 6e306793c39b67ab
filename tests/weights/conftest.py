"""Every test of weights has an index and a hub's cache of its own."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _own_index(own_index: Path) -> None:
    pass
