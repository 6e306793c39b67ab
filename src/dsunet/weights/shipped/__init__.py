"""Trained weights that come with the package, so that it segments without any download.

Beside each weights file stands its card: data, terms, measures, limits. A file here is meant by its
model's name wherever the path of a weights file is (`dsunet.weights.opened.find_weights`).
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["DEFAULT", "SHIPPED", "card_of", "is_shipped", "weights_of"]

DEFAULT = "dsunet-lite"
"""What segments where nobody says which weights to take."""

SHIPPED = (DEFAULT,)
"""Models whose trained weights come with the package."""

_FOLDER = Path(__file__).parent


def weights_of(name: str) -> Path:
    """The weights file of one of `SHIPPED`."""
    return _FOLDER / f"{name}.safetensors"


def card_of(name: str) -> Path:
    """The Markdown page about the weights of one of `SHIPPED`."""
    return _FOLDER / f"{name}.md"


def is_shipped(path: str | Path) -> bool:
    """Whether a path is that of a weights file that comes with the package."""
    return Path(path).resolve().parent == _FOLDER.resolve()
