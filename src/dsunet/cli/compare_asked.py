"""What `dsunet compare` is asked for: methods, data sets, measures, models."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from jsonargparse import Namespace

from dsunet.cli.compare_output import Differences
from dsunet.cli.parser import words_of
from dsunet.config import Measuring, MeasuringProtocol
from dsunet.errors import ConfigError, DataError, perhaps

if TYPE_CHECKING:
    from dsunet.metrics.published import PublishedResult

__all__ = ["Asked", "asked_of", "folders_of_sets", "name_methods"]


class Asked(NamedTuple):
    """What is compared."""

    methods: dict[str, Path]
    """Folders by the names of their methods: of maps, or of folders of maps for each set."""
    sets: dict[str, str]
    """Folders of masks by the names of data sets; empty for one without a name."""
    measures: tuple[str, ...]
    measuring: Measuring
    differences: Differences
    published: dict[str, list[PublishedResult]]
    """By data set; by "" for the one without a name."""
    models: dict[str, str]
    """By method."""


def asked_of(arguments: Namespace) -> Asked:
    """What to compare; raises `ConfigError` or `DataError` if that makes no sense."""
    from dsunet.metrics import ALL_MEASURES
    from dsunet.metrics.definitions import check_measures, measure_key

    if arguments.rows < 1:
        raise ConfigError(f"--rows is {arguments.rows}, but needs at least 1")
    methods = name_methods(arguments.folders)
    measures = tuple(ALL_MEASURES)
    if arguments.measures is not None:
        measures = check_measures(words_of(arguments.measures))
    pair = _pair(arguments.differ, list(methods))
    usual = "S" if "S" in measures else measures[0]
    key = measure_key(arguments.differ_by) if arguments.differ_by else usual
    if key not in measures:
        raise ConfigError(
            f"--differ-by is {key!r}, but needs one of {', '.join(measures)}"
            + perhaps(key, measures)
        )
    sets = _sets(arguments)
    return Asked(
        methods,
        sets,
        measures,
        _measuring(arguments),
        Differences(pair, key, arguments.rows, "", None),
        _published(arguments, sets),
        _models(arguments, methods),
    )


def _sets(arguments: Namespace) -> dict[str, str]:
    """Folders of masks by data set."""
    if (arguments.masks is None) == (not arguments.sets):
        raise ConfigError(
            "give the folder of masks by --masks DIR, or several data sets by --set NAME=DIR "
            "--set NAME=DIR; one of the two"
        )
    if arguments.masks is not None:
        return {}
    for flag in ("list", "images"):
        if arguments[flag]:
            raise ConfigError(
                f"--{flag} is of one data set; leave it out, or compare that set alone by --masks"
            )
    sets = _named(arguments.sets, "--set", "DUTS-TE=DIR")
    for name, masks in sets.items():
        if Path(name).name != name or name == "..":
            raise ConfigError(
                f"--set is {name}={masks}, but the name is that of a folder in each method's one"
            )
        if not Path(masks).is_dir():
            raise DataError(f"there is no folder {masks}; give the folder of the masks of {name}")
    return sets


def _named(given: Sequence[str], flag: str, example: str) -> dict[str, str]:
    """What was given as NAME=VALUE, each name once."""
    found: dict[str, str] = {}
    for each in given:
        name, equals, value = each.partition("=")
        if not (name and equals and value):
            raise ConfigError(
                f"{flag} is {each!r}, but needs a name and what it stands for, as {flag} {example}"
            )
        if name in found:
            raise ConfigError(f"{flag} is given twice for {name}")
        found[name] = value
    return found


def _models(arguments: Namespace, methods: dict[str, Path]) -> dict[str, str]:
    """Models by method."""
    models = _named(arguments.model_of or (), "--model-of", "METHOD=RUN")
    for method in models:
        if method not in methods:
            raise ConfigError(
                f"--model-of names the method {method}, but those compared are "
                f"{', '.join(methods)}" + perhaps(method, methods)
            )
    if arguments.speed and not models:
        raise ConfigError("--speed times models; name them by --model-of METHOD=MODEL")
    return models


def _published(arguments: Namespace, sets: dict[str, str]) -> dict[str, list[PublishedResult]]:
    """Published results by data set."""
    from dsunet.metrics.published import published_rows

    if not arguments.published:
        return {}
    if not sets:
        return {"": published_rows(arguments.published)}
    found = {}
    for given in words_of(arguments.published):
        rows = published_rows(given)
        name = next((name for name in sets if name.casefold() == given.casefold()), None)
        if name is None:
            raise ConfigError(
                f"--published names {given}, but --set {', '.join(sets)}; results stand under the "
                "data set of the same name"
            )
        found[name] = rows
    return found


def _measuring(arguments: Namespace) -> Measuring:
    """How to measure: beside published values by the paper's protocol, which they are by."""
    beside = arguments.published is not None
    if beside and arguments.protocol == "raw":
        raise ConfigError(
            "--protocol is raw, but the values of --published are by the paper's; leave out one "
            "of them"
        )
    usual: MeasuringProtocol = "benchmark" if beside else "raw"
    return Measuring(arguments.protocol or usual, arguments.threshold)


def folders_of_sets(asked: Asked) -> dict[str, dict[str, Path]]:
    """By data set the folders of those methods that have maps of it."""
    found = {
        name: {
            method: folder / name
            for method, folder in asked.methods.items()
            if (folder / name).is_dir()
        }
        for name in asked.sets
    }
    for name, folders in found.items():
        if not folders:
            raise DataError(
                f"no method has a folder {name}; with --set {name}=…, its maps are in METHOD/{name}"
            )
    for method, folder in asked.methods.items():
        if not any(method in folders for folders in found.values()):
            raise DataError(
                f"{folder} has no folder {' or '.join(asked.sets)}; with --set, each method's "
                "folder holds one of maps for each data set"
            )
    return found


def name_methods(folders: Sequence[str]) -> dict[str, Path]:
    """Folders by the names of their methods.

    A folder gives its name, with as much of the path in front as tells it from the others.

    Args:
        folders: Each `DIR` or `NAME=DIR`.

    Raises:
        DataError: A folder is not there.
        ConfigError: A name, or a folder without one, is given twice.
    """
    paths, names = [], []
    for given in folders:
        name, equals, rest = given.partition("=")
        named = bool(equals and name) and not Path(given).is_dir()
        folder = Path(rest if named else given)
        if not folder.is_dir():
            raise DataError(
                f"there is no folder {folder}; give folders of maps, each as DIR or NAME=DIR"
            )
        paths.append(folder)
        names.append(name if named else "")
    parts = [path.resolve().parts for path in paths]
    depths = [1] * len(paths)
    while True:
        found = [
            name or "/".join(part[-depth:])
            for name, part, depth in zip(names, parts, depths, strict=True)
        ]
        counts = Counter(found)
        clashing = [i for i, name in enumerate(found) if counts[name] > 1]
        if not clashing:
            return dict(zip(found, paths, strict=True))
        growing = [i for i in clashing if not names[i] and depths[i] < len(parts[i])]
        if not growing:
            raise ConfigError(
                f"two methods are called {found[clashing[0]]!r}; give each a name by NAME=DIR"
            )
        for i in growing:
            depths[i] += 1


def _pair(given: str | None, methods: Sequence[str]) -> tuple[str, str] | None:
    """The two methods whose differences are shown; none if there is only one."""
    if given is None:
        return (methods[0], methods[1]) if len(methods) > 1 else None
    wanted = words_of(given)
    if len(set(wanted)) != 2 or len(wanted) != 2 or not set(wanted) <= set(methods):
        raise ConfigError(
            f"--differ is {given!r}, but needs two of {', '.join(methods)}, separated by a comma"
        )
    return wanted[0], wanted[1]
