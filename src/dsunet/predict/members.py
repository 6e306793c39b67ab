"""Which models make an ensemble: a list of them, or the files that a pattern finds."""

from __future__ import annotations

import glob
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, Union

from dsunet.errors import CheckpointError, ConfigError
from dsunet.predict.engines.models import Given
from dsunet.weights import shipped
from dsunet.weights.exported import OPENVINO_SUFFIX, SUFFIX

if TYPE_CHECKING:
    from dsunet.network.source import CustomSource

__all__ = ["Member", "as_members", "find_members", "is_meant_as_weights"]

# One of several: a model, or one of the user's own with the file of its weights.
Member: TypeAlias = Union[
    Given, "tuple[CustomSource | Callable[..., object] | str, str | Path | None]"
]

_ENDINGS = (".safetensors", ".pt", ".pth", ".ckpt", SUFFIX, OPENVINO_SUFFIX)
_OF_RUNS = ("best.safetensors", "last.safetensors")


def as_members(
    model: Given | Sequence[Member], weights: str | Path | None
) -> list[tuple[Given, str | Path | None]]:
    """Each model that is meant, with the file of its weights if it is one of the user's own.

    Args:
        model: A model, or a list of them.
        weights: Of a single model of the user's own.

    Raises:
        ConfigError: The list is empty, or `weights` is given beside it.
    """
    if not isinstance(model, list):
        return [(model, weights)]  # type: ignore[list-item]  # no sequence but a list is one
    if weights is not None:
        raise ConfigError(
            f"`weights` is {weights}, but goes with one model; in a list give a pair "
            "(model, weights) for each model of your own"
        )
    if not model:
        raise ConfigError("the list of models is empty; give one at least")
    pairs = [each if isinstance(each, tuple) else (each, None) for each in model]
    if odd := [pair for pair in pairs if len(pair) != 2]:
        raise ConfigError(f"{odd[0]!r} is neither a model nor a pair (model, weights)")
    return [(_own(given), file) if file is not None else (given, None) for given, file in pairs]


def _own(model: Given) -> Given:
    """A model of the user's own, which a text names by its import path."""
    if not isinstance(model, str):
        return model
    from dsunet.network.source import CustomSource

    return CustomSource.of(model)


def find_members(given: Sequence[str]) -> list[str]:
    """The weights that paths and patterns mean, each once.

    A pattern means the runs' folders and the files of weights among what it finds.

    Raises:
        CheckpointError: A pattern finds no weights, or a run's folder without any.
    """
    found: dict[Path, str] = {}
    for text in given:
        for path in _matches(text) if _is_pattern(text) else [text]:
            found.setdefault(Path(path).resolve(), path)
    return list(found.values())


def _is_pattern(text: str) -> bool:
    return glob.has_magic(text) and not Path(text).exists()


def _matches(pattern: str) -> list[str]:
    found = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207 -- absolute ones, too
    weights = [path for path in found if _is_weights(path)]
    if empty := [path for path in weights if Path(path).is_dir() and not _has_weights(path)]:
        raise CheckpointError(
            f"the pattern {pattern} finds {empty[0]}, a run without weights yet; let it come to "
            "the end of an epoch, or name the others"
        )
    if not weights:
        beside = f" (only {found[0]}{', …' if len(found) > 1 else ''})" if found else ""
        raise CheckpointError(
            f"the pattern {pattern} finds no weights{beside}; give runs' folders or weights files"
        )
    return weights


def is_meant_as_weights(word: str) -> bool:
    """Whether a word is one of weights by its looks.

    A run's folder, such a file's name, the name of weights that come with the package, or a pattern
    that finds some of these.
    """
    if _is_pattern(word):
        return any(map(_is_weights, glob.iglob(word, recursive=True)))  # noqa: PTH207
    return _is_weights(word) or shipped.meant(word) is not None


def _is_weights(path: str) -> bool:
    if Path(path).is_dir():
        return _has_weights(path) or Path(path, "config.yaml").is_file()
    return Path(path).suffix.lower() in _ENDINGS


def _has_weights(folder: str) -> bool:
    return any(Path(folder, name).is_file() for name in _OF_RUNS)
