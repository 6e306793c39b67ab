"""What counts as an object in a map, and the units that it is measured in."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

from dsunet.config.checking import require
from dsunet.errors import ConfigError

__all__ = ["FROM_FILE", "UNITS", "ObjectOptions", "PixelSize"]

UNITS = {"nm": 1e-9, "um": 1e-6, "mm": 1e-3, "cm": 1e-2, "m": 1.0, "in": 0.0254}
"""Lengths by their names, in metres."""

FROM_FILE = "file"
"""As `pixel_size`: what the files' resolution tags say."""

_SPELLED = {"µm": "um", "μm": "um", "micron": "um", "microns": "um", "inch": "in"}
_NUMBER = r"[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?|\.[0-9]+"
_SIZE = re.compile(rf"({_NUMBER})(?:\s*[x×]\s*({_NUMBER}))?\s*([a-zµμ]+)")
_AREA = re.compile(rf"({_NUMBER})\s*(?:([a-zµμ]+)(?:2|²|\^2)?)?")


class PixelSize(NamedTuple):
    """How large one pixel is."""

    width: float
    height: float
    unit: str
    """Of `UNITS`; `px` where nothing is known."""

    def in_unit(self, unit: str) -> PixelSize:
        """The same in another unit of `UNITS`."""
        factor = UNITS[self.unit] / UNITS[unit]
        return PixelSize(self.width * factor, self.height * factor, unit)

    @property
    def is_square(self) -> bool:
        """Whether both sides are alike, but for how files round them (a tenth of a percent)."""
        return abs(self.width - self.height) <= 1e-3 * max(self.width, self.height)


@dataclass(frozen=True)
class ObjectOptions:
    """What counts as an object, and the units that it is measured in."""

    threshold: float | None = None
    """Probability from which a pixel is object; by default 0.5."""

    min_area: str | None = None
    """Leave out objects of a smaller area: 20 (pixels), or, with a pixel size, an area such as
    0.5mm2. By default none is left out."""

    pixel_size: str | None = None
    """How large a pixel is: 0.05mm, or width and height as 0.05x0.04mm (nm, um, mm, cm, m, in); or
    file, what each file's resolution tag says. Without it, lengths are in pixels."""

    unit: str | None = None
    """Unit of lengths and areas, where it is not that of `pixel_size`; by default mm for
    `pixel_size` file."""

    class_name: str = "object"
    """What the objects are called, where the files do not tell classes apart."""

    classes: str | None = None
    """The files are masks that hold the numbers of classes (or a palette's indices), these:
    1=crack,2=spot. Other numbers are background."""

    def __post_init__(self) -> None:
        if self.threshold is not None:
            require(0 < self.threshold <= 1, "threshold", self.threshold, "needs (0, 1]")
        for field in ("min_area", "pixel_size"):
            value = getattr(self, field)
            if value is not None and not isinstance(value, str):  # as YAML reads a number
                object.__setattr__(self, field, str(value))
        require(bool(self.class_name.strip()), "class_name", self.class_name, "needs a name")
        if self.unit is not None:
            object.__setattr__(self, "unit", _unit("unit", self.unit))
            if self.pixel_size is None:
                raise ConfigError(
                    f"`unit` is {self.unit}, but nobody knows how large a pixel is; give "
                    "`pixel_size`, or leave `unit` out"
                )
        if self.classes is not None and self.threshold is not None:
            raise ConfigError(
                "`threshold` cuts maps, but `classes` says that the files hold numbers; leave one "
                "of them out"
            )
        if self.classes is not None and self.class_name != "object":
            raise ConfigError(
                "`class_name` is for files with one class, but `classes` names several; leave one "
                "of them out"
            )
        _ = self.size, self.least, self.numbers

    @property
    def size(self) -> PixelSize | None:
        """Of a pixel, in the unit of results; `None` if each file says it."""
        if self.pixel_size is None:
            return PixelSize(1.0, 1.0, "px")
        if self.pixel_size.strip().lower() == FROM_FILE:
            return None
        found = _SIZE.fullmatch(self.pixel_size.strip())
        if not found:
            raise ConfigError(
                f"`pixel_size` is {self.pixel_size!r}, but needs a length with its unit, such as "
                f"0.05mm or 0.05x0.04mm ({', '.join(UNITS)}), or file"
            )
        width, height = float(found[1]), float(found[2] or found[1])
        require(min(width, height) > 0, "pixel_size", self.pixel_size, "needs to be above 0")
        size = PixelSize(width, height, _unit("pixel_size", found[3]))
        return size if self.unit is None else size.in_unit(self.unit)

    @property
    def result_unit(self) -> str:
        """Of lengths; areas are in its square."""
        return self.size.unit if self.size is not None else self.unit or "mm"

    @property
    def least(self) -> tuple[float, str]:
        """The least area: a number, and the unit whose square it is of, or `px`."""
        if self.min_area is None:
            return 0.0, "px"
        found = _AREA.fullmatch(self.min_area.strip())
        if not found:
            raise ConfigError(
                f"`min_area` is {self.min_area!r}, but needs a number of pixels, such as 20, or an "
                "area with its unit, such as 0.5mm2"
            )
        if found[2] in (None, "px"):
            return float(found[1]), "px"
        if self.pixel_size is None:
            raise ConfigError(
                f"`min_area` is {self.min_area}, but nobody knows how large a pixel is; give "
                "`pixel_size`, or the area in pixels"
            )
        return float(found[1]), _unit("min_area", found[2])

    def least_pixels(self, size: PixelSize) -> float:
        """The least area in pixels of a given size."""
        area, unit = self.least
        if unit == "px":
            return area
        return area / (size.width * size.height) * (UNITS[unit] / UNITS[size.unit]) ** 2

    @property
    def numbers(self) -> dict[int, str] | None:
        """Names of classes by their numbers in the files; `None` where the files are maps."""
        if self.classes is None:
            return None
        numbers: dict[int, str] = {}
        for part in self.classes.split(","):
            number, equals, name = (each.strip() for each in part.partition("="))
            if not (equals and name and re.fullmatch(r"[0-9]{1,5}", number) and int(number)):
                raise ConfigError(
                    f"`classes` has {part.strip()!r}, but needs a number from 1 on and a name, "
                    "such as 1=crack,2=spot"
                )
            if int(number) in numbers or name in numbers.values():
                raise ConfigError(f"`classes` has {number} or {name} twice; give each once")
            numbers[int(number)] = name
        return numbers


def _unit(field: str, text: str) -> str:
    name = text.strip().lower()
    name = _SPELLED.get(name, name)
    if name not in UNITS:
        raise ConfigError(f"`{field}` has the unit {text!r}, but needs one of {', '.join(UNITS)}")
    return name
