"""A function of the user's own that takes an image and gives its map."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dsunet.errors import CustomModelError
from dsunet.network.layers import resize_bilinear
from dsunet.support.imports import explain

__all__ = ["ImageFunction"]


@dataclass(frozen=True)
class ImageFunction:
    """A function that takes an image, RGB as H×W×3 uint8, and gives a map of it.

    The map is h×w, floats in 0..1 or bool; one of another size is resized bilinearly.
    """

    function: Callable[[np.ndarray], object]
    name: str

    def __call__(self, picture: Image.Image) -> np.ndarray:
        """The map of an RGB picture at its own size: H×W float32 in 0..1.

        Raises:
            CustomModelError: The function fails, or what it gives is no map.
        """
        try:
            given = self.function(np.array(picture))
        except (Exception, SystemExit) as error:
            raise CustomModelError(f"{self.name} {explain(error)}") from error
        map_ = given.detach().cpu().numpy() if isinstance(given, Tensor) else np.asarray(given)
        if map_.ndim != 2 or map_.dtype.kind not in "fb" or not map_.size:
            raise self._wrong(f"{map_.dtype} of shape {map_.shape}", picture)
        if map_.shape == (picture.width, picture.height) and picture.width != picture.height:
            raise self._wrong(f"a map of width×height, {map_.shape}, which is transposed,", picture)
        low, high = float(map_.min()), float(map_.max())
        if not (low >= -1e-4 and high <= 1 + 1e-4):  # nor NaN
            raise self._wrong(f"values from {low:g} to {high:g}", picture)
        values = torch.from_numpy(np.clip(map_.astype(np.float32), 0, 1))[None, None]
        if map_.shape != (picture.height, picture.width):
            values = resize_bilinear(values, (picture.height, picture.width))
        return values[0, 0].numpy()

    def _wrong(self, what: str, picture: Image.Image) -> CustomModelError:
        return CustomModelError(
            f"{self.name} gives {what} for an image of {picture.height}×{picture.width}; a map is "
            "needed: height×width, floats in 0..1"
        )
