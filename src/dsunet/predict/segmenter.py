"""One image → a mask at its own size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from dsunet.checkpoint import find_weights
from dsunet.config import as_size
from dsunet.data.images import read_image
from dsunet.data.pixels import to_rgb
from dsunet.data.views import Views, make_views
from dsunet.devices import Precision, choose_device, choose_precision
from dsunet.errors import ImageError
from dsunet.inference import lay_out, predict_probabilities, quantise
from dsunet.model import DSUNet, load
from dsunet.visualize import cutout, overlay

__all__ = ["Segmentation", "Segmenter"]


@dataclass(frozen=True)
class Segmentation:
    """One image and where its object is."""

    image: Image.Image
    """RGB, turned as its EXIF orientation says."""
    probability: np.ndarray
    """H×W float32 in 0..1, at the image's own size."""

    def binary(self, threshold: float = 0.5) -> np.ndarray:
        """The object: H×W bool, true from `threshold` on."""
        return self.probability >= threshold

    def map(self, *, benchmark_normalization: bool = False) -> np.ndarray:
        """The probability as H×W uint8, see `dsunet.inference.quantise`."""
        return quantise(self.probability, benchmark_normalization=benchmark_normalization)

    def overlay(self, threshold: float = 0.5) -> Image.Image:
        """The image with the object tinted and outlined: RGB."""
        return overlay(self.image, self.probability, threshold)

    def cutout(self) -> Image.Image:
        """The image on a transparent background: RGBA."""
        return cutout(self.image, self.probability)


class Segmenter:
    """A model ready to segment images.

    Args:
        model: A model, or the path of a weights file or of a run's folder.
        device: `auto`, `cpu`, `cuda`, `cuda:1`, `mps`.
        precision: `auto`, `float32`, `bfloat16` or `float16`; see `choose_precision`.
        hiera_weights: File with the Hiera weights that the weights file refers to.
        dinov2_weights: File with the DINOv2 weights that it refers to.

    Raises:
        CheckpointError: The file is missing, broken or not ours.
        DeviceError: The device is not usable.
    """

    def __init__(
        self,
        model: DSUNet | str | Path,
        device: str = "auto",
        precision: Precision = "auto",
        *,
        hiera_weights: str | Path | None = None,
        dinov2_weights: str | Path | None = None,
    ) -> None:
        self.device = choose_device(device)
        self.dtype = choose_precision(precision, self.device)
        self.weights = None if isinstance(model, DSUNet) else find_weights(model)
        network = (
            model
            if isinstance(model, DSUNet)
            else load(model, hiera_weights=hiera_weights, dinov2_weights=dinov2_weights)
        )
        if network.config is None:
            raise ValueError("the model has no config to take its image sizes from")
        self.model = lay_out(network.to(self.device), self.device).eval()
        self.sam_size = as_size(network.config.sam_size)
        self.dino_size = as_size(network.config.dino_size) if network.dinov2 else None

    def __call__(self, image: str | Path | Image.Image | np.ndarray) -> Segmentation:
        """Segments one image: a path, a PIL image, or H×W×3 uint8.

        Raises:
            ImageError: The file cannot be decoded, or the array is no RGB image.
        """
        picture = _as_picture(image)
        views = make_views(picture, self.sam_size, self.dino_size)
        return Segmentation(picture, self.probabilities([views])[0])

    def probabilities(self, views: Sequence[Views]) -> list[np.ndarray]:
        """Probability maps of a batch of views, each H×W float32 at its image's own size."""
        sam = torch.stack([view.sam for view in views]).to(self.device)
        dinos = [view.dino for view in views if view.dino is not None]
        dino = torch.stack(dinos).to(self.device) if dinos else None
        autocast = self.dtype != torch.float32
        with torch.autocast(self.device.type, self.dtype, enabled=autocast):
            return predict_probabilities(self.model, sam, dino, [view.size for view in views])


def _as_picture(image: str | Path | Image.Image | np.ndarray) -> Image.Image:
    if isinstance(image, str | Path):
        return read_image(Path(image))
    if isinstance(image, Image.Image):
        return to_rgb(image)
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ImageError(
            f"the array has shape {image.shape} and type {image.dtype}, but H×W×3 uint8 (RGB) is "
            "needed"
        )
    return Image.fromarray(image)
