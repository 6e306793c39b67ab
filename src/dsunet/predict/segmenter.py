"""One image → a mask at its own size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from dsunet.data.images import read_image
from dsunet.data.pixels import to_rgb
from dsunet.data.views import Views, make_views
from dsunet.errors import ConfigError, ImageError
from dsunet.network.base import SegmentationModel
from dsunet.network.custom import CustomModel
from dsunet.network.function import ImageFunction
from dsunet.network.source import CustomSource
from dsunet.predict.engines.quicker import (
    compile_network,
    fold_batchnorm,
    quantise_encoders,
    run_compiled,
    shared_copy,
)
from dsunet.running.inference import lay_out, predict_probabilities, quantise
from dsunet.running.place import Precision, choose_device, choose_precision
from dsunet.visualize import cutout, overlay
from dsunet.weights import shipped
from dsunet.weights.models import load
from dsunet.weights.opened import open_weights

__all__ = ["Segmentation", "Segmenter"]


# An image as the model takes it: its views, or for functions of an image the picture itself.
Prepared = Views | Image.Image


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
        """The probability as H×W uint8, see `dsunet.running.inference.quantise`."""
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
        model: A model; the path of a weights file or of a run's folder, or the name of a model
            whose weights come with the package (by default `dsunet-lite`, small and for the one
            thing that stands out in a photograph); or a model of your own: a
            `torch.nn.Module`, a function without arguments that makes one, or a function that takes
            an image (RGB, H×W×3 uint8) and gives its map (floats in 0..1). See `CustomModel`.
        device: `auto`, `cpu`, `cuda`, `cuda:1`, `mps`.
        precision: `auto`, `float32`, `bfloat16` or `float16`; see `choose_precision`.
        weights: File or run's folder with the weights of a network of your own.
        pyramid_weights: File with the Hiera weights that the weights file refers to.
        semantic_weights: File with the DINOv2 weights that it refers to.
        fold_batchnorm: Put BatchNorms into the convolutions before them: quicker, and the same but
            for the last digits.
        int8: Give the encoders' linear layers 8-bit weights and activations: quicker on CPUs, and
            maps change a little.
        compile: Let `torch.compile` make code for this machine at the first image, which takes a
            while, and once more for another batch size; the same but for the last digits.

    Raises:
        CheckpointError: The file is missing, broken or not ours.
        CustomModelError: A model of your own cannot be made.
        DeviceError: The device is not usable, or not with `int8` or `compile`.
        ConfigError: Settings do not go together.

    Attributes:
        model: The network, or the function of an image; with `fold_batchnorm`, `int8` or `compile`
            a copy that is for prediction alone, and the given model stays as it is.
        original: The network that such a copy was made of, unless it came from a file.
        settings: Which of `fold_batchnorm`, `int8` and `compile` were asked for.
        weights: The file that its weights are from, as far as they are from one.
        identity: What tells a model of your own from another one; empty for dsunet's.
        sam_size: Height and width of Hiera's view, or of the one view; not of functions.
        dino_size: Height and width of DINOv2's view, of models that have it.
    """

    def __init__(
        self,
        model: SegmentationModel
        | CustomSource
        | Callable[..., object]
        | str
        | Path = shipped.DEFAULT,
        device: str = "auto",
        precision: Precision = "auto",
        *,
        weights: str | Path | None = None,
        pyramid_weights: str | Path | None = None,
        semantic_weights: str | Path | None = None,
        fold_batchnorm: bool = False,
        int8: bool = False,
        compile: bool = False,  # noqa: A002 -- as torch calls it
    ) -> None:
        self.device = choose_device(device)
        self.dtype = choose_precision(precision, self.device)
        self.identity: dict[str, str | None] = {}
        self.weights: Path | None = None
        made: SegmentationModel | ImageFunction
        if isinstance(model, str | Path):
            if weights is not None:
                raise ConfigError(
                    f"weights is {weights}, but goes with a network of your own; of dsunet's "
                    "models give the file itself as model"
                )
            opened = open_weights(model)
            self.weights = opened.path
            made = load(opened, pyramid_weights=pyramid_weights, semantic_weights=semantic_weights)
        elif pyramid_weights is not None or semantic_weights is not None:
            raise ConfigError(
                "`pyramid_weights` and `semantic_weights` go with a weights file alone"
            )
        else:
            made = self._made(model, weights)
        if isinstance(made, SegmentationModel):
            self.sam_size, self.dino_size = made.view_sizes
            made = lay_out(made.to(self.device), self.device).eval()
        self.original = made if self.weights is None else None
        self.settings = {"fold_batchnorm": fold_batchnorm, "int8": int8, "compile": compile}
        self.model = self._made_quicker(made) if any(self.settings.values()) else made

    def _made_quicker(self, model: SegmentationModel | ImageFunction) -> SegmentationModel:
        asked = ", ".join(name for name, wanted in self.settings.items() if wanted)
        if isinstance(model, SegmentationModel) and model.only_predicts:
            raise ConfigError(f"{asked}: this model is a copy already ({model.only_predicts})")
        if isinstance(model, ImageFunction):
            raise ConfigError(f"{asked}: that is for networks, but {model.name} is a function")
        twin = shared_copy(model, asked)
        if self.settings["fold_batchnorm"]:
            if not fold_batchnorm(twin):
                raise ConfigError("fold_batchnorm: no BatchNorm follows a convolution in it")
            if isinstance(model, CustomModel):
                self._require_the_same(model, twin)
        if self.settings["int8"]:
            quantise_encoders(twin, self.device, self.dtype)
        if self.settings["compile"]:
            compile_network(twin, self.device)
        return twin

    def _require_the_same(self, model: SegmentationModel, twin: SegmentationModel) -> None:
        """A network of the user's own may use its parts in another order than they stand in."""
        views = [torch.randn(1, 3, *s, device=self.device) for s in model.view_sizes if s]
        with torch.inference_mode():
            expected, actual = model(*views).fine, twin(*views).fine
        if not torch.allclose(expected, actual, rtol=1e-3, atol=1e-3):
            raise ConfigError(
                "fold_batchnorm: this network gives other values then, because it does not use its "
                "parts in the order in which they stand; leave it out"
            )

    def _made(
        self,
        model: SegmentationModel | CustomSource | Callable[..., object],
        weights: str | Path | None,
    ) -> SegmentationModel | ImageFunction:
        if isinstance(model, SegmentationModel) and weights is None:
            return model
        source = CustomSource.of(model)
        self.identity = source.identity()
        if weights is None:
            return source.make()
        opened = open_weights(weights)
        self.weights = opened.path
        return load(opened, model=source)

    @property
    def largest_side(self) -> int:
        """The longest side of the network's views in pixels."""
        return max(*self.sam_size, *(self.dino_size or ()))

    def __call__(self, image: str | Path | Image.Image | np.ndarray) -> Segmentation:
        """Segments one image: a path, a PIL image, or H×W×3 uint8.

        Raises:
            ImageError: The file cannot be decoded, or the array is no RGB image.
        """
        picture = _as_picture(image)
        return Segmentation(picture, self.probabilities([self.prepare(picture)])[0])

    def prepare(self, picture: Image.Image, size: tuple[int, int] | None = None) -> Prepared:
        """What `probabilities` takes of an RGB picture; safe to be done in another thread.

        Args:
            picture: The picture.
            size: Height and width of the map, if they are not the picture's.
        """
        if isinstance(self.model, ImageFunction):
            return picture
        views = make_views(picture, self.sam_size, self.dino_size)
        return views if size is None else views._replace(size=size)

    def probabilities(self, prepared: Sequence[Prepared]) -> list[np.ndarray]:
        """Probability maps of some images, each H×W float32 at its image's own size.

        Raises:
            CustomModelError: What a model of your own gives is no map.
        """
        if isinstance(self.model, ImageFunction):
            return [self.model(each) for each in prepared if isinstance(each, Image.Image)]
        views = [each for each in prepared if isinstance(each, Views)]
        sam = torch.stack([view.sam for view in views]).to(self.device)
        dinos = [view.dino for view in views if view.dino is not None]
        dino = torch.stack(dinos).to(self.device) if dinos else None
        autocast = self.dtype != torch.float32
        predict = partial(
            predict_probabilities, self.model, sam, dino, [view.size for view in views]
        )
        with torch.autocast(self.device.type, self.dtype, enabled=autocast):
            return run_compiled(predict) if self.settings["compile"] else predict()


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
