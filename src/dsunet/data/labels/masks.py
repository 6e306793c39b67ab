"""Masks that are files already, in layouts that are no `images/` and `masks/`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from dsunet.data.folders import parts_of, stem_of
from dsunet.data.labels.annotated import Annotated, MaskFile, Picture, files_below, is_imported
from dsunet.data.pairing import Pairing, pair_up
from dsunet.data.places import guess_places
from dsunet.data.sources import IMAGE_SUFFIXES, Source
from dsunet.errors import DataError

__all__ = ["class_folders", "is_mvtec", "mvtec_sets", "read_folders", "read_masks", "read_mvtec"]

Missing = Literal["error", "empty"]

_GOOD = "good"


def mvtec_sets(folder: Path) -> list[Path]:
    """The folders of MVTec's layout: this one, or those of its kinds of things directly below."""
    if is_mvtec(folder):
        return [folder]
    return sorted(each for each in folder.iterdir() if each.is_dir() and is_mvtec(each))


def is_mvtec(folder: Path) -> bool:
    """Whether a folder has `ground_truth/` beside `test/`."""
    return (folder / "ground_truth").is_dir() and (folder / "test").is_dir()


def read_mvtec(folder: Path) -> Annotated:
    """What folders in the layout of MVTec AD say.

    Of `test/crack/000.png` the mask is `ground_truth/crack/000_mask.png`. Pictures of `good`
    have no object; the class of the others is their folder's name. Pairs are called
    `crack/test_000`, so that training has defects too: in MVTec's own training part is none.

    Raises:
        DataError: A folder cannot be read.
    """
    found = Annotated("mvtec", [], [])
    sets = mvtec_sets(folder)
    for place in sets:
        for part in ("train", "test"):
            if not (place / part).is_dir():
                continue
            for path in files_below(place / part, sorted(IMAGE_SUFFIXES)):
                kind = path.parent.relative_to(place / part).as_posix()
                within = "" if place == folder else f"{place.name}/"
                picture = Picture(path.name, path, stem=f"{within}{kind}/{part}_{path.stem}")
                if kind != _GOOD:
                    masks = _mvtec_masks(place / "ground_truth" / kind, path.stem)
                    picture.masks = [MaskFile(mask, kind) for mask in masks]
                    if not masks:
                        picture.trouble = f"{place / 'ground_truth' / kind} has no mask of it"
                found.files += [mask.path for mask in picture.masks]
                found.pictures.append(picture)
    found.classes = sorted({mask.label for each in found.pictures for mask in each.masks})
    return found


def _mvtec_masks(folder: Path, stem: str) -> list[Path]:
    """A picture's masks; in MVTec LOCO's layout it has a folder of them."""
    if (folder / stem).is_dir():
        return files_below(folder / stem, sorted(IMAGE_SUFFIXES))
    places = [folder / f"{stem}{end}{s}" for end in ("_mask", "") for s in (".png", ".bmp", ".tif")]
    return [place for place in places if place.is_file()][:1]


def read_masks(
    folder: Path,
    *,
    images: Path | None = None,
    masks: Path | None = None,
    mask_suffix: str | None = None,
    missing_masks: Missing = "error",
) -> Annotated:
    """What masks in files say that lie in folders of any name, or beside their pictures.

    Their values say what is object, or the class. Parts of a set (`train`, `val`, `test`) stay.

    Args:
        folder: What holds them.
        images: The folder of images, if that is told.
        masks: The folder of masks, if that is told.
        mask_suffix: As of `dsunet.data.find_pairs`.
        missing_masks: As of `dsunet.data.find_pairs`.

    Raises:
        DataError: Nothing tells which files are the masks.
    """
    found = Annotated("masks", [], [])
    for within, pairing in _pairings(folder, images, masks, mask_suffix, missing_masks):
        _add(found, pairing, within, "")
    return found


def _pairings(
    folder: Path,
    images: Path | None,
    masks: Path | None,
    mask_suffix: str | None,
    missing: Missing,
) -> Iterator[tuple[str, Pairing]]:
    """How files pair up, each with the part of the set that they are."""
    if masks is not None:
        images = images or folder
    elif (guessed := guess_places(folder)) is not None:
        images, masks = guessed
    data = folder if masks is None else None
    parts = parts_of(data, images, masks)
    for name, place in parts.items():
        inner = guess_places(place.data) if place.data is not None else None
        images, masks = inner or (place.images, place.masks)
        yield (
            f"{name}/",
            pair_up(
                None if masks is not None else place.data,
                images=images,
                masks=masks,
                mask_suffix=mask_suffix,
                missing_masks=missing,
            ),
        )
    if not parts:
        yield (
            "",
            pair_up(
                data, images=images, masks=masks, mask_suffix=mask_suffix, missing_masks=missing
            ),
        )


def _add(found: Annotated, pairing: Pairing, within: str, label: str) -> None:
    for pair in pairing.pairs:
        picture = Picture(pair.name, _path(pair.image), stem=within + pair.name)
        if isinstance(pair.mask, Path):
            picture.masks.append(MaskFile(pair.mask, label))
            found.files.append(pair.mask)
        found.pictures.append(picture)
    for image in pairing.lone_images:
        trouble = "it has no mask; give `missing_masks` empty if that means no object"
        found.pictures.append(Picture(str(image), _path(image), trouble=trouble))
    for group in pairing.duplicates:
        names = " and ".join(map(str, group))
        found.pictures.append(Picture(str(group[0]), trouble=f"{names} share a stem; rename one"))
    for pair in pairing.own_masks:
        trouble = "it is its own mask; give the masks' folder"
        found.pictures.append(Picture(pair.name, _path(pair.image), trouble=trouble))
    found.lost += len(pairing.lone_masks)
    found.said += [f"{within}{line}" if within else line for line in pairing.said]


def _path(source: Source) -> Path | None:
    return source if isinstance(source, Path) else None


def class_folders(folder: Path) -> dict[str, Path]:
    """The folders of classes, each with images and masks, directly below a folder."""
    found = {}
    for each in sorted(path for path in folder.iterdir() if path.is_dir()):
        if not each.name.startswith(".") and not is_imported(each) and _holds_pairs(each):
            found[each.name] = each
    return found


def _holds_pairs(folder: Path) -> bool:
    try:
        return bool(
            pair_up(
                None if (places := guess_places(folder)) else folder,
                images=places[0] if places else None,
                masks=places[1] if places else None,
            ).pairs
        )
    except DataError:
        return False


def read_folders(
    folder: Path, *, mask_suffix: str | None = None, missing_masks: Missing = "error"
) -> Annotated:
    """What folders of classes say: `benign/a.png` with `benign/a_mask.png`, `malignant/…`.

    Or one folder of masks for every class: `images/a.png`, `masks/crack/a.png`, `masks/dent/a.png`.

    Raises:
        DataError: Nothing tells which files are the masks.
    """
    found = Annotated("folders", [], [])
    classes = class_folders(folder)
    if classes:
        for label, place in classes.items():
            for within, pairing in _pairings(place, None, None, mask_suffix, missing_masks):
                _add(found, pairing, f"{label}/{within}", label)
        found.classes = list(classes)
        return found
    places = guess_places(folder)
    if places is None:
        raise DataError(f"{folder} has no folders of classes with images and masks in each")
    images = {stem_of(path): path for path in files_below(places[0], sorted(IMAGE_SUFFIXES))}
    of_stem: dict[str, list[MaskFile]] = {}
    for mask in files_below(places[1], sorted(IMAGE_SUFFIXES)):
        label = mask.parent.relative_to(places[1]).as_posix()
        stem = stem_of(mask)
        stem = stem if mask_suffix is None else stem.removesuffix(mask_suffix)
        of_stem.setdefault(stem, []).append(MaskFile(mask, label))
    found.files = [mask.path for masks in of_stem.values() for mask in masks]
    found.classes = sorted({mask.label for masks in of_stem.values() for mask in masks})
    for stem, path in images.items():
        masks = of_stem.pop(stem, [])
        lost = not masks and missing_masks == "error"
        trouble = "no folder has a mask of it; give `missing_masks` empty if that means no object"
        found.pictures.append(Picture(path.name, path, masks=masks, trouble=trouble * lost))
    found.lost = sum(map(len, of_stem.values()))
    return found
