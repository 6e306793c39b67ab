"""Which value or colour of masks is which class: settings and tables → a `ClassReading`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dsunet.config import ClassReading, DataConfig, MaskReading
from dsunet.config.classes import BACKGROUND, IGNORE, as_classes
from dsunet.config.masks import MaskValue, value_name
from dsunet.data.rows import rows_of
from dsunet.errors import ConfigError, DataError, did_you_mean, few

__all__ = ["class_reading", "classes_in", "reading_of_classes"]


def classes_in(table: str | Path) -> tuple[str, ...]:
    """Names of the classes in a table, in its order; see `reading_of_classes`.

    Raises:
        DataError: It cannot be read, or a line is none of a table.
    """
    return tuple(name for name, _ in _rows(Path(table)) if name not in (BACKGROUND, IGNORE))


def class_reading(config: DataConfig, classes: Sequence[str], exclusive: bool) -> ClassReading:
    """As `reading_of_classes`, from the settings of data."""
    if config.invert:
        raise ConfigError("`invert` exchanges object and background, but there are `classes`")
    return reading_of_classes(
        classes, config.class_table, config.object_values, config.ignore_value, exclusive
    )


def reading_of_classes(
    classes: Sequence[str],
    table: str | Path | None = None,
    object_values: str | None = None,
    ignore_value: str | None = None,
    exclusive: bool = True,
) -> ClassReading:
    """What the values of masks with some classes mean.

    Without table and values they are 1, 2, 3 … in the order of the classes.

    Args:
        classes: Their names; all of the table if none is given.
        table: A CSV file with a line for each class: its name and its value or colour, as
            `scratch,3`, `scratch,#ff0000` or `scratch,255,0,0`. Lines called `background` and
            `ignore` say what is no class, and what does not count. A first line without any number
            is a heading. Classes of the table that are not among `classes` are background.
        object_values: The values of the classes in their order, instead of a table.
        ignore_value: The value that does not count.
        exclusive: Whether a pixel has one class at most.

    Raises:
        DataError: The table cannot be read, or lacks a class.
        ConfigError: There is no class, or settings do not go together.
    """
    if table is not None and object_values is not None:
        raise ConfigError("`object_values` and `class_table` exclude each other: give one")
    if table is not None:
        return _of_table(Path(table), as_classes(classes), ignore_value, exclusive)
    names = as_classes(classes)
    if not names:
        raise ConfigError("the classes have no names; give `classes`, or a `class_table`")
    values = object_values or ",".join(map(str, range(1, len(names) + 1)))
    told = MaskReading(values, ignore_value)
    if len(told.objects) != len(names):
        raise ConfigError(
            f"`object_values` has {len(told.objects)} values for the {len(names)} `classes` "
            f"({few(list(names))}); give one for each, in their order"
        )
    _require_apart(names, told.objects, "`object_values`")
    return ClassReading(values, told.ignore_value, names=names, exclusive=exclusive)


def _of_table(
    file: Path, classes: tuple[str, ...], ignore_value: str | None, exclusive: bool
) -> ClassReading:
    rows = _rows(file)
    known = dict(row for row in rows if row[0] not in (BACKGROUND, IGNORE))
    names = classes or as_classes(known)
    if not names:
        raise DataError(f"{file} names no class; give each a line with its name and value")
    for name in names:
        if name not in known:
            hint = did_you_mean(name, known) or f"it has {few(list(known), 20)}"
            raise DataError(f"{file} has no class {name!r}; {hint}")
    _require_apart(list(known), list(known.values()), str(file))
    rest = [value for name, value in known.items() if name not in names]
    others = [*rest, *(value for name, value in rows if name == BACKGROUND)]
    ignored = [value for name, value in rows if name == IGNORE]
    if len(ignored) > 1:
        raise DataError(f"{file} has {len(ignored)} lines for {IGNORE}; give one")
    if ignore_value is None and ignored:
        ignore_value = value_name(ignored[0])
    return ClassReading(
        ",".join(value_name(known[name]) for name in names),
        ignore_value,
        names=names,
        exclusive=exclusive,
        others=tuple(others),
    )


def _require_apart(names: Sequence[str], values: Sequence[MaskValue], where: str) -> None:
    for number, value in enumerate(values):
        if value in values[:number]:
            other = names[values.index(value)]
            raise ConfigError(
                f"{where} has the value {value_name(value)} for {other} and for {names[number]}; "
                "give each class a value of its own"
            )


def _rows(file: Path) -> list[tuple[str, MaskValue]]:
    """Names and values of a table, line by line."""
    rows: list[tuple[str, MaskValue]] = []
    given = rows_of(file, "class_table", "a class's name and its value or colour")
    lines = [row for row in given if "".join(row).strip()]
    for number, row in enumerate(lines, 1):
        name, *value = (part.strip() for part in row)
        found = _value(value)
        if found is None and number == 1 and not set("".join(value)) & set("#0123456789"):
            continue  # a heading
        if found is None or not name:
            raise DataError(
                f"{file} has the line {','.join(row)!r}, but needs a class's name and its value "
                "or colour, as scratch,3 or scratch,#ff0000"
            )
        if name in [each for each, _ in rows] and name != BACKGROUND:
            raise DataError(f"{file} has two lines for {name}; give it one")
        rows.append((name, found))
    return rows


def _value(parts: Sequence[str]) -> MaskValue | None:
    """A number, a colour as #rrggbb, or its red, green and blue; `None` for anything else."""
    text = parts[0] if len(parts) == 1 else ""
    if len(parts) == 3 and all(part.isdecimal() and int(part) < 256 for part in parts):
        text = "#" + "".join(f"{int(part):02x}" for part in parts)
    try:
        return MaskReading(text).objects[0] if text else None
    except ConfigError:
        return None
