"""Which pairs a run trains on, and which it validates on."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from dsunet.config import DataConfig
from dsunet.data.pairs import Pair, Pairing, pair_up, read_names, select_pairs, split_pairs
from dsunet.data.sources import TarMember
from dsunet.errors import DataError
from dsunet.files import encode_text

__all__ = ["Split", "split_data"]


@dataclass(frozen=True)
class Split:
    """Training and validation pairs, and how the files of both paired up."""

    training: list[Pair]
    validation: list[Pair]
    pairings: list[Pairing]

    def fingerprint(self) -> str:
        """Changes when a file is added, removed, renamed or written to."""
        parts = []
        for pair in [*self.training, *self.validation]:
            for source in (pair.image, pair.mask):
                path = source.archive if isinstance(source, TarMember) else source
                try:
                    facts = path.stat()
                except OSError:  # a dangling link, say; the check will tell
                    parts.append(f"{source}\0missing")
                else:
                    parts.append(f"{source}\0{facts.st_size}\0{facts.st_mtime_ns}")
        for pairing in self.pairings:
            parts += [str(s) for s in [*pairing.lone_images, *pairing.lone_masks]]
            parts += [str(source) for group in pairing.duplicates for source in group]
        return hashlib.sha256(encode_text("\n".join(parts))).hexdigest()


def split_data(config: DataConfig, seed: int) -> Split:
    """Finds the pairs that the settings mean.

    Files without a partner and duplicate stems are left out here and told of in `pairings`, unless
    a training list says which pairs count.

    Raises:
        DataError: A folder or list is missing or empty, a list names unknown pairs, or too few
            pairs are left to split.
    """
    pairing = pair_up(config.data, images=config.images, masks=config.masks)
    pairings = [pairing] if config.train_list is None else []
    try:
        training, validation = _choose(config, seed, pairing.pairs)
    except DataError as error:
        if trouble := pairing.trouble():  # most likely the reason
            raise DataError(f"{error}; there are {trouble}") from error
        raise
    if config.val is not None:
        pairings.append(pair_up(config.val))
        validation = pairings[-1].pairs
    held_out = {pair.image for pair in validation}
    return Split([pair for pair in training if pair.image not in held_out], validation, pairings)


def _choose(config: DataConfig, seed: int, every: list[Pair]) -> tuple[list[Pair], list[Pair]]:
    pairs = every
    if config.train_list is not None:
        pairs = select_pairs(every, read_names(config.train_list), config.train_list)
    if config.val_list is not None:
        names = read_names(config.val_list)
        return pairs, select_pairs(every, names, Path(config.val_list).name)
    if config.val_fraction > 0:
        return split_pairs(pairs, config.val_fraction, seed)
    return pairs, []
