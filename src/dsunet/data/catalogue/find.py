"""Finding the public data sets below a folder, however they were unpacked."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dsunet.data.catalogue.sets import PUBLIC_SETS, Layout, PublicSet, task_named
from dsunet.data.folders import list_folder, stem_of
from dsunet.data.pairing import Pairing, pair_files, pair_up
from dsunet.data.pairs import Pair
from dsunet.data.sources import Source, name_of
from dsunet.errors import DataError, perhaps

__all__ = ["FoundSet", "find_benchmarks", "find_sets", "joined_pairs", "training_sets"]

# How far below the root a layout's first folder may lie.
_DEPTH = 3
_JPEG = (".jpg", ".jpeg")


@dataclass(frozen=True)
class FoundSet:
    """A public set on disk."""

    published: PublicSet
    layout: str
    """How it is laid out, as `images + masks`, or the archive's name."""
    images: Path
    """Folder of images, or the archive that holds all."""
    masks: Path
    pairing: Pairing
    """Its files; those of other sets in the same folders are left out."""
    others: tuple[Path, ...] = ()
    """Where else it was found, as folders of images."""
    broken: str = ""
    """Why an archive of the set's name cannot be used, if nothing else was found."""

    @property
    def name(self) -> str:
        """The set's published name."""
        return self.published.name

    @property
    def benchmark(self) -> PublicSet:
        """What `published` was called before."""
        return self.published

    @property
    def pairs(self) -> list[Pair]:
        """Images with their masks, by name."""
        return self.pairing.pairs

    @property
    def complete(self) -> bool:
        """Whether it is the whole set: the published number of pairs, and no file left over."""
        return len(self.pairs) == self.published.count and not self.pairing.trouble()


def find_sets(
    root: str | Path, names: Iterable[str] | None = None, task: str | None = None
) -> dict[str, FoundSet]:
    """Looks for public sets in `root` and up to three folders below it.

    Beside the layouts in which a set is known to be distributed, `NAME/images` with `NAME/masks`
    and an uncompressed `NAME.tar` of both are understood. Where a set is found several times, the
    place with the number of pairs next to the published one is taken, then the first.

    Args:
        root: Where to look; it may be a set's own folder, too.
        names: Which sets, by their published names; all if not given.
        task: A task's name; its sets only.

    Returns:
        What was found, by name, in the order of `PUBLIC_SETS`.

    Raises:
        DataError: The root is no folder, or a name or the task is unknown.
    """
    root = Path(root)
    if not root.is_dir():
        raise DataError(f"there is no folder {root}; give the folder that the data sets lie in")
    unknown = sorted(set(names or ()) - PUBLIC_SETS.keys())
    if unknown:
        raise DataError(
            f"data set {unknown[0]!r} is unknown; known: {', '.join(PUBLIC_SETS)}"
            + perhaps(unknown[0], PUBLIC_SETS)
        )
    wanted = set(PUBLIC_SETS if names is None else names)
    if task is not None:
        wanted &= set(task_named(task).names)
    tree = _Tree(root)
    return {
        name: best
        for name, published in PUBLIC_SETS.items()
        if name in wanted and (best := _best(published, tree)) is not None
    }


find_benchmarks = find_sets
"""What `find_sets` was called before."""


def training_sets(root: str | Path, task: str) -> list[FoundSet]:
    """The training sets of a task.

    Raises:
        DataError: One is not there, or holds no pair.
    """
    names = task_named(task).train
    found = find_sets(root, names)
    for name in names:
        if name in found and found[name].broken:
            raise DataError(found[name].broken)
        if name not in found:
            raise DataError(f"{root} has no {name}, which {task} is trained on; {_sought(name)}")
        if not found[name].pairs:
            each = found[name]
            raise DataError(
                f"no image of {name} in {each.images} has a mask in {each.masks}; partners share "
                f"a stem ({each.pairing.trouble()})"
            )
    return [found[name] for name in names]


def joined_pairs(sets: Sequence[FoundSet]) -> list[list[Pair]]:
    """Each set's pairs; a stem that several sets have is called `SET/stem` in all of them."""
    owners: dict[str, int] = {}
    for each in sets:
        for pair in each.pairs:
            owners[pair.name] = owners.get(pair.name, 0) + 1
    return [
        [
            pair
            if owners[pair.name] == 1
            else Pair(f"{each.name}/{pair.name}", pair.image, pair.mask)
            for pair in each.pairs
        ]
        for each in sets
    ]


def _sought(name: str) -> str:
    by_source = {each.source: str(each) for each in reversed(PUBLIC_SETS[name].layouts)}
    del by_source["common"]
    shown = "; ".join(
        [*reversed(by_source.values()), f"{name}/images + {name}/masks", f"{name}.tar of both"]
    )
    return f"looked for {shown} and other layouts, up to {_DEPTH} folders deep"


class _Tree:
    """Folders below a root, by names in which case and punctuation do not count."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._folders: dict[Path, dict[str, list[Path]]] = {}
        self._archives: dict[Path, dict[str, Path]] = {}
        self.bases = list(self._walk())

    def _walk(self) -> Iterator[Path]:
        """The root and folders below it, upper ones first; each real folder once."""
        seen: set[str] = set()
        level = [self.root]
        for _ in range(_DEPTH + 1):
            following: list[Path] = []
            for folder in level:
                real = os.path.realpath(folder)
                if real in seen:
                    continue
                seen.add(real)
                yield folder
                following += [path for paths in self.folders(folder).values() for path in paths]
            level = following

    def folders(self, folder: Path) -> dict[str, list[Path]]:
        """The folders inside one."""
        if folder not in self._folders:
            self._read(folder)
        return self._folders[folder]

    def archive(self, folder: Path, name: str) -> Path | None:
        """The archive of this name in a folder."""
        if folder not in self._archives:
            self._read(folder)
        return self._archives[folder].get(_plainly(f"{name}.tar"))

    def _read(self, folder: Path) -> None:
        folders: dict[str, list[Path]] = {}
        archives: dict[str, Path] = {}
        try:
            with os.scandir(folder) as entries:
                for entry in sorted(entries, key=lambda each: each.name):
                    if entry.name.startswith("."):
                        continue
                    if entry.name.lower().endswith(".tar") and entry.is_file():
                        archives.setdefault(_plainly(entry.name), folder / entry.name)
                    elif entry.is_dir():
                        folders.setdefault(_plainly(entry.name), []).append(folder / entry.name)
        except OSError:  # not ours to read: nothing is found in it
            pass
        self._folders[folder], self._archives[folder] = folders, archives

    def at(self, base: Path, path: str) -> list[Path]:
        """The folders that a layout's path means below a base."""
        places = [base]
        for part in path.split("/"):
            key = _plainly(part)
            places = [inner for place in places for inner in self.folders(place).get(key, ())]
        return places

    def places(self, layout: Layout) -> Iterator[tuple[Path, Path]]:
        """Where both of a layout's folders are."""
        for base in self.bases:
            yield from self._both(base, layout.images, layout.masks)
        # the root may be a set's own folder
        first, _, images = layout.images.partition("/")
        again, _, masks = layout.masks.partition("/")
        own = _plainly(self.root.resolve().name)
        if images and masks and _plainly(first) == _plainly(again) == own:
            yield from self._both(self.root, images, masks)

    def _both(self, base: Path, images: str, masks: str) -> Iterator[tuple[Path, Path]]:
        for image_folder in self.at(base, images):
            for mask_folder in self.at(base, masks):
                if images != masks or image_folder == mask_folder:
                    yield image_folder, mask_folder


def _plainly(name: str) -> str:
    return re.sub(r"[-_. ]", "", name.casefold())


def _best(published: PublicSet, tree: _Tree) -> FoundSet | None:
    broken = None
    candidates: dict[tuple[str, str], FoundSet] = {}
    for layout in published.layouts:
        for images, masks in tree.places(layout):
            key = (os.path.realpath(images), os.path.realpath(masks))
            if key not in candidates and (
                pairing := _pair(images, masks, layout, published.without)
            ):
                candidates[key] = FoundSet(published, str(layout), images, masks, pairing)
    for base in tree.bases:
        archive = tree.archive(base, published.name)
        if archive is not None:
            key = (os.path.realpath(archive),) * 2
            try:
                pairing = _of_set(pair_up(archive), published)
            except DataError as error:
                broken = FoundSet(
                    published, archive.name, archive, archive, Pairing(), broken=str(error)
                )
            else:
                candidates[key] = FoundSet(published, archive.name, archive, archive, pairing)
    if not candidates:
        return broken
    best = min(candidates.values(), key=lambda each: abs(len(each.pairs) - published.count))
    others = tuple(each.images for each in candidates.values() if each is not best)
    return FoundSet(published, best.layout, best.images, best.masks, best.pairing, others)


def _of_set(pairing: Pairing, published: PublicSet) -> Pairing:
    """Those files of an archive that belong to the set, by the names that it has in folders."""
    patterns = {layout.pattern for layout in published.layouts}

    def belongs(source: Source) -> bool:
        known = "*" in patterns or any(_belongs(source, pattern) for pattern in patterns)
        return known and stem_of(source) not in published.without

    return replace(
        pairing,
        pairs=[pair for pair in pairing.pairs if belongs(pair.image)],
        lone_images=[source for source in pairing.lone_images if belongs(source)],
        lone_masks=[source for source in pairing.lone_masks if belongs(source)],
        duplicates=[group for group in pairing.duplicates if belongs(group[0])],
    )


def _pair(images: Path, masks: Path, layout: Layout, without: Sequence[str]) -> Pairing | None:
    """The set's files in two folders; nothing if one holds none of them."""
    image_files, beside_images = list_folder(images)
    mask_files, beside_masks = list_folder(masks)
    if images == masks:
        image_files = [file for file in image_files if file.suffix.lower() in _JPEG]
        mask_files = [file for file in mask_files if file.suffix.lower() == ".png"]
        beside_masks = []
    image_files = [
        file
        for file in image_files
        if _belongs(file, layout.pattern) and stem_of(file) not in without
    ]
    mask_files = [file for file in mask_files if _belongs(file, layout.pattern)]
    if not image_files or not mask_files:
        return None
    if layout.shared_masks:
        stems = {stem_of(file) for file in image_files}
        mask_files = [file for file in mask_files if stem_of(file) in stems]
    return pair_files(image_files, mask_files, [*beside_images, *beside_masks])


def _belongs(source: Source, pattern: str) -> bool:
    return fnmatch.fnmatchcase(name_of(source).casefold(), f"{pattern.casefold()}.*")
