"""What the values of masks mean."""

from __future__ import annotations

import re
from dataclasses import dataclass

from dsunet.errors import ConfigError

__all__ = ["MaskReading", "MaskValue", "value_name"]

# A grey level or class number, or red, green and blue in 0..255.
MaskValue = int | tuple[int, int, int]

_LARGEST = 65535


@dataclass(frozen=True)
class MaskReading:
    """What the values of a set's masks mean, where they are not 0 and 255.

    Raises:
        ConfigError: A value is neither a whole number in 0..65535 nor a colour, or is both object
            and ignored.
    """

    object_values: str | None = None
    """Values of the masks that are object, separated by commas: grey levels or class numbers
    (`1,2`), or colours (`#00ff00`). Every other value is background."""

    ignore_value: str | None = None
    """Value of the masks, a grey level or a colour, whose pixels count in neither loss nor
    measures."""

    invert: bool = False
    """Object and background are the other way round: black is object."""

    def __post_init__(self) -> None:
        for field in ("object_values", "ignore_value"):
            value = getattr(self, field)
            if isinstance(value, int) and not isinstance(value, bool):  # as YAML reads a number
                object.__setattr__(self, field, str(value))
        if self.ignored in self.objects:
            raise ConfigError(
                f"{self.ignore_value!r} is in `object_values` and is `ignore_value`, too; a value "
                "is object or ignored: leave it out of one of them"
            )

    @property
    def objects(self) -> tuple[MaskValue, ...]:
        """The values that are object, as told; none if nothing is told."""
        if self.object_values is None:
            return ()
        return tuple(_value(part, "object_values") for part in str(self.object_values).split(","))

    @property
    def ignored(self) -> MaskValue | None:
        """The value whose pixels do not count, if one is told."""
        return None if self.ignore_value is None else _value(self.ignore_value, "ignore_value")


def value_name(value: MaskValue) -> str:
    """A value as it is written in settings: `128`, or `#00ff00`."""
    return str(value) if isinstance(value, int) else "#{:02x}{:02x}{:02x}".format(*value)


def _value(text: str, field: str) -> MaskValue:
    text = str(text).strip()
    if re.fullmatch(r"[0-9]{1,5}", text) and int(text) <= _LARGEST:
        return int(text)
    if match := re.fullmatch(r"#([0-9a-fA-F]{2})([0-9a-fA-F]{2})([0-9a-fA-F]{2})", text):
        red, green, blue = (int(part, 16) for part in match.groups())
        return red, green, blue
    many = ", separated by commas" if field == "object_values" else ""
    raise ConfigError(
        f"`{field}` has {text!r}, but needs whole numbers from 0 to {_LARGEST:,} or colours such "
        f"as #00ff00{many}"
        if many
        else f"`{field}` is {text!r}, but needs one whole number from 0 to {_LARGEST:,} or one "
        "colour such as #00ff00"
    )
