"""Which pictures of one set are nearly in another, even with bars around them.

Two pictures are near-duplicates when the perceptual hashes of both differ in few bits and their
thumbnails correlate. Each is compared as it is and, where it has bars of one colour along its
edges, without them: CAMO's training image 00419 is its test image 00120 in a letterbox.
`benchmarks/README.md` says what is found and what is not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from dsunet.data.sources import Source

__all__ = [
    "CORRELATION",
    "HASH_BITS",
    "Signature",
    "describe",
    "near_duplicates",
    "sign",
    "without_bars",
]

# Two pictures are near-duplicates when at most so many of 64 bits differ, and their thumbnails
# correlate at least so much.
HASH_BITS = 10
CORRELATION = 0.9
_THUMBNAIL = 16

# A line of pixels belongs to a bar when its mean distance from the edge's grey, and that of nearly
# all of its pixels, are at most these: the noise that JPEG leaves in an even area.
_MEAN_NOISE = 3.0
_PIXEL_NOISE = 12.0
_NEARLY_ALL = 0.98
# JPEG smears the border between bar and picture over a block; so much of a side it may be.
_SMEARED = 1 / 24
# What has to be left of each side.
_LEAST_LEFT = 0.3
# Bars are looked for at about this many pixels a side.
_LOOK_AT = 128


class Signature(NamedTuple):
    """What a picture looks like: as it is and, if it has bars, without them."""

    source: Source
    hashes: np.ndarray
    """1 to 4 rows of 64 signs, ±1."""
    thumbnails: np.ndarray
    """As many rows of a small grey picture, of mean 0 and length 1."""


def sign(source: Source, image: Image.Image) -> Signature:
    """The signature of a picture; needs the package ImageHash."""
    whole = image.convert("L")
    views = [whole, *without_bars(whole)]
    return Signature(
        source,
        np.stack([_hash(view) for view in views]),
        np.stack([_thumbnail(view) for view in views]),
    )


def without_bars(image: Image.Image) -> list[Image.Image]:
    """A picture without the bars of one colour along its edges; nothing if it has none.

    Without those above and below, without those left and right, and without all, as far as these
    differ: what looks like a bar may be an even background. Where little would be left of a side,
    nothing is cut from it.
    """
    factor = max(1, min(image.size) // _LOOK_AT)
    grey = np.asarray(image.convert("L").reduce(factor), np.float32)
    top, bottom = _inside(grey)
    left, right = _inside(grey.T)
    height, width = grey.shape
    whole = (0, 0, width, height)
    if (left, top, right, bottom) == whole:
        return []
    inner_left, inner_right = _inside(grey[top:bottom].T)
    inner_top, inner_bottom = _inside(grey[:, left:right])
    boxes = [
        (0, top, width, bottom),
        (left, 0, right, height),
        (inner_left, top, inner_right, bottom),
        (left, inner_top, right, inner_bottom),
    ]
    return [_crop(image, box, factor) for box in dict.fromkeys(boxes) if box != whole]


def _inside(lines: np.ndarray) -> tuple[int, int]:
    """Where the picture begins and ends between bars of lines, N×L."""
    first, last = _bar(lines), len(lines) - _bar(lines[::-1])
    return (first, last) if last - first >= _LEAST_LEFT * len(lines) else (0, len(lines))


def _crop(image: Image.Image, box: tuple[int, int, int, int], factor: int) -> Image.Image:
    left, top, right, bottom = (factor * side for side in box)
    return image.crop((left, top, min(right, image.width), min(bottom, image.height)))


def _bar(lines: np.ndarray) -> int:
    """How many of the first lines, N×L, have the first line's grey all along."""
    shade = lines[0].mean()
    if np.abs(lines[0] - shade).mean() > _MEAN_NOISE:
        return 0
    distance = np.abs(lines - shade)
    mean = distance.mean(axis=1)
    even = (mean <= _MEAN_NOISE) & ((distance <= _PIXEL_NOISE).mean(axis=1) >= _NEARLY_ALL)
    if even.all():
        return len(lines)
    end = int(even.argmin())
    # the picture begins where lines become unlike the bar the most
    smeared = mean[end - 1 : end + 1 + int(_SMEARED * len(lines))] if end else mean[:0]
    return end + int(np.diff(smeared).argmax()) if end else 0


def _hash(image: Image.Image) -> np.ndarray:
    import imagehash

    return np.where(imagehash.phash(image).hash.ravel(), 1, -1).astype(np.float32)


def _thumbnail(image: Image.Image) -> np.ndarray:
    small = image.resize((_THUMBNAIL, _THUMBNAIL), Image.Resampling.BOX)
    values = np.asarray(small, np.float32).ravel()
    values -= values.mean()
    norm = float(np.linalg.norm(values))
    return values / norm if norm > 0 else values


def near_duplicates(
    known: Sequence[Signature], asked: Sequence[Signature]
) -> Iterator[tuple[Source, ...]]:
    """Each asked picture that is nearly among the known, and all of these, the likest first."""
    if not known or not asked:
        return
    hashes = np.concatenate([each.hashes for each in known])
    thumbnails = np.concatenate([each.thumbnails for each in known])
    owners = [number for number, each in enumerate(known) for _ in each.hashes]
    for start in range(0, len(asked), 256):
        part = asked[start : start + 256]
        part_hashes = np.concatenate([each.hashes for each in part])
        part_thumbnails = np.concatenate([each.thumbnails for each in part])
        part_owners = [number for number, each in enumerate(part) for _ in each.hashes]
        # of vectors of ±1, the product is 64 less twice the number of bits that differ
        rows, columns = np.nonzero(part_hashes @ hashes.T >= 64 - 2 * HASH_BITS)
        alike = np.einsum("ni,ni->n", part_thumbnails[rows], thumbnails[columns])
        found: dict[int, dict[int, float]] = {}
        for row, column, score in zip(rows, columns, alike, strict=True):
            if score >= CORRELATION:
                scores = found.setdefault(part_owners[row], {})
                other = owners[column]
                scores[other] = max(float(score), scores.get(other, 0.0))
        for one, scores in sorted(found.items()):
            likest = sorted(scores, key=lambda other: (-scores[other], other))
            yield part[one].source, *(known[other].source for other in likest)


def describe(alike: Sequence[Source]) -> str:
    """A picture and those that are nearly alike, in one line."""
    more = f" (and {len(alike) - 2} more)" if len(alike) > 2 else ""
    return f"{alike[0]} and {alike[1]}{more}"
