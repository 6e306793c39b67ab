"""A model that is ready to segment images, and the recipe to make it again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast, overload

import numpy as np
from PIL import Image

from dsunet.config import Options, Precision
from dsunet.config.intensity import as_intensity
from dsunet.config.renamed import takes_old_names
from dsunet.errors import ConfigError, ImageError
from dsunet.predict.engines.base import Engine, Size
from dsunet.predict.engines.choose import check_engine, choose_engine, open_model
from dsunet.predict.engines.ensemble import together
from dsunet.predict.engines.models import Given, Looks, Opened, one_tiling, tile_arguments
from dsunet.predict.engines.tiles import TileEngine
from dsunet.predict.inputs import Given as Picture
from dsunet.predict.inputs import Taken, as_taken, several
from dsunet.predict.members import Member, as_members
from dsunet.predict.outputs import check_classes
from dsunet.predict.pictures import Segmentation
from dsunet.support.imports import resolve
from dsunet.support.processes import work_after_fork
from dsunet.weights import shipped

if TYPE_CHECKING:
    import torch

    from dsunet.network.source import CustomSource

__all__ = ["Recipe", "Segmenter"]

_Picture = TypeVar("_Picture", bound="Picture | torch.Tensor")


@dataclass(frozen=True)
class Recipe:
    """How to make a segmenter again, in another process, say: names and paths alone."""

    model: Path | str | tuple[Recipe, ...]
    """Its weights file; or, as a text, the import path of what makes a model of the user's own; or
    the members of an ensemble, of which model, weights and sizes count."""
    weights: Path | None
    """The file with the weights of a network of the user's own."""
    pyramid_weights: Path | None
    semantic_weights: Path | None
    device: str
    precision: str
    settings: Mapping[str, bool]
    """Which of `fold_batchnorm`, `int8` and `compile` are asked for."""
    engine: str
    sam_size: int | Size | None = None
    """In place of the size that a model of the user's own says, see `CustomSource`."""
    dino_size: int | Size | None = None
    intensity: str = "full"
    """Which stored values of images are black and white, whoever said so."""
    looks: Looks = field(default_factory=Looks)
    blocks: tuple[str, ...] = ()
    """Import paths of the user's own blocks that models from files have."""

    def build(self) -> Segmenter:
        """The segmenter; on a machine like the first one its maps are the same.

        Raises:
            DsunetError: As of `Segmenter`; files or code may be gone meanwhile.
        """
        own = self.weights if isinstance(self.model, str) else None
        return Segmenter(
            self._given(),
            self.device,
            cast(Precision, self.precision),
            weights=own,
            pyramid_weights=self.pyramid_weights,
            semantic_weights=self.semantic_weights,
            engine=self.engine,
            intensity=self.intensity,
            view=self.looks.view,
            flips=self.looks.flips,
            zoom=self.looks.zoom,
            **tile_arguments(self.looks.tiling),
            blocks=self.blocks,
            **self.settings,
        )

    def _given(self) -> Path | CustomSource | list[Member]:
        """What the segmenter takes as model."""
        if isinstance(self.model, Path):
            return self.model
        if isinstance(self.model, tuple):
            members: list[Any] = [
                (each._given(), each.weights) if isinstance(each.model, str) else each._given()
                for each in self.model
            ]
            return members
        from dsunet.network.source import CustomSource

        target = resolve(self.model)
        return CustomSource(self.model, target, self.sam_size, self.dino_size)


class Segmenter:
    """A model ready to segment images, or several whose maps' mean is taken.

    Args:
        model: A model; the path of a weights file, of a run's folder or of a file that `dsunet
            export` has written (`.onnx`, `.xml`), or the name of a model whose weights come with
            the package (by default `dsunet-lite`, small and for the one thing that stands out in
            a photograph); or a model of your own: a `torch.nn.Module`, a function without arguments
            that makes one, or a function that takes an image (RGB, H×W×3 uint8) and gives its map
            (floats in 0..1). See `CustomModel`. A list of any of these is an ensemble, whose map is
            the mean of the members' maps at the image's size; in it a model of your own with
            weights from a file is a pair (model, weights).
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
        engine: What computes: `torch`; `onnx` (onnxruntime) or `openvino` for exported files and
            for models whose weights come with the package; or `auto` for what fits the model: of
            those that come with the package torch if it is installed, and else onnxruntime.
        intensity: Which stored values of images are black and white, see `ModelConfig`; by default
            as the weights say.
        view: Side of the network's (first) view in pixels, or height and width; by default as it
            was trained. A larger one shows finer outlines, takes longer, and is unlike what the
            network has seen.
        flips: Segment every image mirrored, too, and take the mean; takes twice as long.
        zoom: Segment the part around the object again and take the mean there: finer outlines of
            small objects, for up to twice the time.
        tile: Side, in pixels of the image, of the tiles that an image which is larger is cut into;
            each is segmented by itself, and the maps are blended. By default as the weights were
            trained, see `DataConfig.tile`; 0 takes every image as a whole.
        overlap: What neighbouring tiles share at least, of a tile's side: 0 to 0.75; by default as
            the weights say, or 0.25.
        blocks: Blocks of your own that models from files have, or their import paths, see
            `dsunet.load`.

    Raises:
        CheckpointError: The file is missing, broken or not ours.
        CustomModelError: A model of your own cannot be made.
        DeviceError: The device is not usable, or not with `int8` or `compile`.
        ConfigError: Settings do not go together, or there is no such engine.
        MissingPackageError: What the model or the engine needs is not installed.

    Attributes:
        engine: What computes the maps; see `dsunet.predict.engines.base.Engine`.
        weights: The file that its weights are from, as far as they are from one.
        files: All such files, of an ensemble's members.
        identity: What tells a model of your own from another one; empty for dsunet's and ensembles.
        intensity: Which stored values of images are black and white.
        looks: `view`, `flips`, `zoom` and tiles as they were asked for, or as the weights say.
        threshold: From which probability a pixel is object: what `dsunet calibrate` has chosen for
            the weights, else 0.5.
        image_threshold: From which score there is an object in an image, of weights that were
            calibrated on images with and without one; else `None`.
    """

    @takes_old_names
    def __init__(
        self,
        model: Given | list[Member] = shipped.DEFAULT,
        device: str = "auto",
        precision: Precision = "auto",
        *,
        weights: str | Path | None = None,
        pyramid_weights: str | Path | None = None,
        semantic_weights: str | Path | None = None,
        fold_batchnorm: bool = False,
        int8: bool = False,
        compile: bool = False,  # noqa: A002 -- as torch calls it
        engine: str = "auto",
        intensity: str | None = None,
        view: int | Size | None = None,
        flips: bool = False,
        zoom: bool = False,
        tile: int | None = None,
        overlap: float | None = None,
        blocks: Sequence[str | Callable[..., object]] = (),
    ) -> None:
        check_engine(engine)
        self._blocks = tuple(_named(blocks))
        told = None if intensity is None else as_intensity(intensity)
        work_after_fork()
        encoders = {"pyramid_weights": pyramid_weights, "semantic_weights": semantic_weights}
        opened = [
            open_model(each, own, encoders, engine, device)
            for each, own in as_members(model, weights)
        ]
        settings = {"fold_batchnorm": fold_batchnorm, "int8": int8, "compile": compile}
        self.looks = Looks(_as_view(view), flips, zoom, one_tiling(opened, tile, overlap, zoom))
        # the second look is at what all have found, and a tile is the same for all
        once = replace(self.looks, zoom=False, tiling=None)
        engines = [
            choose_engine(engine, each, device, precision, settings, once) for each in opened
        ]
        self.engine: Engine[Any] = self.looks.closer(together(engines))
        self.files = tuple(each.weights for each in opened if each.weights is not None)
        is_one = len(opened) == 1
        self.weights = opened[0].weights if is_one else None
        self.identity = dict(opened[0].identity or {}) if is_one else {}
        self.intensity = told or _one_intensity(opened)
        self.threshold, self.image_threshold = _calibrated(opened)
        self._sources = [each.source for each in opened if each.source is not None]
        self._recipe = self._noted(opened, engine, encoders)

    def _noted(
        self, opened: Sequence[Opened], engine: str, encoders: dict[str, str | Path | None]
    ) -> Recipe | None:
        """The recipe, with paths as they are meant now; `None` with a network in memory."""
        members = []
        for each in opened:
            source = each.source
            model = source.name if source is not None else each.weights
            if model is None:
                return None
            members.append(
                Recipe(
                    model.absolute() if isinstance(model, Path) else model,
                    weights=_absolute(each.weights) if source else None,
                    pyramid_weights=_absolute(encoders["pyramid_weights"]),
                    semantic_weights=_absolute(encoders["semantic_weights"]),
                    # members differ where nobody said, and so they will again
                    device="auto" if "," in str(self.device) else str(self.device),
                    precision="auto" if "," in self.engine.precision else self.engine.precision,
                    settings=self.settings,
                    engine=engine,
                    sam_size=source.sam_size if source else None,
                    dino_size=source.dino_size if source else None,
                    intensity=self.intensity,
                    looks=self.looks,
                    blocks=self._blocks,
                )
            )
        if len(members) == 1:
            return members[0]
        return replace(
            members[0], model=tuple(members), weights=None, sam_size=None, dino_size=None
        )

    @property
    def recipe(self) -> Recipe:
        """How to make this segmenter again in another process: it can be pickled.

        Raises:
            ConfigError: It is made of something that has no name to be found by.
        """
        if self._recipe is None:
            raise ConfigError(
                "this segmenter is of a network in memory, which no other process can make again; "
                "save it (dsunet.save) and give the file as model"
            )
        if lost := [source for source in self._sources if not source.is_found_by_name()]:
            raise ConfigError(
                f"this segmenter is of {lost[0].name}, which no other process finds by that "
                "name; give a function or class that stands in a module by itself, or its import "
                "path PACKAGE.MODULE:NAME"
            )
        return self._recipe

    @property
    def model(self) -> Any:
        """The network, or the function of an image; of an ensemble a tuple of them.

        With `fold_batchnorm`, `int8` or `compile` a copy that is for prediction alone, and the
        given model stays as it is.
        """
        return self.engine.model

    @property
    def original(self) -> Any:
        """The network that such a copy was made of, unless it came from a file."""
        return self.engine.original

    @original.setter
    def original(self, network: Any) -> None:
        self.engine.original = network

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the model's classes; none of a model of one map."""
        return self.engine.classes

    @property
    def exclusive(self) -> bool:
        """Whether a pixel has one of the classes at most."""
        return self.engine.exclusive

    @property
    def settings(self) -> dict[str, bool]:
        """Which of `fold_batchnorm`, `int8` and `compile` were asked for."""
        return dict(self.engine.settings)

    @property
    def device(self) -> torch.device | str:
        """Where it computes: `cpu` for exported files; of an ensemble the names of all places."""
        return self.engine.device

    @property
    def dtype(self) -> torch.dtype | np.dtype[Any]:
        """The number type that it computes in; of exported files, that it gives."""
        return self.engine.dtype

    @property
    def sam_size(self) -> Size:
        """Height and width of Hiera's view, or of the one view; not of functions."""
        return self._views()[0]

    @property
    def dino_size(self) -> Size | None:
        """Height and width of DINOv2's view, of models that have it; not of functions."""
        return self._views()[1]

    def _views(self) -> tuple[Size, Size | None]:
        if self.engine.views is None:
            raise AttributeError(f"{self.engine.name} takes the image as it is, without views")
        return self.engine.views

    @property
    def view(self) -> Size | None:
        """Height and width of the view that maps are made of; `None` of functions."""
        return self.engine.views[0] if self.engine.views else None

    @property
    def largest_side(self) -> int | None:
        """The longest side of the network's views in pixels; `None` of functions."""
        return self.engine.largest_side

    # a file is an iterator, too, but stands for one image
    @overload
    def __call__(self, image: Picture) -> Segmentation: ...  # type: ignore[overload-overlap]

    @overload
    def __call__(
        self,
        image: list[_Picture] | tuple[_Picture, ...] | Iterator[_Picture],
        *,
        batch_size: int = 1,
    ) -> list[Segmentation]: ...

    @overload
    def __call__(
        self, image: torch.Tensor, *, batch_size: int = 1
    ) -> Segmentation | list[Segmentation]: ...

    def __call__(
        self,
        image: Picture | torch.Tensor | Iterable[Picture | torch.Tensor],
        *,
        batch_size: int = 1,
    ) -> Segmentation | list[Segmentation]:
        """Segments one image, or several.

        Args:
            image: One of these, whose colours are in the order RGB, never BGR (of OpenCV's arrays,
                give `array[..., ::-1]`):

                - a path, or the content of a file as bytes or as a binary file open for reading;
                - a PIL image;
                - an array H×W or H×W×1 (grey), H×W×3 (RGB) or H×W×4 (RGBA): uint8, uint16 or floats
                  in 0..1; with an `intensity` any numbers;
                - a tensor H×W, 1×H×W, 3×H×W or 4×H×W of such values, on any device;
                - a list, a tuple or an iterator of any of these, or a tensor B×C×H×W.
            batch_size: Of several, images per pass, and of one in tiles, tiles. Other sizes than 1
                may change the last digit.

        Returns:
            What was found in the image; of several, a list.

        Raises:
            ImageError: An image cannot be decoded, or is none; of several, it says which, counted
                from 0, and nothing is returned.
            ConfigError: `batch_size` is none.
            CustomModelError: What a model of your own gives is no map.
        """
        if batch_size < 1:
            raise ConfigError(f"`batch_size` is {batch_size}, but needs at least 1")
        images = several(image)
        if images is None:
            size = batch_size if self.engine.batches else 1
            return self._segment([as_taken(cast(Picture, image), self.intensity)], size)[0]
        size = batch_size if self.engine.batches else 1
        taken = (_taken(number, each, self.intensity) for number, each in enumerate(images))
        found: list[Segmentation] = []
        while batch := list(islice(taken, size)):
            found += self._segment(batch, size)
        return found

    def _segment(self, taken: Sequence[Taken], batch_size: int = 1) -> list[Segmentation]:
        """Of some images, in one pass."""
        maps = self.in_passes([self.prepare(one.seen) for one in taken], batch_size)
        return [
            self.segmentation(one, probability)
            for one, probability in zip(taken, maps, strict=True)
        ]

    def segmentation(self, taken: Taken, probability: np.ndarray) -> Segmentation:
        """A picture with the map that `probabilities` has made of it."""
        return Segmentation(
            taken.picture,
            probability,
            taken.alpha,
            self._fineness(*probability.shape[-2:]),
            threshold=self.threshold,
            image_threshold=self.image_threshold,
            classes=self.classes,
            exclusive=self.exclusive,
        )

    @property
    def tiles(self) -> TileEngine | None:
        """What segments tile by tile, if that is done."""
        return self.engine if isinstance(self.engine, TileEngine) else None

    def _fineness(self, height: int, width: int) -> Size | None:
        """Height and width of the view of a whole image that would be as fine as its map."""
        view, tiling = self.view, self.looks.tiling
        return view if view is None or tiling is None else tiling.fineness(view, height, width)

    def filled(self, options: Options) -> Options:
        """Options, with what only the model knows: classes, and calibrated thresholds.

        Raises:
            ConfigError: It is to abstain, but nobody says below which score; or options are for
                models of one map, or of several classes, and this one is another.
        """
        check_classes(options, self.classes, self.exclusive)
        image_threshold = options.image_threshold
        if options.abstain and image_threshold is None:
            image_threshold = self.image_threshold
            if image_threshold is None:
                raise ConfigError(
                    f"`abstain` needs the score below which there is no object in an image, and "
                    f"{self.weights or self.engine.name} does not say one: give `image_threshold`, "
                    "or calibrate the model on images with and without an object (dsunet calibrate)"
                )
        return replace(
            options,
            usual_threshold=self.threshold,
            image_threshold=image_threshold if options.abstain else None,
            classes=self.classes,
        )

    def prepare(self, picture: Image.Image, size: Size | None = None) -> Any:
        """What `probabilities` takes of an RGB picture; safe to be done in another thread.

        Args:
            picture: The picture.
            size: Height and width of the map, if they are not the picture's.
        """
        return self.engine.prepare(picture, size)

    def probabilities(self, prepared: Sequence[Any]) -> list[np.ndarray]:
        """Probability maps of some images, each H×W float32 at its image's own size.

        Of a model of C classes C×H×W.

        Raises:
            CustomModelError: What a model of your own gives is no map.
        """
        return self.engine.probabilities(prepared)

    def in_passes(self, prepared: Sequence[Any], batch_size: int) -> list[np.ndarray]:
        """The same, with so many tiles a pass of images that go by tiles."""
        if self.tiles is not None:
            return self.tiles.probabilities(prepared, batch_size)
        return self.probabilities(prepared)


def _calibrated(opened: Sequence[Opened]) -> tuple[float, float | None]:
    """Threshold of a pixel, and of an image if it is known; other values than numbers are not.

    The members' are not those of the mean of their maps.
    """
    told = opened[0].training.get("calibration") if len(opened) == 1 else None
    found = told if isinstance(told, Mapping) else {}
    threshold, of_image = found.get("threshold"), found.get("image_threshold")
    return (
        threshold if isinstance(threshold, float) and 0 <= threshold <= 1 else 0.5,
        of_image if isinstance(of_image, float) and of_image >= 0 else None,
    )


def _one_intensity(opened: Sequence[Opened]) -> str:
    """Which stored values are black and white, as all members have it."""
    told = list(dict.fromkeys(each.intensity for each in opened))
    if len(told) > 1:
        raise ConfigError(
            "the models take other values of images for black and white "
            f"({', '.join(told)}); say which by `intensity`, or leave the odd ones out"
        )
    return told[0]


def _named(blocks: Sequence[str | Callable[..., object]]) -> list[str]:
    """Blocks that the user has named; torch is needed where there are some alone."""
    if not blocks:
        return []
    from dsunet.network.blocks import name_blocks

    return name_blocks(blocks)


def _taken(number: int, image: Picture | torch.Tensor, intensity: str) -> Taken:
    try:
        return as_taken(image, intensity)
    except ImageError as error:
        raise ImageError(f"image {number} of those given: {error}") from error


def _as_view(view: object) -> Size | None:
    """Raises `ConfigError` for what is neither a side nor two of them."""
    if view is None:
        return None
    sides = (view, view) if isinstance(view, int) else view
    if isinstance(sides, list | tuple) and len(sides) == 2:
        height, width = sides
        if type(height) is int and type(width) is int:
            return height, width
    raise ConfigError(f"`view` is {view!r}, but needs a whole number or two, (height, width)")


def _absolute(path: str | Path | None) -> Path | None:
    return None if path is None else Path(path).absolute()
