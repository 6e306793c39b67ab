"""Trained weights that come with the package, so that it segments without any download.

Beside each weights file stands its card: data, terms, measures, limits. A file here is meant by its
model's name, with the version or without, wherever the path of a weights file is
(`dsunet.weights.opened.find_weights`).
"""

from __future__ import annotations

import re
from pathlib import Path

from dsunet.errors import CheckpointError

__all__ = [
    "DEFAULT",
    "SHIPPED",
    "card_of",
    "exported_of",
    "is_shipped",
    "meant",
    "named",
    "versioned",
    "weights_of",
]

DEFAULT = "dsunet-lite"
"""What segments where nobody says which weights to take."""

SHIPPED = {DEFAULT: 3}
"""Models whose trained weights come with the package, and the version of these weights."""

_FOLDER = Path(__file__).parent


def versioned(name: str) -> str:
    """The name of one of `SHIPPED` with its version, such as `dsunet-lite-v1`.

    Other weights have another version, so that it says for good which ones were meant.
    """
    return f"{name}-v{SHIPPED[name]}"


def weights_of(name: str) -> Path:
    """The weights file of one of `SHIPPED`."""
    return _FOLDER / f"{versioned(name)}.safetensors"


def exported_of(name: str) -> Path:
    """The ONNX file of one of `SHIPPED`, with the version or without, for who has no torch.

    Its weights are those of the weights file, which it refers to.
    """
    return _FOLDER / f"{versioned(_parts(name)[0])}.onnx"


def card_of(name: str) -> Path:
    """The Markdown page about the weights of one of `SHIPPED`."""
    return _FOLDER / f"{versioned(name)}.md"


def named(name: str) -> Path | None:
    """The weights file that a name means, with the version or without; `None` if it means none.

    Raises:
        CheckpointError: It has a version that does not come with this package.
    """
    model, version = _parts(name)
    if model not in SHIPPED:
        return None
    if version not in (None, SHIPPED[model]):
        raise CheckpointError(
            f"the weights {name} do not come with this dsunet, which has {versioned(model)}; take "
            f"that one, or a file of {name} that you have kept"
        )
    return weights_of(model)


def meant(path: str | Path) -> Path | None:
    """The weights file that a path means by a name, see `named`; `None` if a file is there."""
    return None if Path(path).exists() else named(str(path))


def _parts(name: str) -> tuple[str, int | None]:
    found = re.fullmatch(r"(.+)-v(\d+)", name)
    return (found[1], int(found[2])) if found else (name, None)


def is_shipped(path: str | Path) -> bool:
    """Whether a path is that of a weights file that comes with the package."""
    return Path(path).resolve().parent == _FOLDER.resolve()
