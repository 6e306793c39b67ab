"""Which classes of labels are object, and by which values in the masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from dsunet.config import MaskReading
from dsunet.config.masks import value_name
from dsunet.data.labels.annotated import Annotated
from dsunet.errors import ConfigError, DataError, did_you_mean, few

__all__ = ["IGNORED", "Wanted", "what_is_wanted"]

IGNORED = 128
"""The value of pixels that do not count, in masks of 0 and 255."""
_IGNORED_BY_CLASS = 255
_MOST = 254  # classes in masks of 8 bits


@dataclass(frozen=True)
class Wanted:
    """Which classes are object, and by which values."""

    numbers: dict[str, int]
    """Values in the masks by class; empty if every object is meant, whatever its class."""
    by_class: bool
    reading: MaskReading
    """How files of masks are read whose values say the class."""
    told: bool
    """Whether classes were named."""
    sources: dict[str, MaskReading] = field(default_factory=dict)
    """How each class is read from files of masks, with `by_class`."""

    def number(self, label: str) -> int | None:
        """The value of a class; `None` if it is not wanted."""
        return self.numbers.get(label) if self.numbers else 255

    @property
    def ignored(self) -> int:
        """The value of pixels that do not count."""
        return _IGNORED_BY_CLASS if self.by_class else IGNORED

    def meaning(self) -> dict[int, str]:
        """What the values of the masks mean."""
        if self.by_class:
            return {number: name for name, number in self.numbers.items()}
        return {255: ", ".join(self.numbers) or "object"}


def what_is_wanted(found: Annotated, classes: Sequence[str] | None, by_class: bool) -> Wanted:
    """Looks up classes by name or number.

    Raises:
        ConfigError: `by_class` does not go with the labels, or there are too many classes.
        DataError: A class is unknown.
    """
    if by_class and not found.classes:
        raise ConfigError(
            "by_class is for labels with names of classes; these are masks, whose values are told "
            "in training by `object_values`"
        )
    chosen = list(found.classes)
    if classes is not None and found.classes:
        classes = [
            each if each in found.classes else found.numbers.get(each, each) for each in classes
        ]
        for each in classes:
            if each not in found.classes:
                hint = did_you_mean(each, found.classes)
                hint = hint or f"known: {few(found.classes, 20)}"
                raise DataError(f"the labels have no class {each!r}; {hint}")
        chosen = [name for name in found.classes if name in classes]
    if by_class and len(chosen) > _MOST:
        raise ConfigError(
            f"by_class has {len(chosen)} classes, but {_MOST} at most; choose some by `classes`"
        )
    ignored = None if found.ignored is None else value_name(found.ignored)
    if found.values:
        values = {name: value_name(found.values[name]) for name in chosen}
        reading = MaskReading(",".join(values.values()), ignored)
        sources = {name: MaskReading(value, ignored) for name, value in values.items()}
    else:
        told = ",".join(classes) if classes is not None and not found.classes else None
        reading, sources = MaskReading(told, ignored), {}
    numbers = {name: i if by_class else 255 for i, name in enumerate(chosen, 1)}
    return Wanted(numbers, by_class, reading, classes is not None, sources)
