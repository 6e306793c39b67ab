"""From a map at the view's size and the picture at its own to a clean edge.

Three steps. Where the view's map is half-hearted in the middle of an object, it is made whole, and
crumbs go (`tidied`). Then a guided filter (He, Sun and Tang, "Guided Image Filtering", TPAMI 2013)
makes the map a linear function of the picture's colours in every small neighbourhood, so that its
edge follows the picture's; its coefficients are found at a working size and used at the picture's
own (He and Sun, "Fast Guided Filter", arXiv 1505.00996). Last, the ends of the range are cut, so
that little is left that is half there.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

__all__ = ["refined", "tidied"]

SIDE = 768
"""The working size: the longer side in pixels, at most."""
RADIUS = 4
"""Of the neighbourhoods, in pixels of the working size."""
EPSILON = 1e-3
"""How much a neighbourhood's colours need to vary to say something: a variance, of 0..1."""
ENDS = (0.3, 0.7)
"""What is at most the first is background, and what is at least the second is object."""
CRUMBS = 1 / 128
"""Pieces no square of this radius fits into, as a share of the view's side, are crumbs, or holes
that are small."""
LESSER, SURE = 0.1, 0.85
"""A piece with less than this share of the largest one's area is a ghost, unless the map's mean on
it is at least the second."""
EMPTY = 0.25
"""A hole is one where the map's mean is below this, and otherwise a mistake."""
ROWS = 64
"""How many rows of the picture are worked on at a time."""


def refined(
    probability: np.ndarray, picture: Image.Image, view: tuple[int, int] | None = None
) -> np.ndarray:
    """A map whose edge follows the picture.

    Beside map and picture, a large picture needs about five bytes a pixel.

    Args:
        probability: H×W float32 in 0..1, at the picture's size.
        picture: RGB.
        view: Height and width of the network's view, which is how fine the map is; `None` if it is
            as fine as the picture.

    Returns:
        H×W float32 in 0..1.
    """
    height, width = probability.shape
    fine = view or (SIDE, SIDE)
    small = _resized(probability, min(fine[0], height), min(fine[1], width))
    tidy = tidied(small)
    scale = min(1.0, SIDE / max(height, width))
    rows, columns = max(1, round(height * scale)), max(1, round(width * scale))
    guide = _planes(picture.resize((columns, rows), Image.Resampling.BOX))
    target = _resized(tidy, rows, columns)
    planes = [Image.fromarray(plane) for plane in _coefficients(guide, target)]
    result = np.empty((height, width), np.float32)
    for top in range(0, height, ROWS):
        bottom = min(top + ROWS, height)
        colours = np.asarray(picture.crop((0, top, width, bottom)), np.float32) / 255
        part = (0, top * rows / height, columns, bottom * rows / height)
        red, green, blue, rest = (
            np.asarray(plane.resize((width, bottom - top), Image.Resampling.BILINEAR, part))
            for plane in planes
        )
        strip = red * colours[..., 0] + green * colours[..., 1] + blue * colours[..., 2] + rest
        low, high = ENDS
        result[top:bottom] = ((strip - low) / (high - low)).clip(0, 1)
    return result


def tidied(small: np.ndarray) -> np.ndarray:
    """A map without see-through places in the middle of objects, and without crumbs and ghosts.

    Enclosed places below 0.5 are filled if they are half-hearted, or small; a handle's hole stays.
    Small pieces of object go, unless there are no others, and so do half-hearted ones beside one
    that is ten times as large. Two pixels and more away from the edge, all is object or background.

    Args:
        small: H×W float32 in 0..1, at the view's size.
    """
    found = small >= 0.5
    if not found.any() or found.all():
        return small
    result = small.copy()
    edge = np.zeros_like(found)
    edge[[0, -1]] = edge[:, [0, -1]] = True
    inside = ~found & ~_holding(edge & ~found, _pieces(~found))
    radius = int(min(small.shape) * CRUMBS)
    if inside.any():
        holes = _large(inside, radius)
        _, means = _areas_and_means(holes, small)
        filled = inside & ((holes == 0) | (means >= EMPTY)[holes])
        result[filled | (_grown(filled) & found)] = 1
    pieces = _large(found, radius)
    if pieces.any():
        areas, means = _areas_and_means(pieces, small)
        kept = (pieces > 0) & ((areas >= LESSER * areas.max()) | (means >= SURE))[pieces]
        crumbs = found & ~kept
        result[crumbs | (_grown(crumbs) & ~_grown(kept))] = 0
    whole = result >= 0.5
    result[~_grown(whole)] = 0
    result[~_grown(~whole)] = 1
    return result


def _large(mask: np.ndarray, radius: int) -> np.ndarray:
    """Those of `_pieces` that a square of this radius fits into; the others are 0."""
    pieces = _pieces(mask)
    if radius < 1:
        return pieces
    size = 2 * radius + 1
    core = np.zeros_like(mask)
    if min(mask.shape) >= size:
        outside = np.pad(~mask, ((1, 0), (1, 0))).cumsum(0, np.int32).cumsum(1, np.int32)
        rows = outside[size:] - outside[:-size]
        core[radius:-radius, radius:-radius] = rows[:, size:] == rows[:, :-size]
    return np.where(_holding(core, pieces), pieces, 0)


def _grown(mask: np.ndarray) -> np.ndarray:
    """A mask and what is at most two pixels away."""
    for _ in range(2):
        mask = mask.copy()
        for one, other in ((mask[1:], mask[:-1]), (mask[:, 1:], mask[:, :-1])):
            before = one.copy()
            one |= other
            other |= before
    return mask


def _holding(seeds: np.ndarray, pieces: np.ndarray) -> np.ndarray:
    """Where those of `_pieces` are that hold a seed; seeds lie in pieces."""
    hit = np.zeros(int(pieces.max()) + 1, bool)
    hit[pieces[seeds]] = True
    return np.asarray(hit[pieces])


def _areas_and_means(pieces: np.ndarray, small: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The pixels of each of `_pieces`, and the map's mean on them; of the outside both are 0."""
    areas = np.bincount(pieces.ravel())
    sums = np.bincount(pieces.ravel(), small.ravel())
    areas[0] = sums[0] = 0
    return areas, sums / np.maximum(areas, 1)


def _pieces(mask: np.ndarray) -> np.ndarray:
    """The pieces of a mask, numbered from 1; 0 is outside: H×W. Pixels touch by their sides.

    The least number in each whole run of a row, then of a column, goes to all of the run, until
    nothing is new.
    """
    places = np.arange(mask.size, dtype=np.int32).reshape(mask.shape)
    numbers = np.where(mask, places, np.int32(mask.size))
    rows, columns = _starts(mask), _starts(mask.T)
    while True:
        before = numbers
        numbers = _least(_least(numbers, rows).T, columns).T
        if np.array_equal(numbers, before):
            break
    named = np.zeros(mask.size + 1, np.int32)
    firsts = numbers[numbers == places]
    named[firsts] = np.arange(1, len(firsts) + 1)
    return np.asarray(named[numbers])


def _starts(mask: np.ndarray) -> np.ndarray:
    """Where the runs of equal values in the rows start, in a mask whose rows follow each other."""
    starts = np.ones(mask.shape, bool)
    starts[:, 1:] = mask[:, 1:] != mask[:, :-1]
    return np.flatnonzero(starts)


def _least(numbers: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """The least number of each run, for all of it."""
    least = np.minimum.reduceat(numbers.ravel(), starts)
    lengths = np.diff(starts, append=numbers.size)
    return np.repeat(least, lengths).reshape(numbers.shape)


def _coefficients(guide: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Of the guided filter with a guide in colour (equations 19 to 21 of its paper): 4×H×W.

    Args:
        guide: 3×H×W.
        target: H×W.
    """
    red, green, blue = guide
    products = np.stack(
        [red * red, red * green, red * blue, green * green, green * blue, blue * blue]
    )
    means = _means(np.concatenate([guide, target[None], guide * target, products]))
    colours, mean = means[:3], means[3]
    shared = means[4:7] - colours * mean
    pairs = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))
    rr, rg, rb, gg, gb, bb = (
        product - colours[i] * colours[j] + np.float32(EPSILON if i == j else 0)
        for product, (i, j) in zip(means[7:], pairs, strict=True)
    )
    # the inverse of a symmetric 3×3 matrix
    adjugate = (
        (gg * bb - gb * gb, gb * rb - rg * bb, rg * gb - gg * rb),
        (gb * rb - rg * bb, rr * bb - rb * rb, rb * rg - rr * gb),
        (rg * gb - gg * rb, rb * rg - rr * gb, rr * gg - rg * rg),
    )
    determinant = rr * adjugate[0][0] + rg * adjugate[0][1] + rb * adjugate[0][2]
    slopes = np.stack(
        [sum((a * s for a, s in zip(row, shared, strict=True)), start=0 * rr) for row in adjugate]
    )
    slopes /= determinant
    rest = mean - (slopes * colours).sum(0)
    return _means(np.concatenate([slopes, rest[None]]))


def _means(planes: np.ndarray) -> np.ndarray:
    """Means of the neighbourhoods of every pixel, as far as they are in the picture: C×H×W."""
    return np.stack([_mean_along(_mean_along(plane, 0), 1) for plane in planes])


def _mean_along(plane: np.ndarray, axis: int) -> np.ndarray:
    """Means over 2 · `RADIUS` + 1 values: sums of 1, 2, 4 … neighbours make up that number."""
    length = plane.shape[axis]
    ends = [(RADIUS, RADIUS) if i == axis else (0, 0) for i in range(plane.ndim)]
    sums = np.pad(plane, ends)
    totals = np.zeros_like(plane)
    width, start = 2 * RADIUS + 1, 0
    for power in range(width.bit_length()):
        number = 2**power
        if power:
            half, rest = number // 2, sums.shape[axis] - number // 2
            sums = _part(sums, axis, 0, rest) + _part(sums, axis, half, rest)
        if width & number:
            totals += _part(sums, axis, start, length)
            start += number
    places = np.arange(length)
    counts = (places + RADIUS + 1).clip(None, length) - (places - RADIUS).clip(0, None)
    shares = (1 / counts).astype(np.float32)
    totals *= shares[:, None] if axis == 0 else shares
    return totals


def _part(plane: np.ndarray, axis: int, start: int, length: int) -> np.ndarray:
    stop = start + length
    return plane[start:stop] if axis == 0 else plane[:, start:stop]


def _planes(picture: Image.Image) -> np.ndarray:
    values = np.asarray(picture, np.float32) / 255
    return np.ascontiguousarray(values.transpose(2, 0, 1))


def _resized(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinearly; an average where it shrinks."""
    size = (width, height)
    return np.array(Image.fromarray(values).resize(size, Image.Resampling.BILINEAR))
