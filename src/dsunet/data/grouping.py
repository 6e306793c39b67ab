"""Splitting pairs so that groups stay whole and parts look alike.

The ideas are those of scikit-learn's GroupKFold, StratifiedGroupKFold and GroupShuffleSplit.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from dsunet.config import MaskReading
from dsunet.data.images import decode
from dsunet.data.pairs import Pair
from dsunet.data.rows import rows_of
from dsunet.data.sources import EmptyMask
from dsunet.errors import ConfigError, DataError, ImageError, few

__all__ = ["RUNNING_NUMBERS", "Running", "folds", "groups_of", "held_out", "running", "strata_of"]

RUNNING_NUMBERS = r"^(.*?)[-_. ]*\d+$"
"""What names have before a number at their end: p02 of p02_01."""

_TRIES = 200  # shuffles of which the best is taken
_FARTHEST_APART = 20  # how far the numbers of a run are apart on the average, as of sampled frames
_SIZES = 3  # strata of pictures with an object, by its area


def groups_of(names: Sequence[str], group_by: str) -> dict[str, str]:
    """The group of every pair.

    Args:
        names: Names of pairs.
        group_by: A file that ends with `.csv` and has a name and its group in every line; or a
            regular expression, of which a name's match is its group: what is in parentheses if
            there are some, else all of it.

    Raises:
        ConfigError: It is no regular expression.
        DataError: The file cannot be read, a name has no group, or all have one and the same.
    """
    if group_by.lower().endswith(".csv"):
        found = _from_table(names, Path(group_by))
    else:
        found = _from_names(names, group_by)
    lone = [name for name in names if name not in found]
    if lone:
        raise DataError(
            f"{group_by!r} gives {len(lone)} of {len(names)} pairs no group ({few(lone)}); "
            "`group_by` needs one for each"
        )
    if len(set(found.values())) < 2:
        raise DataError(
            f"{group_by!r} puts all {len(names)} pairs into one group ({found[names[0]]!r}), which "
            "cannot be split; give another `group_by`"
        )
    return found


def _from_names(names: Sequence[str], pattern: str) -> dict[str, str]:
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise ConfigError(
            f"group_by is {pattern!r}, but needs a regular expression ({error}) or a .csv file"
        ) from error
    found: dict[str, str] = {}
    for name in names:
        if match := expression.search(name):
            parts = match.groups() or (match[0],)
            found[name] = "/".join(part or "" for part in parts)
    return found


def _from_table(names: Sequence[str], file: Path) -> dict[str, str]:
    known = set(names)
    by_last = {PurePosixPath(name).name: name for name in names}
    found: dict[str, str] = {}
    for number, row in enumerate(rows_of(file, "group_by", "a name and its group"), 1):
        if not row or not "".join(row).strip():
            continue
        if len(row) < 2:
            raise DataError(f"{file}, line {number} is {row[0]!r}, but needs a name and its group")
        given, group = row[0].strip(), row[1].strip()
        stem = str(PurePosixPath(given).with_suffix("")) if PurePosixPath(given).name else given
        name = next((each for each in (given, stem) if each in known), None)
        name = name or by_last.get(given) or by_last.get(stem)
        if name is None:  # a heading, or a picture that is not among these
            continue
        if found.setdefault(name, group) != group:
            raise DataError(
                f"{file}, line {number} puts {name} into {group!r}, but it is in {found[name]!r} "
                "already; give every name one group"
            )
    return found


def strata_of(pairs: Sequence[Pair], by: str, reading: MaskReading) -> dict[str, str]:
    """What kind of mask every pair has.

    Args:
        pairs: The pairs; their masks are read.
        by: `empty`: whether there is an object; `size`: also, in thirds, how large a part of the
            picture it is.
        reading: What the masks' values mean.

    Returns:
        By name; `unknown` of a mask that cannot be read, of which the check tells.
    """
    shares = {pair.name: _share(pair, reading) for pair in pairs}
    sizes = [share for share in shares.values() if share]
    thirds = [i / _SIZES for i in range(1, _SIZES)]
    limits: list[float] = np.quantile(sizes, thirds).tolist() if sizes else []

    def kind(share: float | None) -> str:
        if share is None:
            return "unknown"
        if share == 0:
            return "empty"
        return f"size {sum(share > limit for limit in limits)}" if by == "size" else "object"

    return {name: kind(share) for name, share in shares.items()}


def _share(pair: Pair, reading: MaskReading) -> float | None:
    """The part of a picture that is object; nothing if its mask cannot be read."""
    if isinstance(pair.mask, EmptyMask):
        return 0.0
    try:
        return float((np.asarray(decode(pair.mask).as_labels(reading).mask) >= 128).mean())
    except ImageError:
        return None


class _Units(NamedTuple):
    """What is assigned as a whole: groups, with how many pairs of each stratum they have."""

    names: list[list[str]]
    counts: np.ndarray
    """Groups × strata."""


def _units(
    names: Iterable[str], groups: Mapping[str, str] | None, strata: Mapping[str, str] | None
) -> _Units:
    members: dict[str, list[str]] = {}
    for name in sorted(names):
        members.setdefault(name if groups is None else groups[name], []).append(name)
    kinds = sorted(set(strata.values())) if strata else [""]
    counts = np.zeros((len(members), len(kinds)))
    for row, each in enumerate(members.values()):
        for name in each:
            counts[row, kinds.index(strata[name]) if strata else 0] += 1
    return _Units(list(members.values()), counts)


def held_out(
    names: Iterable[str],
    fraction: float,
    seed: int,
    groups: Mapping[str, str] | None = None,
    strata: Mapping[str, str] | None = None,
) -> set[str]:
    """The names of whole groups that are about a fraction of all, and of every stratum.

    Of many seeded choices the one that comes nearest. It depends on the seed and the names alone.

    Raises:
        DataError: There are fewer than two groups.
    """
    units = _units(names, groups, strata)
    if len(units.names) < 2:
        raise DataError(f"{len(units.names)} groups cannot be split; at least two are needed")
    wanted = fraction * units.counts.sum(axis=0)
    chance = random.Random(seed)
    best: tuple[float, list[int]] | None = None
    for _ in range(_TRIES):
        order = list(range(len(units.names)))
        chance.shuffle(order)
        chosen, have = order[:1], units.counts[order[0]]
        for unit in order[1:]:
            more = have + units.counts[unit]
            if len(chosen) < len(order) - 1 and _off(more, wanted) < _off(have, wanted):
                chosen, have = [*chosen, unit], more
        if best is None or _off(have, wanted) < best[0]:
            best = _off(have, wanted), chosen
    assert best is not None
    return {name for unit in best[1] for name in units.names[unit]}


def _off(have: np.ndarray, wanted: np.ndarray) -> float:
    """How far counts are from those that are wanted: of all, and of the strata."""
    return float(abs((have - wanted).sum()) + np.abs(have - wanted).sum())


def folds(
    names: Iterable[str],
    count: int,
    seed: int,
    groups: Mapping[str, str] | None = None,
    strata: Mapping[str, str] | None = None,
) -> list[set[str]]:
    """Parts of about equal size that share no group, and have every stratum in like measure.

    Groups, the largest first and those of a size in seeded order, go where they even the parts out
    the most. It depends on the seed and the names alone.

    Raises:
        DataError: There are fewer groups than parts.
    """
    units = _units(names, groups, strata)
    if len(units.names) < count:
        what = "pairs" if groups is None else "groups"
        raise DataError(
            f"{len(units.names)} {what} cannot be divided into {count} folds; give fewer by `fold`"
        )
    order = list(range(len(units.names)))
    random.Random(seed).shuffle(order)
    # one stratum after the other, so that what is left of each goes where the others lack
    order.sort(key=lambda unit: (-units.counts[unit].sum(), int(units.counts[unit].argmax())))
    have = np.zeros((count, units.counts.shape[1]))
    parts: list[set[str]] = [set() for _ in range(count)]
    weights = 1 / np.maximum(units.counts.sum(axis=0), 1)
    for unit in order:
        # the part that is left most even: by strata, then by size
        added = have + units.counts[unit]
        gain = ((added**2 - have**2) * weights).sum(axis=1)
        part = min(range(count), key=lambda p: (round(float(gain[p]), 9), have[p].sum(), p))
        have[part] = added[part]
        parts[part] |= set(units.names[unit])
    return parts


class Running(NamedTuple):
    """Names that count on, as frames of a video do, on both sides of a split."""

    stem: str
    """What they have before their number."""
    training: list[str]
    validation: list[str]


def running(training: Sequence[str], validation: Sequence[str]) -> list[Running]:
    """Which runs of numbered names are on both sides; none where that says nothing.

    It says nothing where names are but numbers, all begin alike, or begin with words: those are
    kinds of pictures as a rule, where patients, videos and batches have numbers. Nor do numbers
    that lie far apart, as of pictures that were drawn from a large collection.
    """
    sides: list[dict[str, list[str]]] = [{}, {}]
    numbers: dict[str, list[int]] = {}
    for side, names in zip(sides, (training, validation), strict=True):
        for name in names:
            if match := re.match(RUNNING_NUMBERS, name):
                side.setdefault(match[1], []).append(name)
                numbers.setdefault(match[1], []).append(int(re.split(r"\D", name)[-1]))
    several = {
        stem
        for stem, own in numbers.items()
        if len(own) > 1
        and re.search(r"\d", stem)
        and max(own) - min(own) < _FARTHEST_APART * len(own)
    }
    numbered = sum(len(numbers[stem]) for stem in several)
    if len(several) < 2 or 2 * numbered < len(training) + len(validation):
        return []
    both = sorted(several & sides[0].keys() & sides[1].keys())
    return [Running(stem, sides[0][stem], sides[1][stem]) for stem in both]
