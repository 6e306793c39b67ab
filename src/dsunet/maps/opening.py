"""Opening a store of maps: its folder, the images in it, and whether the disk has room for them."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dsunet.data.dataset import Slot
from dsunet.errors import OutputError
from dsunet.maps.store import FeatureKind, FeatureStore, StoredImages
from dsunet.weights.known import cache_folder

__all__ = [
    "Budget",
    "Group",
    "Opened",
    "Seen",
    "Use",
    "cache_root",
    "find_stores",
    "gigabytes",
    "open_images",
]

# An image's key and `Stamp.of_content`; `None` for both if it cannot be read.
Seen = tuple[bytes | None, tuple[int, int] | None]


def cache_root(where: str) -> Path:
    """The folder of all stores: what `auto` stands for, or the folder itself."""
    return cache_folder() / "features" if where == "auto" else Path(where)


def find_stores(where: str) -> tuple[list[FeatureStore], list[str]]:
    """The stores in a folder, by name, or the one that it is; and why others cannot be read."""
    root = cache_root(where)
    own = root / "about.json"
    stores, reasons = [], []
    for about in [own] if own.exists() else sorted(root.glob("*/about.json")):
        try:
            stores.append(FeatureStore(about.parent))
        except OutputError as error:
            reasons.append(str(error))
    return stores, reasons


@dataclass(frozen=True)
class Use:
    """What maps are kept for, in the words of messages."""

    maps: str
    """What is kept: `the teacher's maps`."""
    need: str
    """The same with a verb: `the teacher's maps need`."""
    folder: str
    """What the folder is: `the teacher's cache`."""
    elsewhere: str
    """How to have it elsewhere."""
    less: str
    """How to keep less."""
    room: str
    """How to get by on a full disk."""


class Budget:
    """How much of the disk the maps of a training may take, all of its stores together.

    Args:
        limit: In GB of 10⁹ bytes.
    """

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self.taken = 0

    def take(self, size: int, use: Use, what: str) -> None:
        """Sets so many bytes aside.

        Args:
            size: What all maps of a store take.
            use: Their use.
            what: Whose maps they are, for the message.

        Raises:
            OutputError: That is more than there is left.
        """
        if self.taken + size > self.limit * 1e9:
            beside = f", beside {gigabytes(self.taken)} of other maps," if self.taken else ","
            raise OutputError(
                f"{use.maps} of {what} would take {gigabytes(size)}{beside} more than the "
                f"{self.limit:g} GB that `cache_budget` allows; raise it, or {use.less}"
            )
        self.taken += size


@dataclass(frozen=True)
class Group:
    """Images that the same flips can come up of."""

    count: int
    images: Iterable[Seen]
    """Gone through once the store is open: that reads every image."""
    flips: Sequence[int] = (0,)


@dataclass(frozen=True)
class Opened:
    """A store with room for some images."""

    store: FeatureStore
    groups: list[StoredImages]
    needed: list[Slot]
    """Every image and flip that can come up."""
    there: int
    """How many of these are in the store."""


def open_images(
    use: Use,
    root: Path,
    name: str,
    kind: FeatureKind,
    groups: Sequence[Group],
    budget: Budget,
    what: str,
) -> Opened:
    """Opens the store of some images' maps, and makes room for every image.

    Args:
        use: What the maps are for.
        root: The folder of all stores; each has a subfolder of its own.
        name: What the subfolder is called, beside the kind's name.
        kind: What the maps are.
        groups: The images.
        budget: The most that the maps may take of the disk.
        what: Whose maps they are, for messages.

    Raises:
        OutputError: The maps would take more than the budget or than the disk has, or the folder
            cannot be used.
    """
    budget.take(sum(g.count * len(g.flips) for g in groups) * kind.record_bytes, use, what)
    store = FeatureStore.open(root / f"{_file_name(name)}-{kind.name}", kind)
    seen = [list(group.images) for group in groups]
    try:
        number_of = store.add(key for images in seen for key, _ in images if key is not None)
    except OSError as error:
        raise OutputError(
            f"{use.folder} {store.folder} cannot be written to ({error.strerror or error}); "
            f"{use.elsewhere}"
        ) from error
    stored = [
        StoredImages(
            store,
            [-1 if key is None else number_of[key] for key, _ in images],
            [stamp for _, stamp in images],
        )
        for images in seen
    ]
    places = [
        (number, flip)
        for group, images in zip(groups, stored, strict=True)
        for number in images.numbers
        for flip in group.flips
        if number >= 0
    ]
    needed = list(dict.fromkeys(places))
    there = sum(map(store.has, needed))
    _check_disk(use, store, (len(needed) - there) * kind.record_bytes)
    return Opened(store, stored, needed, there)


def _check_disk(use: Use, store: FeatureStore, lacking: int) -> None:
    free = shutil.disk_usage(store.folder).free
    if lacking > free:
        raise OutputError(
            f"{use.need} {gigabytes(lacking)} more, but the disk of {store.folder} has "
            f"{gigabytes(free)} left; {use.room}"
        )


def _file_name(name: str) -> str:
    """A name with letters, digits and a few signs alone."""
    return re.sub(r"[^A-Za-z0-9._+-]+", "-", name).strip("-.")[:60] or "data"


def gigabytes(size: float) -> str:
    """A number of bytes in GB or MB (10⁹ or 10⁶ bytes)."""
    return f"{size / 1e9:.2f} GB" if size >= 1e7 else f"{size / 1e6:.2f} MB"
