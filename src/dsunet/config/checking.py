"""What the checks of all settings share."""

from __future__ import annotations

import functools
import typing
from typing import Any, Literal

from dsunet.errors import ConfigError, perhaps

__all__ = ["require", "require_choices"]


def require(condition: bool, field: str, value: object, rule: str) -> None:
    """Raises `ConfigError` with the field, its value and the rule unless the condition holds."""
    if not condition:
        raise ConfigError(f"{field} is {value!r}, but {rule}")


@functools.cache
def _choices(cls: Any) -> dict[str, tuple[Any, ...]]:
    """The settings that take one of a few values, and these."""
    hints = typing.get_type_hints(cls)
    return {n: typing.get_args(h) for n, h in hints.items() if typing.get_origin(h) is Literal}


def require_choices(settings: Any) -> None:
    """Raises `ConfigError` if a field that takes one of a few values has another."""
    cls: Any = type(settings)
    for field, known in _choices(cls).items():
        value = getattr(settings, field)
        need = f"needs one of {', '.join(known)}{perhaps(value, known)}"
        require(value in known, field, value, need)
