"""What comes back: the picture with the map of its object."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from dsunet.running.inference import quantise
from dsunet.visualize import cutout, overlay

__all__ = ["Segmentation"]


@dataclass(frozen=True)
class Segmentation:
    """One image and where its object is."""

    image: Image.Image
    """RGB, turned as its EXIF orientation says."""
    probability: np.ndarray
    """H×W float32 in 0..1, at the image's own size."""
    alpha: np.ndarray | None = None
    """The image's own opacity, H×W uint8; `None` if it is opaque everywhere."""

    def binary(self, threshold: float = 0.5) -> np.ndarray:
        """The object: H×W bool, true from `threshold` on."""
        return self.probability >= threshold

    def map(self, *, benchmark_normalization: bool = False) -> np.ndarray:
        """The probability as H×W uint8, see `dsunet.running.inference.quantise`."""
        return quantise(self.probability, benchmark_normalization=benchmark_normalization)

    def overlay(self, threshold: float = 0.5) -> Image.Image:
        """The image with the object tinted and outlined: RGB."""
        return overlay(self.image, self.probability, threshold)

    def cutout(self) -> Image.Image:
        """The image on a transparent background: RGBA."""
        return cutout(self.image, self.probability)
