"""A function of the user's own as an engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from PIL import Image

from dsunet.errors import ConfigError
from dsunet.network.function import ImageFunction
from dsunet.predict.engines.base import Size
from dsunet.predict.engines.torch import TorchThreads

__all__ = ["FunctionEngine"]


class FunctionEngine(TorchThreads[Image.Image]):
    """Runs a function of an image, one image after the other.

    Args:
        function: The function.
        device: Noted alone; the function decides where it computes.
        dtype: The same of its number type.
        settings: Of which none may be asked for.
        identity: Its name and a sum over its code, see `CustomSource.identity`.

    Raises:
        ConfigError: A quicker copy is asked for.
    """

    def __init__(
        self,
        function: ImageFunction,
        device: torch.device,
        dtype: torch.dtype,
        settings: Mapping[str, bool],
        identity: Mapping[str, str | None],
    ) -> None:
        if asked := ", ".join(name for name, wanted in settings.items() if wanted):
            raise ConfigError(f"{asked}: that is for networks, but {function.name} is a function")
        self.name = function.name
        self.model = self.original = function
        self.device = device
        self.dtype = dtype
        self.settings = settings
        self._identity = identity

    @property
    def parameters(self) -> int:
        """None that anybody could count."""
        return 0

    def identity(self) -> dict[str, str | None]:
        return {"sha256": None, **self._identity}

    def prepare(self, picture: Image.Image, size: Size | None = None) -> Image.Image:
        return picture

    def probabilities(self, prepared: Sequence[Image.Image]) -> list[np.ndarray]:
        return [self.model(picture) for picture in prepared]
