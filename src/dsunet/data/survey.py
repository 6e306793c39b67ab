"""What the values of all masks of a set are, looked at together before any of them is used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from dsunet.config import ClassReading, MaskReading
from dsunet.config.masks import MaskValue, value_name
from dsunet.data.images import Decoded, decode
from dsunet.data.levels import classes_of, flat_counts, may_be_flat, tally
from dsunet.data.masks import MaskLabels, Stored, labels_of, listed, offered
from dsunet.data.sources import Source
from dsunet.errors import DataError, ImageError

__all__ = ["MaskSeen", "Survey", "look_at_mask", "survey"]

_MANY = 4096  # of so many values, of colours most of all, the most frequent are kept
_NEAR = 48  # how far the one colour of two masks may be apart
_MOSTLY = 0.5  # a larger share of object is most of a picture
_NEARLY_ALL = 0.9  # such a share of the masks is nearly all of them
_ENOUGH = 3  # so many masks make a set


@dataclass(frozen=True)
class MaskSeen:
    """What was seen of one mask."""

    name: str
    kind: str
    """`grey`, `palette` or `colour`."""
    counts: dict[MaskValue, int]
    flat: dict[int, int]
    """Of grey levels, how many pixels lie inside areas of the same level."""
    share: float | None
    """Share of object among the pixels that count; `None` if that is unclear or none counts."""
    group: str
    """How object was told, see `MaskLabels`."""
    met: frozenset[MaskValue]
    """Those of the told values that it holds."""
    lossy: bool
    deep: bool
    """Whether its white is 65535."""
    trouble: str = ""
    """Why it cannot be read as told or by itself."""
    overlaps: bool = False
    """Whether classes that exclude each other lay over each other."""


@dataclass
class Survey:
    """The values of the masks of a set, and how they are read."""

    reading: MaskReading = field(default_factory=MaskReading)
    """How the masks are read: as told; where nothing is told, every mask says it by itself, and all
    say the same."""
    masks: int = 0
    """How many were looked at; those that cannot be decoded are not among them."""
    kinds: Counter[str] = field(default_factory=Counter)
    counts: Counter[MaskValue] = field(default_factory=Counter)
    """Pixels of each value; indices of palettes are numbers."""
    shares: list[float] = field(default_factory=list)
    """Share of object of each mask that is clear."""
    groups: dict[str, list[str]] = field(default_factory=dict)
    """The masks by how object was told."""
    troubles: list[tuple[str, str]] = field(default_factory=list)
    """Masks that say nothing clear, and why."""
    met: set[MaskValue] = field(default_factory=set)
    of_classes: Counter[str] = field(default_factory=Counter)
    """By a `ClassReading`, how many masks hold each class."""
    overlapping: list[str] = field(default_factory=list)
    """Masks with classes over each other that exclude each other."""
    _greys: Counter[int] = field(default_factory=Counter, repr=False)
    _flat: Counter[int] = field(default_factory=Counter, repr=False)
    _lossy: bool = field(default=False, repr=False)

    def add(self, seen: MaskSeen) -> None:
        """Takes one more mask in."""
        self.masks += 1
        self.kinds[seen.kind] += 1
        self.counts.update(seen.counts)
        if len(self.counts) > 4 * _MANY:
            self.counts = Counter(dict(self.counts.most_common(_MANY)))
        self.met |= seen.met
        if isinstance(self.reading, ClassReading):
            told = zip(self.reading.objects, self.reading.names, strict=True)
            self.of_classes.update(name for value, name in told if value in seen.met)
            self.overlapping += [seen.name] * seen.overlaps
        if seen.share is not None:
            self.shares.append(seen.share)
        if seen.trouble:
            self.troubles.append((seen.name, seen.trouble))
            return
        self.groups.setdefault(seen.group, []).append(seen.name)
        if seen.group == "255" and not seen.deep:
            skipped = self.reading.ignored
            greys = {v: n for v, n in seen.counts.items() if isinstance(v, int) and v != skipped}
            self._greys.update(greys)
            self._flat.update({v: n for v, n in seen.flat.items() if v != skipped})
            self._lossy |= seen.lossy

    def unclear(self) -> str:
        """Why the masks cannot be read, in one line; empty if they can."""
        if isinstance(self.reading, ClassReading):
            return self._no_classes(self.reading)
        told = [*self.reading.objects]
        if self.reading.ignored is not None:
            told.append(self.reading.ignored)
        absent = [value_name(value) for value in told if value not in self.met]
        if self.masks and absent:
            return (
                f"no mask holds {' or '.join(absent)}, which `object_values` or `ignore_value` "
                f"tells; the {self.masks} masks hold {listed(self.counts)}: give values of these"
            )
        if self.troubles:
            name, trouble = self.troubles[0]
            return (
                f"the values of {len(self.troubles)} of {self.masks} masks are unclear ({name}: "
                f"{trouble}); all masks together hold {listed(self.counts)}"
            )
        ways = {way: names for way, names in self.groups.items() if way != "nothing"}
        if not _alike(list(ways)):
            examples = "; ".join(
                f"{way} in {len(names)}, such as {names[0]}"
                for way, names in list(ways.items())[:6]
            )
            return (
                f"masks of one set say in different ways what is object ({examples}); all together "
                f"hold {listed(self.counts)}: {offered()}"
            )
        if classes := classes_of(self._greys, self._flat, lossy=self._lossy):
            found = ", ".join(map(str, classes[:8]))
            return (
                f"the {self.masks} masks hold {listed(self.counts)}, and {found} is no soft edge "
                f"between 0 and 255: {offered()}"
            )
        return ""

    def _no_classes(self, reading: ClassReading) -> str:
        """Why masks of classes cannot be read."""
        if self.troubles:
            name, trouble = self.troubles[0]
            return f"{len(self.troubles)} of {self.masks} masks are unclear ({name}: {trouble})"
        if not self.masks or self.of_classes:
            return ""
        return (
            f"no mask holds a class ({reading.listed()}); the {self.masks} masks hold "
            f"{listed(self.counts)}: tell by `class_table` which value or colour is which class"
        )

    @property
    def absent_classes(self) -> list[str]:
        """Classes that no mask holds."""
        names = self.reading.names if isinstance(self.reading, ClassReading) else ()
        return [name for name in names if not self.of_classes[name]] if self.masks else []

    def raise_if_unclear(self) -> None:
        """Raises `DataError` if the masks cannot be read, with what to do, see `unclear`."""
        if why := self.unclear():
            raise DataError(why)

    @property
    def mostly_object(self) -> bool:
        """Whether most of nearly every picture is object, as it is when black is object."""
        most = sum(share > _MOSTLY for share in self.shares)
        return len(self.shares) >= _ENOUGH and most > _NEARLY_ALL * len(self.shares)

    def lines(self) -> list[str]:
        """For people: the values, how they are read, and the share of object."""
        if not self.masks:
            return ["the values of the masks were not looked at"]
        kinds = ", ".join(f"{n} {kind}" for kind, n in self.kinds.most_common())
        lines = [
            f"mask values ({kinds}): {listed(self.counts)}",
            f"object: {self._way()}",
        ]
        if self.shares:
            low, middle, high = np.quantile(self.shares, (0.25, 0.5, 0.75))
            lines.append(
                f"share of object: median {100 * middle:.1f} %, quartiles {100 * low:.1f} and "
                f"{100 * high:.1f} %"
            )
        return lines

    def _way(self) -> str:
        if self.unclear():
            return "unclear"
        if isinstance(self.reading, ClassReading):
            return self._classes_told(self.reading)
        if self.reading.object_values is not None:
            way = f"{self.reading.object_values}, as told"
        else:
            ways = [way for way in self.groups if way != "nothing"]
            way = ways[0] if ways else "none in any mask"
        if self.reading.ignore_value is not None:
            way += f"; {self.reading.ignore_value} is ignored"
        return way + ("; object and background exchanged" if self.reading.invert else "")

    def _classes_told(self, reading: ClassReading) -> str:
        told = "files of their own" if reading.folders else reading.listed()
        each = ", ".join(f"{name} in {self.of_classes[name]}" for name in reading.names)
        ignored = reading.skipped
        skipped = "" if ignored is None else f"; {value_name(ignored)} is ignored"
        return f"classes, by {told}: {each} of the {self.masks} masks{skipped}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "masks": self.masks,
            "kinds": dict(self.kinds),
            "values": {value_name(value): n for value, n in self.counts.most_common(64)},
            "object": self._way(),
            "share_of_object": {
                name: float(value)
                for name, value in zip(
                    ("lower_quartile", "median", "upper_quartile"),
                    np.quantile(self.shares, (0.25, 0.5, 0.75)),
                    strict=True,
                )
            }
            if self.shares
            else None,
        }


def survey(
    masks: Iterable[Source],
    reading: MaskReading | None = None,
    progress: Callable[[int, int], None] | None = None,
    workers: int = 1,
) -> Survey:
    """Looks at the values of all masks of a set.

    Masks that cannot be decoded are left out; who reads them tells.

    Args:
        masks: The files, of training and validation together.
        reading: What is told of them.
        progress: Called with the number of masks done and the number of all.
        workers: Threads that read.
    """
    sources = list(masks)
    result = Survey(reading or MaskReading())
    pool = ThreadPoolExecutor(max(1, workers))
    try:
        for done, seen in enumerate(pool.map(partial(_look, result.reading), sources), 1):
            if seen is not None:
                result.add(seen)
            if progress:
                progress(done, len(sources))
    finally:
        pool.shutdown(cancel_futures=True)
    return result


def _look(reading: MaskReading, source: Source) -> MaskSeen | None:
    try:
        return look_at_mask(decode(source), reading)[0]
    except ImageError:
        return None


def look_at_mask(mask: Decoded, reading: MaskReading) -> tuple[MaskSeen, MaskLabels | None]:
    """What one mask holds, and its labels as it is stored; none where they are unclear.

    Raises:
        ImageError: Its pixels cannot be used at all.
    """
    of_classes = isinstance(reading, ClassReading)
    stored = mask.as_stored(indices=of_classes)
    counts = stored.counts()
    if len(counts) > _MANY:
        counts = dict(Counter(counts).most_common(_MANY))
    share, group, met, trouble = None, "", frozenset[MaskValue](), ""
    labels: MaskLabels | None = None
    overlaps = False
    try:
        if isinstance(reading, ClassReading):
            found = mask.class_values(reading)
            labels, overlaps = found.union(), found.overlaps
        else:
            labels = labels_of(stored, reading)
    except ImageError as error:
        trouble = str(error).removeprefix(f"{mask.source}: ")
    else:
        is_object = labels.mask >= 128
        counted = is_object if labels.ignored is None else is_object[~labels.ignored]
        share = float(counted.mean()) if counted.size else None
        group, met = labels.group, labels.met
    seen = MaskSeen(
        str(mask.source),
        stored.kind,
        counts,
        _flat_greys(stored),
        share,
        group,
        met,
        stored.lossy,
        stored.largest > 255,
        trouble,
        overlaps,
    )
    return seen, labels


def _flat_greys(stored: Stored) -> dict[int, int]:
    if stored.kind != "grey" or stored.largest > 255 or not may_be_flat(tally(stored.values)):
        return {}
    return flat_counts(stored.values)


def _alike(ways: Sequence[str]) -> bool:
    """Whether masks tell in one way what is object; the colour may differ a little."""
    if not all(way.startswith("#") for way in ways):
        return len(ways) <= 1
    colours = np.array([[int(way[i : i + 2], 16) for i in (1, 3, 5)] for way in ways])
    return not len(ways) or bool((np.ptp(colours, axis=0) <= _NEAR).all())
