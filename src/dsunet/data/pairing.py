"""Which mask belongs to which image, in folders and tar archives."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import Literal, TypeVar

from dsunet.data.folders import (
    Listing,
    Place,
    list_archive,
    list_below,
    list_folder,
    parts_of,
    stem_of,
)
from dsunet.data.pairs import Pair, by_stem, group_files
from dsunet.data.patterns import Name, Pattern, find_pattern, find_pattern_inside
from dsunet.data.places import misplaced, no_pairs
from dsunet.data.sources import (
    IMAGE_SUFFIXES,
    ClassMasks,
    EmptyMask,
    Source,
    name_of,
    same_content,
)
from dsunet.errors import DataError, few

__all__ = ["Pairing", "find_pairs", "holds_both", "masks_of", "pair_files", "pair_up"]

_S = TypeVar("_S", bound=Source)

# Photographs and masks of one stem in one folder are told by these endings.
_PHOTOGRAPHS = frozenset((".jpg", ".jpeg", ".jfif"))
_DRAWINGS = frozenset((".png", ".bmp", ".gif", ".tif", ".tiff"))


@dataclass(frozen=True)
class Pairing:
    """What pairing two places came to."""

    pairs: list[Pair] = field(default_factory=list)
    """Images with their masks, by name."""
    lone_images: list[Source] = field(default_factory=list)
    lone_masks: list[Source] = field(default_factory=list)
    duplicates: list[list[Source]] = field(default_factory=list)
    """Images, or masks, that share a stem."""
    unsafe_names: list[Source] = field(default_factory=list)
    """Names with line breaks, which no list of names could hold."""
    unused: list[Path] = field(default_factory=list)
    """Other files and folders beside the images and masks."""
    own_masks: list[Pair] = field(default_factory=list)
    """Images whose mask is the same file, or the same content; no pairs."""
    empty: list[Source] = field(default_factory=list)
    """Images without a mask that are pairs with an empty one."""
    said: list[str] = field(default_factory=list)
    """What was found out about the places, a line each."""

    def trouble(self) -> str:
        """What is wrong, with the first few names; empty if nothing is."""
        parts = [
            f"{len(lone)} {kind} ({_first(repr(name_of(source)) for source in lone)})"
            for kind, lone in (
                ("images without a mask", self.lone_images),
                ("masks without an image", self.lone_masks),
                ("names with line breaks", self.unsafe_names),
                ("images that are their own mask", [pair.image for pair in self.own_masks]),
            )
            if lone
        ]
        if self.duplicates:
            twice = (" and ".join(map(str, group)) for group in self.duplicates)
            parts.append(f"{len(self.duplicates)} stems that occur twice ({_first(twice, 5)})")
        return ", ".join(parts)


def find_pairs(
    data: str | Path | None = None,
    *,
    images: str | Path | None = None,
    masks: str | Path | None = None,
    mask_suffix: str | None = None,
    missing_masks: Literal["error", "empty"] = "error",
) -> list[Pair]:
    """All pairs of a data set, by name; of a set that folders divide, those to train on.

    Args:
        data: A folder, or an uncompressed `.tar` file, that holds `images/` and `masks/`; or a
            folder that holds both kinds side by side, with names that tell them.
        images: Folder of images, instead of `data`.
        masks: Folder of masks, instead of `data`.
        mask_suffix: What masks' stems have behind their images'; found out if it is not given.
        missing_masks: Whether an image without a mask is an error, or has an empty one.

    Raises:
        DataError: A folder is missing or empty, a stem occurs twice, a file has no partner, or an
            image would be its own mask.
    """
    found = pair_up(
        data, images=images, masks=masks, mask_suffix=mask_suffix, missing_masks=missing_masks
    )
    if trouble := found.trouble():
        empty = ", or give `missing_masks` empty if those images show no object"
        raise DataError(
            f"there are {trouble}; partners share a stem: rename or move these files"
            + (empty if found.lone_images else "")
        )
    return found.pairs


def pair_up(
    data: str | Path | None = None,
    *,
    images: str | Path | None = None,
    masks: str | Path | None = None,
    mask_suffix: str | None = None,
    missing_masks: Literal["error", "empty"] = "error",
    part: Literal["train", "val"] = "train",
    classes: Sequence[str] = (),
) -> Pairing:
    """As `find_pairs`, but tells of orphans and duplicates instead of raising.

    Args:
        data: As of `find_pairs`, and so are those that follow.
        images: Folder of images.
        masks: Folder of masks.
        mask_suffix: What masks' stems have behind their images'.
        missing_masks: What of an image without a mask.
        part: Which part is meant of a set that folders divide; see `parts_of`.
        classes: If the folder of masks has folders of these names, each holds the masks of its
            class, and a pair's mask is made of them (`ClassMasks`).

    Raises:
        DataError: A folder is missing or empty, an archive is unsafe or none, no name tells masks
            from images in one folder, or several patterns could tell them.
    """
    if parts := parts_of(data, images, masks):
        try:
            if part not in parts:
                known = ", ".join(parts)
                raise DataError(
                    f"{data or images} is divided into {known}, but needs a folder {part}"
                )
            chosen = parts[part]
            return pair_up(
                chosen.data,
                images=chosen.images,
                masks=chosen.masks,
                mask_suffix=mask_suffix,
                missing_masks=missing_masks,
                classes=classes,
            )
        except DataError as error:
            if data is not None and (reason := misplaced(Path(data), f"{data} holds")):
                raise reason from error  # most likely
            raise
    _check_suffix(mask_suffix)
    place, fill = _place(data, images, masks), missing_masks == "empty"
    if place.images is not None and place.masks is not None and _has_one(place.masks, classes):
        return _of_classes(place.images, place.masks, mask_suffix, fill, classes)
    return _without_own_masks(_paired(place, mask_suffix, fill))


def _has_one(folder: Path, classes: Sequence[str]) -> bool:
    """Whether there is a folder for one of the classes."""
    return any((folder / name).is_dir() for name in classes)


def _of_classes(
    images: Path, masks: Path, mask_suffix: str | None, fill: bool, classes: Sequence[str]
) -> Pairing:
    """Of masks that lie in a folder for each class; a picture without a class has no file there."""
    lacking = [name for name in classes if not (masks / name).is_dir()]
    if lacking:
        raise DataError(
            f"{masks} has folders of classes, but none for {few(lacking)}; add "
            "folders, or name the classes that are there (`classes`)"
        )
    pictures = list_below(images, without=masks)
    each = {
        name: _without_own_masks(
            _of_two(pictures, list_below(masks / name), mask_suffix, False, str(masks / name))
        )
        for name in classes
    }
    parts: dict[str, list[Source | None]] = {}
    sources: dict[str, Source] = {}
    for number, found in enumerate(each.values()):
        for pair in found.pairs:
            sources[pair.name] = pair.image
            parts.setdefault(pair.name, [None] * len(classes))[number] = pair.mask
    with_mask = set(sources.values())
    lone = {
        source: stem if folder in ("", ".") else f"{folder}/{stem}"
        for (folder, stem), source in pictures.files
        if source not in with_mask
    }
    pairs = [
        Pair(name, sources[name], ClassMasks(tuple(files)))  # type: ignore[arg-type]
        for name, files in sorted(parts.items())
    ]
    if fill and pairs:
        pairs += [Pair(name, source, EmptyMask(source)) for source, name in lone.items()]
        pairs.sort(key=lambda pair: pair.name)
    first = next(iter(each.values()))
    counts = ", ".join(f"{name} {len(found.pairs)}" for name, found in each.items())
    names = {masks / name for name in classes}
    return Pairing(
        pairs,
        [] if fill and pairs else [*lone],
        [mask for found in each.values() for mask in found.lone_masks],
        [*dict.fromkeys(tuple(group) for found in each.values() for group in found.duplicates)],  # type: ignore[list-item]
        first.unsafe_names,
        [*pictures.others, *(p for p in sorted(masks.iterdir()) if p not in names)],
        [pair for found in each.values() for pair in found.own_masks],
        [*lone] if fill and pairs else [],
        [f"masks lie in a folder for each class ({counts})"],
    )


def _place(data: str | Path | None, images: str | Path | None, masks: str | Path | None) -> Place:
    if data is not None:
        root = Path(data)
        is_archive = root.suffix.lower() == ".tar" and not root.is_dir()
        if is_archive or _is_side_by_side(root):
            return Place(data=root)
        if not all((root / name).is_dir() for name in ("images", "masks")):
            raise no_pairs(root)
        return Place(images=root / "images", masks=root / "masks")
    if images is None or masks is None:
        raise DataError("give data, or both images and masks")
    if os.path.realpath(images) == os.path.realpath(masks):
        return Place(data=Path(images))
    return Place(images=Path(images), masks=Path(masks))


def _is_side_by_side(root: Path) -> bool:
    """Whether a folder has neither `images/` nor `masks/`, but images of its own."""
    if not root.is_dir() or any((root / name).is_dir() for name in ("images", "masks")):
        return False
    return bool(list_folder(root)[0])


def holds_both(data: str | Path) -> bool:
    """Whether a folder holds images and masks side by side, or is divided into parts with both."""
    return _is_side_by_side(Path(data)) or bool(parts_of(data, None, None))


def _check_suffix(mask_suffix: str | None) -> None:
    if mask_suffix is None:
        return
    ending = PurePath(f"a{mask_suffix}").suffix
    if ending.lower() in IMAGE_SUFFIXES:
        raise DataError(
            f"`mask_suffix` is {mask_suffix!r}, but is about names without their ending; leave "
            f"{ending} out"
        )


def _paired(place: Place, mask_suffix: str | None, fill: bool) -> Pairing:
    if place.images is not None and place.masks is not None:
        images = list_below(place.images, without=place.masks)
        masks = list_below(place.masks, without=place.images)
        return _of_two(images, masks, mask_suffix, fill, str(place.masks))
    assert place.data is not None
    if place.data.is_dir():
        return _of_one(place.data, mask_suffix, fill)
    return _of_two(*list_archive(place.data), mask_suffix, fill, str(place.data))


def _of_two(
    images: Listing, masks: Listing, mask_suffix: str | None, fill: bool, where: str
) -> Pairing:
    """Of images and masks that lie apart."""
    image_names, mask_names = ([name for name, _ in each.files] for each in (images, masks))
    unused = [*images.others, *masks.others]
    if mask_suffix is None:
        pattern = find_pattern(image_names, mask_names)
    else:
        pattern = Pattern(mask_suffix)
        odd = [source for (_, stem), source in masks.files if pattern.of_mask(stem) is None]
        if len(odd) == len(masks.files):
            raise DataError(
                f"no mask in {where} ends in {mask_suffix}, which `mask_suffix` says "
                f"({few([name_of(source) for source in odd], 3)})"
            )
        others = set(odd)
        masks = Listing([each for each in masks.files if each[1] not in others])
        unused += [source for source in odd if isinstance(source, Path)]
    return _matched(images.files, masks.files, unused, pattern, fill)


def _of_one(folder: Path, mask_suffix: str | None, fill: bool) -> Pairing:
    """Of images and masks in one folder."""
    listing = list_below(folder)
    names = [name for name, _ in listing.files]
    pattern = Pattern(mask_suffix) if mask_suffix is not None else find_pattern_inside(names)
    if pattern is None:
        if by_ending := _by_ending(listing):
            return by_ending
        if error := misplaced(folder, f"{folder} holds"):
            raise error
        raise DataError(
            f"{folder} holds {len(names)} images ({few([stem for _, stem in names], 3)}), and no "
            "name tells which are masks; name them like a.jpg and a_mask.png, give `mask_suffix`, "
            "or put masks into a folder of their own"
        )
    known = set(names)
    masks = [each for each in listing.files if _is_mask(pattern, each[0], known)]
    images = [each for each in listing.files if not _is_mask(pattern, each[0], known)]
    if not masks or not images:
        raise DataError(
            f"{folder} holds {'no masks' if not masks else 'masks alone'}: {len(masks)} of its "
            f"{len(names)} names end in {pattern.mask_suffix}, as masks' names should"
        )
    return _matched(images, masks, listing.others, pattern, fill)


def _is_mask(pattern: Pattern, name: Name, names: Collection[Name]) -> bool:
    """Whether a file in one folder with images is a mask."""
    folder, stem = name
    core = pattern.of_mask(stem)
    if core is None:
        return False
    if pattern.mask_suffix or pattern.mask_prefix:
        return True
    # images have the affix: what has none itself is a mask if there is such an image
    image = f"{pattern.image_prefix}{core}{pattern.image_suffix}"
    return (folder, image) in names


def _by_ending(listing: Listing) -> Pairing | None:
    """Of one folder where every stem is a photograph and a drawing: `a.jpg` and `a.png`."""
    kinds: tuple[list[tuple[Name, Source]], list[tuple[Name, Source]]] = ([], [])
    for name, source in listing.files:
        ending = PurePath(name_of(source)).suffix.lower()
        if ending not in _PHOTOGRAPHS | _DRAWINGS:
            return None
        kinds[ending in _DRAWINGS].append((name, source))
    photographs, drawings = kinds
    if not photographs or sorted(n for n, _ in photographs) != sorted(n for n, _ in drawings):
        return None
    endings = sorted({PurePath(name_of(source)).suffix for _, source in drawings})
    found = _matched(photographs, drawings, listing.others, None, fill=False)
    return replace(found, said=[f"masks are the files that end in {' or '.join(endings)}"])


def _matched(
    images: Sequence[tuple[Name, Source]],
    masks: Sequence[tuple[Name, Source]],
    unused: Sequence[Path],
    pattern: Pattern | None,
    fill: bool,
) -> Pairing:
    names: dict[Source, str] = {}
    keys: dict[Source, str] = {}
    for of_kind, files in (("of_image", images), ("of_mask", masks)):
        for (folder, stem), source in files:
            within = "" if folder in ("", ".") else f"{folder}/"
            names[source] = within + stem
            core = stem if pattern is None else getattr(pattern, of_kind)(stem)
            keys[source] = f"{within}{core}" if core is not None else f"\0{of_kind}{names[source]}"
    found = pair_files(
        [source for _, source in images],
        [source for _, source in masks],
        unused,
        key_of=keys.__getitem__,
        name_of_image=names.__getitem__,
        fill=fill,
    )
    if pattern is None or not found.pairs:
        return found
    first = found.pairs[0]
    example = f"{name_of(first.image)} with {name_of(first.mask)}"
    return replace(found, said=[f"{pattern} ({example})"])


def pair_files(
    image_files: Sequence[Source],
    mask_files: Sequence[Source],
    unused: Sequence[Path] = (),
    *,
    key_of: Callable[[Source], str] = stem_of,
    name_of_image: Callable[[Source], str] = stem_of,
    fill: bool = False,
) -> Pairing:
    """Pairs files by what partners share, their stems as a rule.

    Args:
        image_files: The images.
        mask_files: The masks.
        unused: Other files that were beside them.
        key_of: What a file shares with its partner.
        name_of_image: What a pair is called.
        fill: Give images without a mask an empty one, unless that is every image.
    """
    image_of, same_images = group_files(image_files, key_of)
    mask_of, same_masks = group_files(mask_files, key_of)
    twice = {key_of(group[0]) for group in [*same_images, *same_masks]}
    partners: dict[str, Source] = {
        key: mask_of[key] for key in image_of.keys() & mask_of.keys() if key not in twice
    }
    lone = sorted(image_of.keys() - mask_of.keys())
    empty = [key for key in lone if key not in twice] if fill and partners else []
    partners |= {key: EmptyMask(image_of[key]) for key in empty}
    return Pairing(
        [
            Pair(name_of_image(image_of[key]), image_of[key], mask)
            for key, mask in sorted(partners.items())
        ],
        [image_of[key] for key in lone if key not in partners],
        [mask_of[key] for key in sorted(mask_of.keys() - image_of.keys())],
        [*same_images, *same_masks],
        [source for key, source in sorted({**mask_of, **image_of}.items()) if "\n" in key],
        list(unused),
        empty=[image_of[key] for key in empty],
    )


def _without_own_masks(found: Pairing) -> Pairing:
    own = [pair for pair in found.pairs if same_content(pair.image, pair.mask)]
    names = {pair.name for pair in own}
    pairs = [pair for pair in found.pairs if pair.name not in names]
    return replace(found, pairs=pairs, own_masks=own)


def masks_of(names: Collection[str], masks: Sequence[_S]) -> Mapping[str, _S]:
    """Masks by the stems of the images, or maps, that they belong to.

    By their own stems where these are the names; otherwise by the pattern that makes them so, as
    `find_pairs` does. Masks that belong to none keep their own stem.

    Args:
        names: Stems of images or maps.
        masks: Files of masks.

    Raises:
        DataError: A stem occurs twice, or several patterns would do.
    """
    stems = [("", stem_of(mask)) for mask in masks]
    pattern = find_pattern([("", name) for name in names], stems)
    keys: dict[Source, str] = {mask: stem for mask, (_, stem) in zip(masks, stems, strict=True)}
    if pattern is not None:
        partners = {core: name for name in names if (core := pattern.of_image(name)) is not None}
        for mask, (_, stem) in zip(masks, stems, strict=True):
            keys[mask] = partners.get(pattern.of_mask(stem) or "", stem)
    return by_stem(masks, keys.__getitem__)


def _first(names: Iterable[str], limit: int = 20) -> str:
    return few(sorted(names), limit)
