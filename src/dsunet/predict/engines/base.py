"""What an engine is: views in, map out, and what it can do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    import torch

__all__ = ["Engine", "Size"]

Size = tuple[int, int]

# What an engine makes of a picture before it computes, such as views of it.
_Prepared = TypeVar("_Prepared")


class Engine(ABC, Generic[_Prepared]):
    """Something that computes the map of an image.

    Attributes:
        name: What messages call the model.
        model: What computes: a network, or a function.
        original: The network of which `model` is a quicker copy; `None` if it is from a file.
        runtime: What it computes with: `torch`, `onnxruntime` or `openvino`; empty for functions.
        device: Where it computes, as torch has it, or by its name.
        dtype: The number type that it computes in, as torch or numpy has it.
        settings: Which quicker copies were asked for, by name.
        batches: Whether several images go in one pass; otherwise what goes wrong with one image
            says nothing of the others.
        classes: Names of the model's classes; none of a model of one map.
        exclusive: Whether a pixel has one of these at most.
        takes_weights: Whether there is anything that weights from a file could be put into.
        out_of_memory: What it raises where its device has too little memory.
    """

    name: str
    model: Any
    original: Any = None
    runtime: str = ""
    device: torch.device | str
    dtype: torch.dtype | np.dtype[Any]
    settings: Mapping[str, bool]
    batches: bool = False
    takes_weights: bool = False
    classes: tuple[str, ...] = ()
    exclusive: bool = False
    out_of_memory: tuple[type[BaseException], ...] = ()

    @property
    def views(self) -> tuple[Size, Size | None] | None:
        """Height and width of the view, and of the second one if there is one.

        `None` if the picture is taken with all its pixels.
        """
        return None

    @property
    def largest_side(self) -> int | None:
        """The longest side of its views in pixels; `None` if it takes all of a picture's."""
        if self.views is None:
            return None
        first, second = self.views
        return max(*first, *(second or ()))

    @property
    def precision(self) -> str:
        """The number type's name."""
        return str(self.dtype).removeprefix("torch.")

    @property
    def threads(self) -> int:
        """How many of this machine's cores are busy while it computes."""
        return 1

    @property
    @abstractmethod
    def parameters(self) -> int:
        """How many numbers the model has learnt."""

    @abstractmethod
    def identity(self) -> dict[str, str | None]:
        """What tells the model from another one.

        `sha256` over the weights, of the file or of the tensors, if there are any; `model` and
        `code` of one of the user's own.
        """

    @abstractmethod
    def prepare(self, picture: Image.Image, size: Size | None = None) -> _Prepared:
        """What `probabilities` takes of an RGB picture; safe to be done in another thread.

        Args:
            picture: The picture.
            size: Height and width of the map, if they are not the picture's.
        """

    @abstractmethod
    def probabilities(self, prepared: Sequence[_Prepared]) -> list[np.ndarray]:
        """Probability maps of some images: H×W float32 in 0..1, each at its image's own size.

        Of a model of C classes C×H×W.

        Raises:
            CustomModelError: What a model of the user's own gives is no map.
        """
