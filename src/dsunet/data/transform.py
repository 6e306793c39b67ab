"""A change of training pairs that the user has written, named by its import path."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dsunet.errors import DataError, DsunetError
from dsunet.support.imports import explain, resolve

__all__ = ["Transform"]

Changed = tuple[Image.Image, Image.Image, Image.Image | None]


class Transform:
    """Something callable of an image and its mask, which gives both back, changed alike.

    It is called with a `tv_tensors.Image`, 3×H×W uint8 in RGB, and a `tv_tensors.Mask`, 1×H×W uint8
    in 0..255, or 2×H×W where pixels are ignored (255 in the second channel), as the transforms of
    torchvision's v2 take them. It may give back such tensors (or floats in 0..1), arrays (H×W×3 and
    H×W) or PIL images, of any size that both have. Random numbers of torch, NumPy and Python are
    seeded before each call and put back after it.

    Args:
        name: Its import path, of which each process makes it for itself.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def __reduce__(self) -> tuple[type[Transform], tuple[str]]:
        return type(self), (self.name,)

    @cached_property
    def function(self) -> Callable[..., Any]:
        """What is called.

        Raises:
            CustomModelError: Nothing callable is found under the name.
        """
        return resolve(self.name)

    def __call__(
        self,
        image: Image.Image,
        mask: Image.Image,
        ignored: Image.Image | None,
        rng: np.random.Generator,
        pair: str,
    ) -> Changed:
        """The pair, changed.

        Args:
            image: RGB.
            mask: Grey, of the same size.
            ignored: Grey, 255 where a pixel is ignored, or `None`.
            rng: What the seed is drawn from.
            pair: The pair's name, for messages.

        Raises:
            DataError: It fails, or does not give a pair.
            CustomModelError: It is not found.
        """
        from torchvision import tv_tensors  # which takes long to import
        from torchvision.transforms.v2.functional import pil_to_tensor

        function = self.function
        layers = [mask] if ignored is None else [mask, ignored]
        given = tv_tensors.Mask(torch.cat([pil_to_tensor(layer) for layer in layers]))
        try:
            with _seeded(int(rng.integers(2**62))):
                made = function(tv_tensors.Image(pil_to_tensor(image)), given)
        except DsunetError:
            raise
        except Exception as error:
            raise DataError(f"{self.name} (`transform`) {explain(error)}; on {pair}") from error
        if not isinstance(made, tuple | list) or len(made) != 2:
            raise self._odd(pair, f"{_kind(made)}; a pair (image, mask) is needed")
        pixels = _values(made[0], channels=(3,))
        if pixels is None:
            raise self._odd(pair, f"{_kind(made[0])} as image; 3×H×W uint8 is needed")
        changed = _values(made[1], channels=(len(layers),))
        if changed is None:
            raise self._odd(pair, f"{_kind(made[1])} as mask; {len(layers)}×H×W uint8 is needed")
        if pixels.shape[1:] != changed.shape[1:]:
            sizes = ["×".join(map(str, each.shape[1:])) for each in (pixels, changed)]
            raise self._odd(pair, f"an image of {sizes[0]} with a mask of {sizes[1]}")
        return (
            Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0))),
            Image.fromarray(np.ascontiguousarray(changed[0])),
            None if ignored is None else Image.fromarray(np.ascontiguousarray(changed[1])),
        )

    def _odd(self, pair: str, what: str) -> DataError:
        return DataError(f"{self.name} (`transform`) gives {what}; on {pair}")


def _values(given: object, channels: tuple[int, ...]) -> np.ndarray | None:
    """C×H×W uint8 of what a transform gives; `None` if it is no picture of so many channels."""
    if isinstance(given, Image.Image):
        given = np.asarray(given)
    values: np.ndarray
    if isinstance(given, np.ndarray):
        values = given.transpose(2, 0, 1) if given.ndim == 3 else given
    elif isinstance(given, Tensor):
        values = given.detach().cpu().numpy()
    else:
        return None
    values = values[None] if values.ndim == 2 else values
    if values.ndim != 3 or values.shape[0] not in channels or 0 in values.shape:
        return None
    if values.dtype == np.bool_:
        return values.astype(np.uint8) * np.uint8(255)
    if values.dtype.kind == "f" and values.min() >= 0 and values.max() <= 1:
        return (values * 255).round().astype(np.uint8)
    if values.dtype != np.uint8:
        return None
    return np.asarray(values, np.uint8)


def _kind(given: object) -> str:
    if isinstance(given, Tensor | np.ndarray):
        kind = str(given.dtype).removeprefix("torch.")
        return f"{'×'.join(map(str, given.shape))} {kind}"
    return f"an object of type {type(given).__name__}"


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Global random numbers of a seed, and afterwards those of before."""
    torch_state, numpy_state, python_state = (
        torch.random.get_rng_state(),
        np.random.get_state(),
        random.getstate(),
    )
    torch.default_generator.manual_seed(seed)  # the CPU's alone, where pairs are made
    np.random.seed(seed % 2**32)
    random.seed(seed)
    try:
        yield
    finally:
        torch.random.set_rng_state(torch_state)
        np.random.set_state(numpy_state)
        random.setstate(python_state)
