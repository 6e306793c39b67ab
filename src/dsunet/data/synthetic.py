"""A set of pairs made by the computer: textured objects on textured backgrounds.

Half of the objects are salient (another texture and palette than their background), half are
camouflaged (the background's own kind of texture and palette, a little lighter or
darker). Every picture is a
function of the seed and its number alone. Objects can be small ones, too, in large pictures.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from dsunet.errors import ConfigError, OutputError

__all__ = ["OBJECTS", "scattered_pair", "synthetic_pair", "write_synthetic"]

OBJECTS = 6
"""The most small objects of a picture, where nothing else is said."""

_PAINTED = 512  # a large picture's background is painted at this side, and enlarged

Array = np.ndarray
Texture = Callable[[np.random.Generator, Array, Array], Array]


def write_synthetic(
    output: str | Path,
    count: int,
    size: int = 224,
    seed: int = 0,
    *,
    object_size: int | None = None,
    objects: int | None = None,
) -> None:
    """Writes `count` pairs to `images/` and `masks/` in a new or empty folder.

    Args:
        output: The folder.
        count: How many; every second one is camouflaged.
        size: Side in pixels, at least 32.
        seed: The same seed gives the same pictures.
        object_size: Across small objects, in pixels, which are scattered over each picture; without
            it a picture has one that fills much of it.
        objects: The most small objects of a picture, `OBJECTS` by default; some have none.

    Raises:
        OutputError: The folder is not empty.
        ConfigError: `count` or `size` is too small, or objects do not fit.
    """
    if count < 1 or size < 32:
        raise ConfigError(f"count is {count} and size {size}, but at least 1 and 32 are needed")
    _check_scattered(size, object_size, objects)
    root = Path(output)
    if root.exists() and any(root.iterdir()):
        raise OutputError(f"{root} is not empty; choose another folder")
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for number in range(count):
        if object_size is None:
            image, mask = synthetic_pair(number, size, seed)
        else:
            image, mask = scattered_pair(number, size, seed, object_size, objects or OBJECTS)
        name = f"{'camouflaged' if number % 2 else 'salient'}_{number:05d}"
        image.save(root / "images" / f"{name}.jpg", quality=92)
        mask.save(root / "masks" / f"{name}.png")


def synthetic_pair(number: int, size: int = 224, seed: int = 0) -> tuple[Image.Image, Image.Image]:
    """Picture `number` of a set and its mask: RGB and grey (0 or 255), size×size.

    Odd numbers are camouflaged, even ones salient.
    """
    rng = np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, 0, number]))
    camouflaged = bool(number % 2)
    y, x = np.mgrid[0:size, 0:size] / size
    coverage = _object(rng, x, y, size)

    kinds: list[Texture] = [_clouds, _stripes, _cells, _speckle]
    kind = kinds[rng.integers(len(kinds))]
    palette = _palette(rng)
    background = _paint(kind(rng, x, y), palette)
    background *= 0.9 + 0.2 * _noise(rng, size, 2)[..., None]
    if camouflaged:
        change = rng.choice([-1, 1]) * rng.uniform(0.10, 0.18)
        surface = _paint(kind(rng, x, y), palette) * (1 + change)
        shading = 0.12
    else:
        others = [other for other in kinds if other is not kind]
        surface = _paint(others[rng.integers(len(others))](rng, x, y), _palette(rng, palette))
        shading = 0.35

    # light from one side, darker towards the rim, and a soft shadow below
    angle = rng.uniform(0, 2 * np.pi)
    light = (x - 0.5) * np.cos(angle) + (y - 0.5) * np.sin(angle)
    rim = _blur(coverage, 0.06)
    surface *= (1 - shading / 2 + shading * (light + 0.5) * rim)[..., None]
    if not camouflaged:
        shadow = np.roll(_blur(coverage, 0.05), (size // 40, size // 40), (0, 1))
        background *= (1 - 0.35 * shadow)[..., None]

    alpha = coverage[..., None]
    picture = background * (1 - alpha) + surface * alpha
    picture += rng.normal(0, 0.012, picture.shape)
    image = Image.fromarray((np.clip(picture, 0, 1) * 255).astype(np.uint8))
    return image, Image.fromarray(np.where(coverage >= 0.5, 255, 0).astype(np.uint8))


def scattered_pair(
    number: int, size: int = 2000, seed: int = 0, object_size: int = 12, objects: int = OBJECTS
) -> tuple[Image.Image, Image.Image]:
    """Picture `number` of a set with small objects and its mask: RGB and grey (0 or 255).

    Odd numbers are camouflaged, even ones salient. Nothing is made at size×size but the picture
    itself, so that it may be large.

    Args:
        number: Of the picture.
        size: Its side in pixels.
        seed: The same seed gives the same pictures.
        object_size: Across an object, in pixels, give or take a fifth.
        objects: The most of them; from none on, each number is as likely.
    """
    rng = np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, 1, number]))
    camouflaged = bool(number % 2)
    side = min(size, _PAINTED)
    y, x = np.mgrid[0:side, 0:side] / side
    kinds: list[Texture] = [_clouds, _stripes, _cells, _speckle]
    palette = _palette(rng)
    painted = _paint(kinds[rng.integers(len(kinds))](rng, x, y), palette)
    small = Image.fromarray((np.clip(painted, 0, 1) * 255).astype(np.uint8))
    enlarged = small.resize((size, size), Image.Resampling.BICUBIC)
    picture = np.asarray(enlarged, np.float32) / 255
    picture += 0.02 * rng.standard_normal((size, size, 1), np.float32)
    mask = np.zeros((size, size), np.uint8)
    for _ in range(int(rng.integers(0, objects + 1))):
        reach = object_size  # half of the part around it that is painted
        left, top = (int(value) for value in rng.integers(0, size - 2 * reach, 2))
        place = np.s_[top : top + 2 * reach, left : left + 2 * reach]
        coverage = _blob(rng, reach, object_size * rng.uniform(0.8, 1.2) / 2)[..., None]
        if camouflaged:
            surface = picture[place] * (1 + rng.choice([-1, 1]) * rng.uniform(0.15, 0.3))
        else:
            surface = np.asarray(_palette(rng, palette)[1], np.float32)
        picture[place] = picture[place] * (1 - coverage) + surface * coverage
        mask[place][coverage[..., 0] >= 0.5] = 255
    image = Image.fromarray((np.clip(picture, 0, 1) * 255).astype(np.uint8))
    return image, Image.fromarray(mask)


def _check_scattered(size: int, object_size: int | None, objects: int | None) -> None:
    """Raises `ConfigError` if small objects do not fit."""
    if object_size is None:
        if objects is not None:
            raise ConfigError(
                f"objects is {objects}, but is of small ones: give `object_size`, too, or leave it "
                "out"
            )
        return
    if not 4 <= object_size <= size // 4:
        raise ConfigError(
            f"object_size is {object_size}, but needs 4 to {size // 4}, a quarter of `size`"
        )
    if objects is not None and objects < 1:
        raise ConfigError(f"objects is {objects}, but needs at least 1")


def _blob(rng: np.random.Generator, reach: int, radius: float) -> Array:
    """A blob with a wavy outline in the middle of a part: coverage in 0..1, float32."""
    y, x = np.mgrid[0 : 2 * reach, 0 : 2 * reach] - reach + 0.5
    angle = np.arctan2(y, x)
    outline = 1 + sum(
        rng.uniform(0, 0.28 / k) * np.cos(k * angle + rng.uniform(0, 2 * np.pi)) for k in (2, 3)
    )
    edge = radius * outline - np.hypot(x, y)
    return np.asarray(np.clip(edge + 0.5, 0, 1), np.float32)


def _object(rng: np.random.Generator, x: Array, y: Array, size: int) -> Array:
    """One to three overlapping blobs with wavy outlines: coverage in 0..1."""
    centre = rng.uniform(0.32, 0.68, 2)
    coverage = np.zeros_like(x)
    for _ in range(rng.integers(1, 4)):
        radius = rng.uniform(0.11, 0.24)
        place = centre + rng.normal(0, 0.07, 2)
        turn, stretch = rng.uniform(0, np.pi), rng.uniform(1, 1.8)
        u = (x - place[0]) * np.cos(turn) + (y - place[1]) * np.sin(turn)
        v = (y - place[1]) * np.cos(turn) - (x - place[0]) * np.sin(turn)
        distance, angle = np.hypot(u / stretch, v * np.sqrt(stretch)), np.arctan2(v, u)
        outline = 1 + sum(
            rng.uniform(0, 0.28 / k) * np.cos(k * angle + rng.uniform(0, 2 * np.pi))
            for k in range(2, 7)
        )
        edge = (radius * outline - distance) * size
        coverage = np.maximum(coverage, np.clip(edge + 0.5, 0, 1))
    return np.asarray(coverage)


def _palette(rng: np.random.Generator, unlike: Array | None = None) -> Array:
    """Three RGB colours of one mood, 3×3 in 0..1; far from the mean of `unlike`, if given."""
    while True:
        base = rng.uniform(0.15, 0.85, 3)
        colours = np.clip(base + rng.normal(0, 0.13, (3, 3)), 0.02, 0.98)
        if unlike is None or np.abs(colours.mean(0) - unlike.mean(0)).max() > 0.3:
            return np.asarray(colours[np.argsort(colours.sum(1))])


def _paint(field: Array, palette: Array) -> Array:
    """Values in 0..1 → colours between the three of a palette: H×W → H×W×3."""
    position = np.clip(field, 0, 1) * 2
    low = np.clip(position, 0, 1)[..., None]
    high = np.clip(position - 1, 0, 1)[..., None]
    return np.asarray(palette[0] * (1 - low) + palette[1] * (low - high) + palette[2] * high)


def _noise(rng: np.random.Generator, size: int, cells: int) -> Array:
    """Smooth noise in 0..1 with about `cells` bumps along a side."""
    grid = Image.fromarray(rng.random((cells + 2, cells + 2)).astype(np.float32))
    return np.clip(np.asarray(grid.resize((size, size), Image.Resampling.BICUBIC)), 0, 1)


def _blur(field: Array, width: float) -> Array:
    """Blurs by shrinking to cells of `width` (a share of the side) and growing again."""
    size = field.shape[0]
    cells = max(2, round(1 / width))
    small = Image.fromarray(field.astype(np.float32)).resize((cells, cells), Image.Resampling.BOX)
    return np.clip(np.asarray(small.resize((size, size), Image.Resampling.BICUBIC)), 0, 1)


def _clouds(rng: np.random.Generator, x: Array, y: Array) -> Array:
    size = x.shape[0]
    octaves = [(cells, cells**-0.7) for cells in (4, 9, 19, 40)]
    total = sum(weight * _noise(rng, size, cells) for cells, weight in octaves)
    return _spread(np.asarray(total))


def _stripes(rng: np.random.Generator, x: Array, y: Array) -> Array:
    angle, frequency = rng.uniform(0, np.pi), rng.uniform(7, 18)
    bend = 0.12 * _noise(rng, x.shape[0], 4)
    along = x * np.cos(angle) + y * np.sin(angle) + bend
    return np.asarray(0.5 + 0.5 * np.sin(2 * np.pi * frequency * along))


def _cells(rng: np.random.Generator, x: Array, y: Array) -> Array:
    points = rng.uniform(-0.1, 1.1, (rng.integers(40, 110), 2))
    distances = np.hypot(x[..., None] - points[:, 0], y[..., None] - points[:, 1])
    nearest = np.partition(distances, 1, axis=-1)[..., :2]
    return _spread(nearest[..., 1] - nearest[..., 0])


def _speckle(rng: np.random.Generator, x: Array, y: Array) -> Array:
    size = x.shape[0]
    grain = _noise(rng, size, int(rng.integers(28, 48)))
    return _spread(0.75 * (grain > 0.6) + 0.25 * _noise(rng, size, 8))


def _spread(field: Array) -> Array:
    low, high = field.min(), field.max()
    return np.asarray((field - low) / max(high - low, 1e-9))
