"""Names that settings and arguments had before they were named after what the encoders are for."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from dsunet.errors import ConfigError

__all__ = [
    "RENAMED",
    "RENAMED_FLAGS",
    "as_on_disk",
    "has_old_names",
    "takes_old_names",
    "todays",
    "todays_name",
]

RENAMED = {
    "dino_depth": "semantic_depth",
    "dinov2": "semantic",
    "dinov2_norm": "semantic_norm",
    "dinov2_weights": "semantic_weights",
    "drop_dino_blocks": "drop_semantic_blocks",
    "hiera": "pyramid",
    "hiera_weights": "pyramid_weights",
    "teacher_dinov2_weights": "teacher_semantic_weights",
    "teacher_hiera_weights": "teacher_pyramid_weights",
    "train_dinov2": "train_semantic",
    "train_hiera": "train_pyramid",
}
"""Old names, each with today's. Weights files go on having the old ones."""

RENAMED_FLAGS = {
    "features": {"crop": "centre_crop", "size": "sam_size"},
    "reproduce": {"size": "model_size"},
}
"""Old names of flags of single commands, which mean something else in the others."""

_ON_DISK = {new: old for old, new in RENAMED.items()}

_Called = TypeVar("_Called", bound=Callable[..., Any])
_Class = TypeVar("_Class", bound=type)


def todays_name(name: str) -> str:
    """Today's name of a setting, whichever it is given by."""
    return RENAMED.get(name, name)


def todays(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by today's names.

    Raises:
        ConfigError: One is there by both.
    """
    both = [old for old, new in RENAMED.items() if old in settings and new in settings]
    if both:
        raise ConfigError(
            f"`{both[0]}` is the old name of `{RENAMED[both[0]]}`, and both are given: leave it out"
        )
    return {todays_name(name): value for name, value in settings.items()}


def as_on_disk(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by the names that weights files have for them."""
    return {_ON_DISK.get(name, name): value for name, value in settings.items()}


def takes_old_names(called: _Called) -> _Called:
    """Lets a function take keyword arguments by their old names, with a warning, too."""

    @functools.wraps(called)
    def takes_both(*arguments: Any, **options: Any) -> Any:
        for old in sorted(RENAMED.keys() & options.keys()):
            warnings.warn(f"{old} is called {RENAMED[old]} now", FutureWarning, stacklevel=2)
        return called(*arguments, **todays(options))

    return takes_both  # type: ignore[return-value]  # of the same signature


def has_old_names(settings: _Class) -> _Class:
    """Lets a dataclass of settings be made, and read, by old names, too."""
    settings.__init__ = takes_old_names(settings.__init__)  # type: ignore[misc]
    for old, new in RENAMED.items():
        if new in settings.__dataclass_fields__:  # type: ignore[attr-defined]
            setattr(settings, old, property(functools.partial(_read, new)))
    return settings


def _read(name: str, settings: Any) -> Any:
    return getattr(settings, name)
