"""Pictures and masks, segmented one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from dsunet.data import Pair
from dsunet.data.pairs import PairImages, read_pair
from dsunet.errors import DataError
from dsunet.metrics.inputs import Truth
from dsunet.predict.segmenter import Segmenter
from dsunet.running.maps import quantise

__all__ = ["Segmented", "segmented"]


class Segmented(NamedTuple):
    """A picture with its mask, and the map that a model makes of it."""

    pair: Pair
    images: PairImages
    truth: Truth
    probability: np.ndarray
    """H×W float32 in 0..1."""
    levels: np.ndarray
    """The same as it would be written, H×W uint8."""


def segmented(
    segmenter: Segmenter,
    pairs: Sequence[Pair],
    on_failure: Callable[[str], None],
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[Segmented]:
    """Segments pairs; one that cannot be read, or that nothing counts of, does not stop the others.

    Args:
        segmenter: What segments.
        pairs: The pictures and their masks.
        on_failure: Called with the reason for every pair that is left out.
        progress: Called with the number of pairs done and the number of all, once whoever asks has
            done with one.
    """
    for done, pair in enumerate(pairs, 1):
        try:
            images = read_pair(pair)
            ignored = None if images.ignored is None else np.asarray(images.ignored)
            truth = Truth(np.asarray(images.mask), ignored)
            if not truth.size:
                raise DataError(f"{pair.name}: all its pixels are ignored")
        except DataError as error:
            on_failure(str(error))
            continue
        [probability] = segmenter.probabilities([segmenter.prepare(images.image)])
        yield Segmented(pair, images, truth, probability, quantise(probability))
        if progress:
            progress(done, len(pairs))
