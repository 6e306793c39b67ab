"""What a file says of every pixel: a map's probabilities, a mask's object, a class's number."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from dsunet.config.masks import MaskReading
from dsunet.config.objects import ObjectOptions
from dsunet.data.images import Decoded, decode
from dsunet.data.masks import listed
from dsunet.data.pixels import SIXTEEN_BIT, turn
from dsunet.data.sources import Source
from dsunet.errors import ImageError

__all__ = ["ReadMap", "read_objects"]


@dataclass(frozen=True)
class ReadMap:
    """What a map or mask says, upright."""

    inside: dict[str, np.ndarray]
    """By class: H×W bool, where it is object."""
    scores: np.ndarray | None
    """H×W float32, the probability of each pixel; `None` of numbers of classes."""
    counted: int
    """Pixels that count: all, but those of `ignore_value`."""
    unclear: bool = False
    """Whether it holds nothing above the least step of its range, as masks of 0 and 1 would."""
    untold: tuple[int, ...] = ()
    """Numbers beside 0 that are no class."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        height, width = next(iter(self.inside.values())).shape
        return width, height


def read_objects(source: Source, options: ObjectOptions, reading: MaskReading) -> ReadMap:
    """Reads a file as a map of probabilities, or as what `classes` or `reading` say that it is.

    Raises:
        ImageError: It cannot be decoded, or holds colours that nobody said the meaning of.
    """
    decoded = decode(source)
    if options.numbers is not None:
        return _classes(decoded, options.numbers)
    if reading != MaskReading():
        return _mask(decoded, options, reading)
    return _map(decoded, options)


def _map(decoded: Decoded, options: ObjectOptions) -> ReadMap:
    deep = decoded.pixels.mode in SIXTEEN_BIT
    if decoded.pixels.mode == "I" or (not deep and decoded.as_stored().kind != "grey"):
        what = "32-bit numbers" if decoded.pixels.mode == "I" else "colours"
        raise ImageError(
            f"{decoded.source}: it holds {what}, but a map is grey, 0 for background; measure maps "
            "or masks, not overlays or cut-outs, or tell what its values mean (`object_values`, "
            "`classes`)"
        )
    levels = np.asarray(decoded.pixels) if deep else decoded.as_map()
    levels = _upright(levels, decoded)
    steps = 65535 if deep else 255
    threshold = 0.5 if options.threshold is None else options.threshold
    # as of `dsunet.metrics.cuts`: exactly v / 255 ≥ t
    cut = int(np.searchsorted(np.arange(steps + 1) / steps, threshold))
    largest = int(levels.max(initial=0))
    return ReadMap(
        {options.class_name: levels >= cut},
        levels.astype(np.float32) / np.float32(steps),
        levels.size,
        0 < largest <= (255 if deep else 1),
    )


def _mask(decoded: Decoded, options: ObjectOptions, reading: MaskReading) -> ReadMap:
    labels = decoded.as_labels(reading)
    mask = np.asarray(labels.mask)
    threshold = 0.5 if options.threshold is None else options.threshold
    ignored = 0 if labels.ignored is None else int(np.count_nonzero(np.asarray(labels.ignored)))
    scores = mask.astype(np.float32) / np.float32(255)
    inside = mask >= int(np.searchsorted(np.arange(256) / 255, threshold))
    return ReadMap({options.class_name: inside}, scores, mask.size - ignored)


def _classes(decoded: Decoded, numbers: dict[int, str]) -> ReadMap:
    stored = decoded.as_stored()
    if stored.kind == "colour":
        raise ImageError(
            f"{decoded.source}: it holds colours ({listed(stored.counts())}), but `classes` are "
            "numbers; make it a palette or grey, or use `object_values`"
        )
    values = _upright(stored.values, decoded)
    untold = sorted(set(np.unique(values).tolist()) - {0, *numbers})
    inside = {name: values == number for number, name in numbers.items()}
    return ReadMap(inside, None, values.size, untold=tuple(untold))


def _upright(values: np.ndarray, decoded: Decoded) -> np.ndarray:
    if decoded.orientation == 1:
        return values
    whole = values if values.dtype == np.uint8 else values.astype(np.int32)
    return np.asarray(turn(Image.fromarray(whole), decoded.orientation))
