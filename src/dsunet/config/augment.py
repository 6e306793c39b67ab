"""Random changes of training images by short names, such as `rotate=0.5:15,blur`."""

from __future__ import annotations

import re
from typing import NamedTuple

from dsunet.errors import ConfigError, perhaps

__all__ = ["CHANCE", "CHANGES", "MOVING", "Change", "ChangeKind", "parse_augment"]

CHANCE = 0.5
"""Of every change that has no other."""


class ChangeKind(NamedTuple):
    """A change that images can have."""

    usual: float
    """Strength, where no other is given."""
    least: float
    """The least strength; above it, or just it."""
    largest: float
    unit: str
    """What the strength is."""


CHANGES = {
    "rotate": ChangeKind(15, 0, 180, "degrees either way at most"),
    "scale": ChangeKind(1.25, 1, 4, "the factor, larger or smaller, at most"),
    "colour": ChangeKind(0.3, 0, 1, "the share by which colours change at most"),
    "blur": ChangeKind(2, 0, 20, "the standard deviation in pixels of the view at most"),
    "noise": ChangeKind(20, 0, 128, "the standard deviation in grey levels of 255 at most"),
    "jpeg": ChangeKind(30, 1, 95, "the quality at least"),
    "cutout": ChangeKind(0.3, 0, 0.9, "the share of each side at most"),
}
"""By their short names, in the order in which they happen."""

MOVING = frozenset(("rotate", "scale"))
"""Those that move pixels, of the mask too."""

_PART = re.compile(r"([a-z]+)(?:=([0-9.]+))?(?::([0-9.]+))?")


class Change(NamedTuple):
    """A change that is asked for."""

    name: str
    """Of `CHANGES`."""
    chance: float
    strength: float


def parse_augment(text: str | None) -> tuple[Change, ...]:
    """What changes are asked for, in the order of `CHANGES`.

    Args:
        text: Names, separated by commas, each with `=CHANCE` and `:STRENGTH` where these are not
            the usual ones; `None` for no change.

    Raises:
        ConfigError: A name is not known or there twice, or a number is none that it can have.
    """
    if text is None or text.strip() in ("", "none"):
        return ()
    found: dict[str, Change] = {}
    for part in text.split(","):
        written = part.strip().lower()
        match = _PART.fullmatch(written)
        name = match[1] if match else re.split(r"[=:]", written)[0]
        name = "colour" if name == "color" else name
        if name not in CHANGES:
            raise ConfigError(
                f"`augment` has {part.strip()!r}, but needs some of {', '.join(CHANGES)}"
                + perhaps(name, CHANGES)
            )
        if name in found:
            raise ConfigError(f"`augment` has {name} twice; give it once")
        kind = CHANGES[name]
        try:
            chance = float(match[2]) if match and match[2] else CHANCE
            strength = float(match[3]) if match and match[3] else kind.usual
        except ValueError:
            match = None
        if match is None:
            raise ConfigError(
                f"`augment` has {part.strip()!r}, but needs NAME, NAME=CHANCE or "
                f"NAME=CHANCE:STRENGTH, such as {name}={CHANCE:g}:{kind.usual:g}"
            )
        if not 0 <= chance <= 1:
            raise ConfigError(f"`augment` has {name} with the chance {chance:g}, but needs [0, 1]")
        if not (kind.least < strength <= kind.largest or strength == kind.least == 1):
            raise ConfigError(
                f"`augment` has {name} with the strength {strength:g}, {kind.unit}, but needs "
                f"above {kind.least:g} and at most {kind.largest:g}"
            )
        found[name] = Change(name, chance, strength)
    return tuple(found[name] for name in CHANGES if name in found)
