"""Telling classes from soft edges among the grey levels of masks."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

__all__ = ["classes_of", "flat_counts", "may_be_flat", "tally"]

_LOW, _HIGH = 24, 231  # between them a level is neither nearly black nor nearly white
_WHITE = 250  # from here on a level is white
_SOFT = 8  # so many levels between are soft edges, unless they are flat
_AREA = 0.001  # areas of one level have such a share of all pixels at least
_FEW = 2  # so few levels beside black and white are too few for soft edges


def tally(values: np.ndarray) -> dict[int, int]:
    """How many pixels have each value."""
    if values.size and values.max() <= 65535:
        counts = np.bincount(values.ravel())
        return {int(value): int(counts[value]) for value in np.flatnonzero(counts)}
    found, numbers = np.unique(values, return_counts=True)
    return dict(zip(found.tolist(), numbers.tolist(), strict=True))


def flat_counts(values: np.ndarray) -> dict[int, int]:
    """For each value, how many of its pixels have 8 neighbours of the same value."""
    if min(values.shape) < 3:
        return {}
    rows = (values[1:] == values[:-1])[:, 1:-1]
    columns = values[:, 1:] == values[:, :-1]
    across = columns[:, 1:] & columns[:, :-1]  # a pixel and both beside it
    same = across[:-2] & across[1:-1] & across[2:] & rows[:-1] & rows[1:]
    return tally(values[1:-1, 1:-1][same])


def may_be_flat(counts: Mapping[int, int]) -> bool:
    """Whether any level between black and white is frequent enough to look for areas of it."""
    least = _AREA * sum(counts.values())
    return any(0 < level < _WHITE and n >= least for level, n in counts.items())


def classes_of(counts: Mapping[int, int], flat: Mapping[int, int], *, lossy: bool) -> list[int]:
    """Levels that are classes, ids or a third value rather than a soft edge between 0 and 255.

    Soft edges and the noise of lossy formats are thin, and of many levels. A level is a class if
    much of it lies in areas of it alone, if it is one of very few beside black and white, if it is
    nearly black and nothing else is soft (class numbers beside 255), or if nothing comes near
    white.

    Args:
        counts: Pixels of each level, 0..255, of a mask or a set of masks.
        flat: Those of them inside areas of the same level, see `flat_counts`.
        lossy: Whether levels near 0 and 255 may be noise.
    """
    between = [level for level, n in counts.items() if 0 < level < _WHITE and n]
    largest = max((level for level, n in counts.items() if n), default=0)
    if largest <= 1:
        return []
    if largest < 128:
        return between
    shown = sum(n for level, n in counts.items() if level)
    total = sum(counts.values())
    middle = [level for level in between if _LOW < level < _HIGH]
    soft = lossy or len(middle) >= _SOFT
    found = []
    for level in between:
        n = counts[level]
        at_end = level <= _LOW or level >= _HIGH
        if at_end and soft:
            continue
        is_flat = flat.get(level, 0) > 0.3 * n and n >= _AREA * total
        is_lone = len(between) <= _FEW and (level <= _LOW or n > 0.1 * shown)
        is_number = level <= _LOW and not middle
        near_top = level >= _HIGH and largest < _WHITE  # all of the object is, say, 240
        if (is_flat or is_lone or is_number) and not near_top:
            found.append(level)
    return found
