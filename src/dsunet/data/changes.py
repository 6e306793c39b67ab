"""Random changes of a training pair by torchvision, beside flips and crops.

What is not seen does not count: the outside of a turned picture, and what is cut out, are grey in
the image and ignored in the mask. Each change draws from numbers of its own, so that none changes
another's.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from dsunet.config import IMAGENET_MEAN
from dsunet.config.augment import CHANGES, MOVING, Change

__all__ = ["Drawn", "change_image", "describe", "draw", "move", "move_mask"]

_GREY = tuple(round(255 * mean) for mean in IMAGENET_MEAN)
"""What the network sees as zeros."""

_FIRST_PURPOSE = 16
"""Number of the first change's draws; flips, crops and colours have others."""

_BEST_QUALITY = 95
_HUE = 0.2
"""Of the strength of a change of colours, as a share of the circle of hues."""


class Drawn(NamedTuple):
    """A change that happens."""

    name: str
    amount: float
    """Degrees clockwise, factor, standard deviation, quality, or share."""
    rng: np.random.Generator
    """For what else is random in it."""


def draw(changes: Sequence[Change], draws: Callable[[int], np.random.Generator]) -> list[Drawn]:
    """Which of some changes happen, and how strongly.

    Args:
        changes: What is asked for.
        draws: Gives the random numbers of a purpose, by its number.
    """
    happening = []
    for change in changes:
        rng = draws(_FIRST_PURPOSE + list(CHANGES).index(change.name))
        if rng.random() < change.chance:
            happening.append(Drawn(change.name, _amount(change, rng), rng))
    return happening


def _amount(change: Change, rng: np.random.Generator) -> float:
    if change.name == "rotate":
        return float(rng.uniform(-change.strength, change.strength))
    if change.name == "scale":
        most = math.log(change.strength)
        return math.exp(rng.uniform(-most, most))
    if change.name == "jpeg":
        return float(rng.integers(round(change.strength), _BEST_QUALITY + 1))
    if change.name == "colour":
        return change.strength
    return float(rng.uniform(0.1, 1)) * change.strength


def describe(drawn: Sequence[Drawn]) -> str:
    """In words, with the amounts."""
    return ", ".join(f"{each.name} {each.amount:.2g}" for each in drawn)


def move(
    image: Image.Image, mask: Image.Image, ignored: Image.Image | None, drawn: Sequence[Drawn]
) -> tuple[Image.Image, Image.Image, Image.Image | None]:
    """A pair turned and scaled about its middle, of the same size.

    Args:
        image: RGB.
        mask: Grey, of the same size.
        ignored: 255 where a pixel is ignored, of the same size; `None` if none is.
        drawn: What happens; those that do not move pixels are left out.
    """
    if not any(each.name in MOVING for each in drawn):
        return image, mask, ignored
    before = Image.new("L", image.size) if ignored is None else ignored
    outside = _moved(before, drawn, 255, smooth=False)
    moved = _moved(image, drawn, _GREY), _moved(mask, drawn, 0)
    return *moved, outside if outside.getbbox() else None


def move_mask(mask: Image.Image, drawn: Sequence[Drawn]) -> Image.Image:
    """A further mask of a pair, turned and scaled as `move` does with the first."""
    return _moved(mask, drawn, 0) if any(each.name in MOVING for each in drawn) else mask


def _moved(
    picture: Image.Image, drawn: Sequence[Drawn], fill: Any, *, smooth: bool = True
) -> Image.Image:
    from torchvision.transforms.v2 import InterpolationMode

    amounts = {each.name: each.amount for each in drawn if each.name in MOVING}
    turned: Image.Image = _functional().affine(
        picture,
        angle=amounts.get("rotate", 0.0),
        translate=[0, 0],
        scale=amounts.get("scale", 1.0),
        shear=[0.0, 0.0],
        interpolation=InterpolationMode.BILINEAR if smooth else InterpolationMode.NEAREST,
        fill=fill,
    )
    return turned


def change_image(
    image: Image.Image,
    mask: Image.Image,
    ignored: Image.Image | None,
    drawn: Sequence[Drawn],
    largest: tuple[int, int],
) -> tuple[Image.Image, Image.Image | None]:
    """A picture whose colours and pixels are changed, and what of it is ignored.

    Args:
        image: RGB.
        mask: Grey, which does not change; larger than a preview of the image.
        ignored: 255 where a pixel is ignored, of the size of the mask; `None` if none is.
        drawn: What happens; those that move pixels are left out.
        largest: Width and height of the largest view. A larger picture is shrunk to it first, so
            that blur and noise are in pixels that the network sees.
    """
    still = [each for each in drawn if each.name not in MOVING]
    if not still:
        return image, ignored
    size = image.size
    small = min(size[0], largest[0]), min(size[1], largest[1])
    if small != size:
        image = image.resize(small, Image.Resampling.BILINEAR)
    for each in still:
        if each.name == "cutout":
            left, top, right, bottom = _hole(each)
            ignored = Image.new("L", mask.size) if ignored is None else ignored.copy()
            for picture, colour in ((image, _GREY), (ignored, 255)):
                across, down = picture.size
                box = (left * across, top * down, right * across, bottom * down)
                picture.paste(colour, tuple(round(side) for side in box))  # type: ignore[arg-type]
        else:
            image = _CHANGED[each.name](image, each)
    return image, ignored


def _hole(drawn: Drawn) -> tuple[float, float, float, float]:
    """Left, top, right and bottom in shares of the sides."""
    width, height = drawn.amount, drawn.amount * float(drawn.rng.uniform(0.5, 1))
    left, top = (float(drawn.rng.uniform(0, 1 - side)) for side in (width, height))
    return left, top, left + width, top + height


def _colour(image: Image.Image, drawn: Drawn) -> Image.Image:
    """As torchvision's `ColorJitter`."""
    functional, rng, strength = _functional(), drawn.rng, drawn.amount
    ways = (
        functional.adjust_brightness,
        functional.adjust_contrast,
        functional.adjust_saturation,
        functional.adjust_hue,
    )
    for number in rng.permutation(len(ways)):
        is_hue = number == len(ways) - 1
        by = float(rng.uniform(-strength, strength))
        image = ways[number](image, by * _HUE if is_hue else 1 + by)
    return image


def _blur(image: Image.Image, drawn: Drawn) -> Image.Image:
    reach = min(math.ceil(3 * drawn.amount), min(image.size) - 1)
    side = 2 * reach + 1
    blurred: Image.Image = _functional().gaussian_blur(image, [side, side], [drawn.amount] * 2)
    return blurred


def _noise(image: Image.Image, drawn: Drawn) -> Image.Image:
    pixels = np.asarray(image, np.float32)
    noise = drawn.rng.standard_normal(pixels.shape, np.float32) * np.float32(drawn.amount)
    return Image.fromarray((pixels + noise).round().clip(0, 255).astype(np.uint8))


def _jpeg(image: Image.Image, drawn: Drawn) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=int(drawn.amount))
    return Image.open(file).convert("RGB")


_CHANGED: dict[str, Callable[[Image.Image, Drawn], Image.Image]] = {
    "colour": _colour,
    "blur": _blur,
    "noise": _noise,
    "jpeg": _jpeg,
}


def _functional() -> Any:
    """Torchvision's functions of pictures; importing them takes a second."""
    from torchvision.transforms.v2 import functional

    return functional
