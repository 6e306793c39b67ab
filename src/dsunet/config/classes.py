"""Classes: their names, what the values of masks mean for them, and what is for one class alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from dsunet.config.masks import MaskReading, MaskValue, value_name
from dsunet.errors import ConfigError, few

__all__ = [
    "BACKGROUND",
    "IGNORE",
    "ClassReading",
    "as_classes",
    "leave_out_unused",
    "require_one_class",
]

BACKGROUND, IGNORE = "background", "ignore"
"""Rows of a table of classes that are none."""

_MOST = 254  # numbers of 8 bits without background and 255
_USUAL_IGNORED = 255


def as_classes(given: str | Iterable[str] | None) -> tuple[str, ...]:
    """Names of classes, given one by one or as a text with commas.

    Raises:
        ConfigError: One is empty, named twice, or cannot be a folder's name; or there are too many.
    """
    if given is None:
        return ()
    parts = given.split(",") if isinstance(given, str) else [str(name) for name in given]
    names = tuple(part.strip() for part in parts)
    if names == ("",):
        return ()
    for name in names:
        odd = sorted(set(name) & set('/\\:*?"<>|,')) or any(ord(letter) < 32 for letter in name)
        if not name or odd or name.startswith(".") or name.lower() in (BACKGROUND, IGNORE, "mean"):
            raise ConfigError(
                f"`classes` has {name!r}, but needs names that folders can have, other than "
                f"{BACKGROUND}, {IGNORE} and mean, separated by commas"
            )
    if twice := [name for i, name in enumerate(names) if name in names[:i]]:
        raise ConfigError(f"`classes` has {twice[0]!r} twice; each class needs a name of its own")
    if len(names) > _MOST:
        raise ConfigError(f"`classes` has {len(names)} names, but {_MOST} are the most")
    return names


def require_one_class(classes: Sequence[str], what: str, instead: str = "") -> None:
    """Raises `ConfigError` for a network of several classes, or of a named one.

    Args:
        classes: Those of the network, none of today's one map.
        what: What takes networks of one map alone; begins the message.
        instead: What to do, as a clause.
    """
    if classes:
        more = f"; {instead}" if instead else ""
        raise ConfigError(
            f"{what} takes networks of one map; this one has {len(classes)} "
            f"class{'es' if len(classes) > 1 else ''} ({few(list(classes))}){more}"
        )


def leave_out_unused(settings: dict[str, Any]) -> None:
    """Takes `classes` and `exclusive` out of settings for a file, if it is of one map.

    Files of such models say what they always said.
    """
    if not settings.get("classes", True):
        del settings["classes"], settings["exclusive"]


@dataclass(frozen=True)
class ClassReading(MaskReading):
    """What the values of masks with several classes mean.

    `object_values` has the value of each class in their order, and 255 is ignored where nothing
    else is told and no class has it. 0, or black, is background unless it is a class's.
    """

    names: tuple[str, ...] = ()
    """Of the classes."""

    exclusive: bool = True
    """Whether a pixel has one class at most."""

    others: tuple[MaskValue, ...] = ()
    """Further values that are background."""

    folders: bool = False
    """Whether each class has files of its own, whose values are object or not."""

    @property
    def background(self) -> tuple[MaskValue, ...]:
        """The values that are background."""
        objects = self.objects
        usual = [] if 0 in objects or (0, 0, 0) in objects else [0]
        return (*usual, *self.others)

    @property
    def skipped(self) -> MaskValue | None:
        """The value that is ignored, told or usual."""
        if self.ignore_value is not None or self.folders:
            return self.ignored
        values = (*self.objects, *self.others)
        numbers = any(isinstance(value, int) for value in self.objects)
        return _USUAL_IGNORED if numbers and _USUAL_IGNORED not in values else None

    def listed(self) -> str:
        """The classes with their values: `1 In, 2 Pa`."""
        told = zip(self.objects, self.names, strict=True)
        return ", ".join(f"{value_name(value)} {name}" for value, name in told)
