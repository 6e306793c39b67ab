"""Which pairs a run trains on, and which it validates on."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from dsunet.config import ClassReading, DataConfig, MaskReading
from dsunet.data.catalogue.find import joined_pairs, training_sets
from dsunet.data.catalogue.sets import task_named
from dsunet.data.class_tables import class_reading
from dsunet.data.folders import parts_of
from dsunet.data.grouping import folds, groups_of, held_out, strata_of
from dsunet.data.pairing import Pairing, pair_up
from dsunet.data.pairs import Pair, read_names, select_pairs, split_pairs
from dsunet.data.sources import ClassMasks, Source, content_stamp, content_sum
from dsunet.errors import ConfigError, DataError, ImageError, few
from dsunet.support.files import encode_text

__all__ = ["Split", "data_name", "split_data"]


def data_name(config: DataConfig) -> str:
    """What the training data are called: the folder's or archive's name, or those of the sets."""
    if config.task is not None:
        return "+".join(task_named(config.task).train)
    return Path(config.data or config.images or "").name


@dataclass(frozen=True)
class Split:
    """Training and validation pairs, and how the files of both paired up."""

    training: list[Pair]
    validation: list[Pair]
    pairings: list[Pairing]
    reading: MaskReading = field(default_factory=MaskReading)
    """What the masks' values mean; that of every pair."""

    intensity: str = "full"
    """Which values of images are black and white; that of every pair."""

    grouped: bool = False
    """Whether it was told which pairs belong together; then these are on one side."""

    def seen_with(self, intensity: str) -> Split:
        """The same, with images that are read as `intensity` says."""
        return replace(
            self,
            training=[replace(pair, intensity=intensity) for pair in self.training],
            validation=[replace(pair, intensity=intensity) for pair in self.validation],
            intensity=intensity,
        )

    def fingerprint(self) -> str:
        """Changes when a file is added, removed, renamed or written to."""
        parts = [] if self.reading == MaskReading() else [repr(self.reading)]
        parts += [] if self.intensity == "full" else [self.intensity]
        for pair in [*self.training, *self.validation]:
            for source in (pair.image, pair.mask):
                try:
                    size, changed = content_stamp(source)
                except OSError:  # a dangling link, say; the check will tell
                    parts.append(f"{source}\0missing")
                else:
                    parts.append(f"{source}\0{size}\0{changed}")
        for pairing in self.pairings:
            parts += [str(s) for s in [*pairing.lone_images, *pairing.lone_masks]]
            parts += [str(source) for group in pairing.duplicates for source in group]
        return hashlib.sha256(encode_text("\n".join(parts))).hexdigest()

    def content(self) -> str:
        """Changes when a pair is added, removed or renamed, or an image or mask is another one.

        Unlike `fingerprint` it stays where the files are moved or copied. Every byte counts.
        """
        digest = hashlib.sha256()
        for pair in [*self.training, *self.validation]:
            digest.update(encode_text(f"{pair.name}\0"))
            for source in (pair.image, pair.mask):
                digest.update(_piece_of(source))
        return digest.hexdigest()


def _piece_of(source: Source) -> bytes:
    """The sum of a file's bytes; nothing if it cannot be read."""
    try:
        return content_sum(source)
    except (OSError, ImageError):
        return b""  # a dangling link, say; the check will tell


def split_data(
    config: DataConfig, seed: int, classes: Sequence[str] = (), exclusive: bool = True
) -> Split:
    """Finds the pairs that the settings mean.

    With `classes` the masks say which of them a pixel is of, by values or by a folder for each
    below the masks'.

    Files without a partner and duplicate stems are left out here and told of in `pairings`, unless
    a training list says which pairs count. Of a set that folders divide (see `parts_of`), its
    training part is trained on, and its validation part validates unless the settings say
    otherwise; its test part is never touched.

    Raises:
        DataError: A folder or list is missing or empty, a list names unknown pairs, or too few
            pairs are left to split.
        ConfigError: Settings about classes do not go together.
    """
    reading = _reading(config, classes, exclusive)
    sets, pairings = _sets(config, classes)
    said: list[str] = []
    try:
        training, validation = _choose(config, seed, sets, said, reading)
    except DataError as error:
        troubles = [trouble for pairing in pairings if (trouble := pairing.trouble())]
        if troubles:  # most likely the reason
            raise DataError(f"{error}; there are {', '.join(troubles)}") from error
        raise
    if config.train_list is not None:
        pairings = [Pairing(said=each.said) for each in pairings]
    if said:
        pairings.append(Pairing(said=said))
    if (separate := _separate_validation(config, classes)) is not None:
        pairings.append(separate)
        validation = separate.pairs
    held_out = {pair.image for pair in validation}
    training = [[pair for pair in part if pair.image not in held_out] for part in training]
    if config.limit is not None:
        training = _first(training, config.limit)
    if isinstance(reading, ClassReading):
        every = (pair.mask for part in (*training, validation) for pair in part)
        reading = replace(reading, folders=any(isinstance(mask, ClassMasks) for mask in every))
    return Split(
        [replace(pair, reading=reading) for part in training for pair in part],
        [replace(pair, reading=reading) for pair in validation],
        pairings,
        reading,
        grouped=config.group_by is not None,
    )


def _reading(config: DataConfig, classes: Sequence[str], exclusive: bool) -> MaskReading:
    """What the masks' values mean."""
    if classes:
        return class_reading(config, classes, exclusive)
    if config.class_table is not None:
        raise ConfigError(
            f"`class_table` {config.class_table} is for models of several classes, and this one "
            "has none; leave it out, or tell by `object_values` what is object"
        )
    return config.reading


def _sets(config: DataConfig, classes: Sequence[str]) -> tuple[list[list[Pair]], list[Pairing]]:
    """The pairs of each set to train on, and how its files paired up."""
    if config.benchmarks is not None and config.task is not None:
        found = training_sets(config.benchmarks, config.task)
        return joined_pairs(found), [each.pairing for each in found]
    pairing = pair_up(
        config.data,
        images=config.images,
        masks=config.masks,
        mask_suffix=config.mask_suffix,
        missing_masks=config.missing_masks,
        classes=classes,
    )
    if parts := parts_of(config.data, config.images, config.masks):
        pairing.said.append(_said_of_parts(config, list(parts)))
    return [pairing.pairs], [pairing]


def _said_of_parts(config: DataConfig, parts: list[str]) -> str:
    """How a set that folders divide is used, in one line."""
    told = "val" if config.val is not None else "val_list" if config.val_list else "val_fraction"
    told = "fold" if config.fold is not None else told
    uses = ["train is trained on"]
    if "val" in parts:
        uses.append(
            "val validates" if _uses_val(config) else f"val is not used (`{told}` is given)"
        )
    if "test" in parts:
        uses.append("test is left alone")
    return f"{config.data or config.images} is divided by its folders: {', '.join(uses)}"


def _uses_val(config: DataConfig) -> bool:
    """Whether the validation part of a set that folders divide validates."""
    given = (config.val, config.val_list, config.fold)
    return given == (None, None, None) and config.val_fraction == 0


def _separate_validation(config: DataConfig, classes: Sequence[str]) -> Pairing | None:
    """The validation pairs that lie apart from those to train on, if any do."""
    place: dict[str, str | None]
    if config.val is not None:
        place = {"data": config.val}
    elif (
        config.benchmarks is None
        and _uses_val(config)
        and "val" in parts_of(config.data, config.images, config.masks)
    ):
        place = {"data": config.data, "images": config.images, "masks": config.masks}
    else:
        return None
    return pair_up(
        **place,
        mask_suffix=config.mask_suffix,
        missing_masks=config.missing_masks,
        part="val",
        classes=classes,
    )


def _choose(
    config: DataConfig,
    seed: int,
    sets: list[list[Pair]],
    said: list[str],
    reading: MaskReading,
) -> tuple[list[list[Pair]], list[Pair]]:
    """Training pairs of each set, and validation pairs of all; `said` gets how they were chosen."""
    every = [pair for pairs in sets for pair in pairs]
    if config.train_list is not None:
        chosen = select_pairs(every, read_names(config.train_list), config.train_list)
        sets = _among(sets, chosen)
    if config.val_list is not None:
        names = read_names(config.val_list)
        return sets, select_pairs(every, names, Path(config.val_list).name)
    if config.val_fraction > 0 or config.folds is not None:
        if config.limit is not None:
            sets = _first(sets, config.limit)
        pool = [pair for pairs in sets for pair in pairs]
        training, validation = _held_out(config, seed, pool, said, reading)
        return _among(sets, training), validation
    return sets, []


def _held_out(
    config: DataConfig, seed: int, pool: list[Pair], said: list[str], reading: MaskReading
) -> tuple[list[Pair], list[Pair]]:
    """Training and validation pairs of those that are to be divided; `said` gets how."""
    names = [pair.name for pair in pool]
    groups = groups_of(names, config.group_by) if config.group_by and names else None
    by = config.stratify
    strata = None if by is None else strata_of(pool, by, reading)
    if config.folds is not None:
        number, count = config.folds
        chosen = folds(names, count, seed, groups, strata)[number - 1]
        said.append(f"fold {number} of {count} is held out: {len(chosen)} of {len(names)} pairs")
    elif groups is None and strata is None:
        return split_pairs(pool, config.val_fraction, seed)
    else:
        chosen = held_out(names, config.val_fraction, seed, groups, strata)
    ordered = sorted(pool, key=lambda pair: pair.name)
    if groups is not None:
        out = sorted({groups[name] for name in chosen})
        said.append(
            f"by `group_by`, {len(out)} of {len(set(groups.values()))} groups are held out "
            f"({few(out)}): {len(chosen)} of {len(names)} pairs"
        )
    return (
        [pair for pair in ordered if pair.name not in chosen],
        [pair for pair in ordered if pair.name in chosen],
    )


def _among(sets: list[list[Pair]], chosen: list[Pair]) -> list[list[Pair]]:
    names = {pair.name for pair in chosen}
    return [[pair for pair in pairs if pair.name in names] for pairs in sets]


def _first(sets: list[list[Pair]], limit: int) -> list[list[Pair]]:
    """The first pairs of each set, `limit` in all; where a set has fewer, the others give more."""
    in_turns = sorted((i, number) for number, pairs in enumerate(sets) for i in range(len(pairs)))
    shares = Counter(number for _, number in in_turns[:limit])
    return [pairs[: shares[number]] for number, pairs in enumerate(sets)]
