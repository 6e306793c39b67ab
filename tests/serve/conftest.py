"""Services that tests share, and pictures to send."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from serve_pictures import TOKEN, encoded
from served import Served, served


@pytest.fixture(scope="session")
def service() -> Iterator[Served]:
    """One as `dsunet serve` starts it, with one worker."""
    with served("--workers", 1) as one:
        yield one


@pytest.fixture(scope="session")
def tight() -> Iterator[Served]:
    """One with narrow bounds, a token, and one origin that is allowed."""
    with served(
        *("--workers", 1, "--max-bytes", 100_000, "--max-pixels", 1_000_000),
        *("--max-batch", 3, "--max-batch-bytes", 150_000, "--max-upload-memory", 180_000),
        *("--upload-timeout", 5, "--max-connections", 12),
        *("--cors-origin", "https://example.org"),
        DSUNET_TOKEN=TOKEN,
    ) as one:
        one.client.headers["Authorization"] = f"Bearer {TOKEN}"
        yield one


@pytest.fixture(scope="session")
def photo() -> bytes:
    """A JPEG of 160×120, stored lying on its side, with an EXIF orientation that says so."""
    return encoded("JPEG", (120, 160), orientation=6)
