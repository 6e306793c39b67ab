"""Looking at pairs for a plan."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image

from dsunet.data.checks.objects import can_count
from dsunet.data.grouping import running
from dsunet.data.images import decode
from dsunet.data.pairs import Pair, choose_orientation
from dsunet.data.pixels import SIXTEEN_BIT
from dsunet.data.split import Split
from dsunet.errors import DataError
from dsunet.planning.facts import DataFacts, Seen, facts_of
from dsunet.support.processes import available_cores

__all__ = ["SAMPLE", "gather", "look", "sampled"]

SAMPLE = 400
"""So many pairs tell what a set is like."""

_SIDE = 64  # of the small picture whose light and colours are looked at
_COLOURLESS = 4.0  # grey levels that channels may be apart in the mean, as by JPEG
_MAKER, _MODEL = 271, 272  # EXIF


def sampled(pairs: Sequence[Pair], count: int, seed: int) -> list[Pair]:
    """So many of some pairs at random, in their order; all, if there are no more."""
    if len(pairs) <= count:
        return list(pairs)
    chosen = random.Random(seed).sample(range(len(pairs)), count)
    return [pairs[i] for i in sorted(chosen)]


def gather(
    split: Split,
    *,
    sample: int = SAMPLE,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> DataFacts:
    """Looks at the pairs to train on; held-out ones are only counted.

    Args:
        split: The pairs.
        sample: Of more than so many, a random sample of this number is looked at.
        seed: Of the sample.
        progress: Called with the number of pairs done and the number of all.

    Raises:
        DataError: There are none, or not one of them can be read.
    """
    chosen = sampled(split.training, sample, seed)
    if not chosen:
        raise DataError("there are no pairs to train on, so there is nothing to plan")
    seen: list[Seen] = []
    broken: list[str] = []
    pool = ThreadPoolExecutor(min(8, available_cores()))
    try:
        for done, found in enumerate(pool.map(_look_or_say, chosen), 1):
            if isinstance(found, Seen):
                seen.append(found)
            else:
                broken.append(found)
            if progress:
                progress(done, len(chosen))
    finally:
        pool.shutdown(cancel_futures=True)
    if not seen:
        raise DataError(
            f"not one of {len(chosen)} pairs can be read (first: {broken[0]}); dsunet data check "
            "lists all that is wrong"
        )
    names = [pair.name for pair in split.training]
    return facts_of(
        seen,
        pairs=len(split.training),
        validation=len(split.validation),
        broken=broken,
        running=bool(running(names[::2], names[1::2])),
    )


def _look_or_say(pair: Pair) -> Seen | str:
    try:
        return look(pair)
    except DataError as error:
        return str(error)


def look(pair: Pair) -> Seen:
    """What one pair is like.

    Raises:
        DataError: A file cannot be read, or they differ in size.
    """
    stored, mask_file = decode(pair.image, intensity=pair.intensity), decode(pair.mask)
    upright, mask_upright = choose_orientation(stored, mask_file)
    image = stored.as_image(upright=upright)
    mask = mask_file.as_labels(pair.reading, upright=mask_upright).mask
    small = np.asarray(image.resize((_SIDE, _SIDE), Image.Resampling.BILINEAR), np.float32)
    light, half = small.mean(axis=2), _SIDE // 2
    is_object = np.asarray(mask) >= 128
    exif = stored.pixels.getexif()
    return Seen(
        height=image.height,
        width=image.width,
        grey=float(np.ptp(small, axis=2).mean()) < _COLOURLESS,
        deep=stored.pixels.mode in (*SIXTEEN_BIT, "I", "F") or stored.deep is not None,
        camera=bool(exif.get(_MAKER) or exif.get(_MODEL)),
        light=(
            float(light[:half].mean() - light[half:].mean()),
            float(light[:, :half].mean() - light[:, half:].mean()),
        ),
        place=_place(is_object),
        share=float(is_object.mean()),
        objects=_longest_sides(is_object),
    )


def _place(is_object: np.ndarray) -> tuple[float, float] | None:
    """Where the centre of an H×W mask lies from its middle, downwards and to the right."""
    rows, columns = is_object.sum(axis=1), is_object.sum(axis=0)
    if not rows.any():
        return None
    down, right = (
        float((np.arange(len(n)) * n).sum() / n.sum() + 0.5) / len(n) - 0.5 for n in (rows, columns)
    )
    return down, right


def _longest_sides(is_object: np.ndarray) -> tuple[float, ...]:
    if not can_count():
        return ()
    from scipy import ndimage

    height, width = is_object.shape
    labels, _ = ndimage.label(is_object, np.ones((3, 3)))
    return tuple(
        max((rows.stop - rows.start) / height, (columns.stop - columns.start) / width)
        for rows, columns in ndimage.find_objects(labels)
    )
