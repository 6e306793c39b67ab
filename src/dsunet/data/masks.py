"""What the values of one mask mean: stored pixels → 0 and 255, and which pixels do not count.

A mask of 0 and 255, or of 0 and 1, or of black and one colour, soft edges included, says by itself
what its object is. Everything else is read as a `MaskReading` tells, or refused, never guessed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
from PIL import Image

from dsunet.config import MaskReading
from dsunet.config.masks import MaskValue, value_name
from dsunet.data.levels import classes_of, flat_counts, may_be_flat, tally
from dsunet.data.pixels import SIXTEEN_BIT, WITH_ALPHA, scale_16_bit
from dsunet.errors import ImageError

__all__ = [
    "MaskLabels",
    "Stored",
    "labels_of",
    "listed",
    "offered",
    "places_of",
    "stored_values",
]

_COLOURFUL = 24  # how far apart the channels of a pixel are that is no grey
_COLOURFUL_LOSSY = 64
_NEAR = 64  # how far from a told value a pixel of a lossy file may be


class MaskLabels(NamedTuple):
    """What a mask says of every pixel, and how that was told."""

    mask: np.ndarray
    """H×W uint8: 0 for background, 255 for object; 0 where ignored."""
    ignored: np.ndarray | None
    """H×W bool; `None` where nothing is told to be ignored."""
    group: str
    """How object was told: `nothing` (no object), `1`, `255`, `#rrggbb`, `index 3` or `told`."""
    met: frozenset[MaskValue]
    """Those of the told values that the mask holds."""


@dataclass(frozen=True)
class Stored:
    """The values of a mask as they are stored."""

    kind: Literal["grey", "palette", "colour"]
    values: np.ndarray
    """H×W whole numbers: grey levels, or indices into a palette of colours; or H×W×3 uint8."""
    largest: int = 255
    """The grey level that is white."""
    lossy: bool = False
    """Whether values are only near what was drawn, as in JPEG."""
    palette: np.ndarray = field(default_factory=lambda: np.zeros((0, 3), np.uint8))

    def counts(self) -> dict[MaskValue, int]:
        """How many pixels have each value; indices of a palette are numbers."""
        if self.kind != "colour":
            return {int(value): int(n) for value, n in tally(self.values).items()}
        packed = tally(_packed(self.values))
        return {_unpacked(code): n for code, n in packed.items()}


def stored_values(image: Image.Image, *, lossy: bool = False, indices: bool = False) -> Stored:
    """The values of a mask as they are stored, before anybody says what they mean.

    A palette of greys is grey, and so is RGB whose channels are alike. What is transparent is
    black; a black shape on nothing is its alpha channel.

    Args:
        image: Of any mode.
        lossy: Whether its format changes values.
        indices: Take a palette's indices, even if it is one of greys.

    Raises:
        ImageError: Floating-point values of unknown range.
    """
    if image.mode == "P":
        return _palette(image, indices)
    if image.mode == "1":
        return Stored("grey", np.asarray(image).astype(np.int32) * 255)
    if image.mode == "L":
        return Stored("grey", np.asarray(image).astype(np.int32), lossy=lossy)
    if image.mode == "F":
        return _floats(np.asarray(image))
    if image.mode in SIXTEEN_BIT or image.mode == "I":
        values = np.asarray(image).astype(np.int64)
        if values.min(initial=0) < 0 or values.max(initial=0) > 65535:
            raise ImageError("whole numbers need to be in 0..65535; save it with 8 or 16 bits")
        # 16 bits that hold the values of 8 are those
        return Stored(
            "grey", values.astype(np.int32), 255 if values.max(initial=0) <= 255 else 65535
        )
    if image.mode in WITH_ALPHA:
        with_alpha = image.convert("RGBA")
        alpha = np.asarray(with_alpha)[..., 3]
        if alpha.any():  # an alpha of zeros alone says nothing
            black = Image.new("RGBA", image.size, "black")
            image = Image.alpha_composite(black, with_alpha)
            if not np.asarray(image)[..., :3].any():  # a black shape on nothing
                alpha = np.zeros_like(alpha) if (alpha == 255).all() else alpha
                return Stored("grey", alpha.astype(np.int32), lossy=lossy)
    return _rgb(np.asarray(image.convert("RGB")), lossy)


def _palette(image: Image.Image, always: bool) -> Stored:
    indices = np.asarray(image).astype(np.int32)
    colours = np.array(image.getpalette("RGB") or []).reshape(-1, 3).astype(np.uint8)
    if len(colours) <= indices.max(initial=0):
        missing = int(indices.max(initial=0)) + 1 - len(colours)
        colours = np.concatenate([colours, np.zeros((missing, 3), np.uint8)])
    elif not always and (colours == colours[:, :1]).all():
        return Stored("grey", colours[indices, 0].astype(np.int32))
    return Stored("palette", indices, palette=colours)


def _rgb(pixels: np.ndarray, lossy: bool) -> Stored:
    channels = [pixels[..., i] for i in range(3)]  # quicker than along the last axis
    apart = np.maximum.reduce(channels) - np.minimum.reduce(channels)
    if (apart > (_COLOURFUL_LOSSY if lossy else _COLOURFUL)).any():
        return Stored("colour", pixels, lossy=lossy)
    return Stored(
        "grey", np.asarray(Image.fromarray(pixels).convert("L")).astype(np.int32), lossy=lossy
    )


def _floats(values: np.ndarray) -> Stored:
    largest = values.max(initial=0)
    if not np.isfinite(values).all() or values.min(initial=0) < 0 or largest > 255:
        raise ImageError("floating-point values need to be in 0..1 or 0..255")
    whole = np.round(values)
    if largest <= 1 and not np.array_equal(whole, values):
        whole = np.round(values * 255)
    return Stored("grey", whole.astype(np.int32))


def labels_of(stored: Stored, reading: MaskReading | None = None) -> MaskLabels:
    """A mask read as told, or as it says by itself.

    Without `object_values`, object is 255 where there is black and white with soft edges, 1 where
    there are 0 and 1, the colour where there are black and one colour, and the index where there
    are 0 and another one in a palette of colours; what is ignored is left out before. Numbers mean
    grey levels, or indices of a palette of colours; a colour means that of the palette, too. In
    lossy files a pixel has the nearest of black and the told values that is near.

    Args:
        stored: The values.
        reading: What they mean.

    Raises:
        ImageError: They say nothing clear, and nothing is told; or numbers are told of colours.
    """
    reading = reading or MaskReading()
    objects, skipped = reading.objects, reading.ignored
    told: list[MaskValue] = [*objects, *([] if skipped is None else [skipped])]
    if stored.kind == "colour" and any(isinstance(value, int) and value for value in told):
        raise ImageError(
            f"it holds colours ({listed(stored.counts())}), but `object_values` or `ignore_value` "
            "is a number; give colours such as #00ff00"
        )
    places = places_of(stored, told)
    met = frozenset(value for value, place in zip(told, places, strict=True) if place.any())
    ignored = places[-1] if skipped is not None else None
    if objects:
        mask = np.where(np.any(places[: len(objects)], axis=0), np.uint8(255), np.uint8(0))
        group = "told"
    else:
        mask, group = _by_itself(stored, ignored)
    if reading.invert:
        mask = np.uint8(255) - mask
    if ignored is not None:
        mask = np.where(ignored, np.uint8(0), mask)
    return MaskLabels(mask, ignored, group, met)


def places_of(stored: Stored, told: Sequence[MaskValue]) -> list[np.ndarray]:
    """Where each told value is, H×W bool each; of a lossy file the nearest that is near."""
    if stored.lossy:
        pixels = stored.values if stored.values.ndim == 3 else np.stack([stored.values] * 3, 2)
        anchors = [np.array((value,) * 3 if isinstance(value, int) else value) for value in told]
        far = [np.abs(pixels.astype(np.int32) - each).max(2) for each in (*anchors, np.zeros(3))]
        nearest = np.argmin(far, axis=0)
        return [(nearest == i) & (far[i] <= _NEAR) for i in range(len(told))]
    return [_exact(stored, value) for value in told]


def _exact(stored: Stored, value: MaskValue) -> np.ndarray:
    if stored.kind == "palette":
        if isinstance(value, int):
            return np.asarray(stored.values == value)
        return np.asarray((stored.palette == value).all(1)[stored.values])
    if stored.kind == "colour":
        colour = (value,) * 3 if isinstance(value, int) else value
        return np.asarray((stored.values == colour).all(2))
    if not isinstance(value, int):
        if len(set(value)) > 1:
            return np.zeros(stored.values.shape, bool)
        value = value[0]
    return np.asarray(stored.values == value)


def _by_itself(stored: Stored, ignored: np.ndarray | None) -> tuple[np.ndarray, str]:
    """The mask that the values make by themselves, and how; what is ignored has no part in it."""
    counted = np.ones(stored.values.shape[:2], bool) if ignored is None else ~ignored
    if stored.kind == "palette":
        used = [value for value in tally(stored.values[counted]) if value]
        seen = stored.palette[[0, *used] if (counted & (stored.values == 0)).any() else used]
        if stored.palette[0].any() and (not used or (seen == 0).all(1).any()):
            # background is not the first colour, or nothing but that is there
            return _by_itself(_rgb(stored.palette[stored.values], lossy=False), ignored)
        if len(used) > 1:
            raise _unclear(stored, counted)
        mask = np.where(counted & (stored.values != 0), np.uint8(255), np.uint8(0))
        return mask, f"index {used[0]}" if used else "nothing"
    if stored.kind == "colour":
        return _one_colour(stored, counted)
    values = np.where(counted, stored.values, 0)
    if stored.largest > 255:
        values = scale_16_bit(values).astype(np.int32)
        if values.max() < 128 and stored.values[counted].any():  # numbers, not greys
            raise _unclear(stored, counted)
    return _greys(values, stored, counted)


def _greys(values: np.ndarray, stored: Stored, counted: np.ndarray) -> tuple[np.ndarray, str]:
    counts = tally(values)
    largest = max(counts, default=0)
    if largest <= 1:
        ones = largest == 1 and stored.largest == 255
        return (values * 255 if ones else values).astype(np.uint8), "1" if ones else "nothing"
    flat = flat_counts(values) if may_be_flat(counts) else {}
    if classes_of(counts, flat, lossy=stored.lossy):
        raise _unclear(stored, counted)
    return values.astype(np.uint8), "255"


def _one_colour(stored: Stored, counted: np.ndarray) -> tuple[np.ndarray, str]:
    """Black and one colour: how much of the colour every pixel has."""
    pixels = np.where(counted[..., None], stored.values, np.uint8(0))
    step = 32 if stored.lossy else 1
    coarse = pixels
    if stored.lossy:
        coarse = ((pixels.astype(np.int32) + step // 2) // step * step).clip(0, 255)
    seen = tally(_packed(coarse))
    dark = 48 if stored.lossy else 0
    colours = {c: n for c, n in seen.items() if max(_unpacked(c)) > dark}
    if not colours:
        return np.zeros(counted.shape, np.uint8), "nothing"
    common = max(colours.values())
    colour = np.array(
        max((_unpacked(c) for c, n in colours.items() if n >= 0.05 * common), key=sum), np.float32
    )
    channels = [pixels[..., i].astype(np.float32) for i in range(3)]  # each alone is quicker
    if stored.lossy:
        near = _farthest(channels, colour) <= step
        colour = np.round(pixels[near].mean(0)).astype(np.float32) if near.any() else colour
    weights = colour / (colour @ colour)
    amount = sum(c * w for c, w in zip(channels, weights, strict=True)).clip(0, 1)
    apart = _farthest([c - amount * w for c, w in zip(channels, colour, strict=True)], np.zeros(3))
    shown = np.maximum.reduce(channels) > dark
    off = shown & (apart > (96 if stored.lossy else 24))
    grey = np.round(amount * 255).astype(np.int32)
    among = max(1, int(shown.sum()))
    half = (grey > 48) & (grey < 208)  # edges: few, unless it is a photograph
    if off.sum() > (0.2 if stored.lossy else 0.02) * among or half.sum() > 0.5 * among:
        raise _unclear(stored, counted)
    mask, _ = _greys(grey, stored, counted)
    red, green, blue = (int(channel) for channel in colour)
    return mask, value_name((red, green, blue))


def _farthest(channels: Sequence[np.ndarray], colour: np.ndarray) -> np.ndarray:
    """How far each pixel is from a colour, in the channel where it is farthest."""
    return np.asarray(
        np.maximum.reduce([np.abs(c - w) for c, w in zip(channels, colour, strict=True)])
    )


def _packed(pixels: np.ndarray) -> np.ndarray:
    wide = pixels.astype(np.int32)
    return np.asarray(wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2])


def _unpacked(code: int) -> tuple[int, int, int]:
    return code >> 16, code >> 8 & 255, code & 255


def _unclear(stored: Stored, counted: np.ndarray) -> ImageError:
    values = Stored(stored.kind, stored.values[counted][:, None], stored.largest).counts()
    greys = [value for value in values if isinstance(value, int)]
    largest = f"; the largest value of this mask is {max(greys)}" if stored.kind == "grey" else ""
    kind = " (indices of its palette)" if stored.kind == "palette" else ""
    return ImageError(
        f"it holds {listed(values)}{kind}, so it is unclear what the object is{largest}; needed "
        f"are 0 and 1, or 0 for background and 255 for object: {offered()}"
    )


def offered() -> str:
    """What to do about values that are unclear."""
    return "tell `object_values`, or `ignore_value` (numbers or #rrggbb), or change the masks"


def listed(counts: dict[MaskValue, int], limit: int = 8) -> str:
    """Values with their share, the most frequent first: `0 (71.0 %), 255 (20.5 %)`."""
    total = max(1, sum(counts.values()))
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    parts = [f"{value_name(value)} ({100 * n / total:.1f} %)" for value, n in ordered[:limit]]
    more = f" and {len(ordered) - limit:,} more values" if len(ordered) > limit else ""
    return ", ".join(parts) + more
