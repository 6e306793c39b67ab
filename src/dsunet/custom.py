"""Models of the user's own: networks that train like ours, and functions that map an image.

One rule says what is meant by something callable. A `torch.nn.Module` is a network. A function or
class that can be called without arguments makes the model. A function of one argument is the model:
it takes an image and gives its map.
"""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from dsunet.base import SegmentationModel
from dsunet.checkpoint import find_weights
from dsunet.config import CustomConfig
from dsunet.decoder import SegmentationLogits
from dsunet.encoders import EncoderReference
from dsunet.errors import CheckpointError, CustomModelError, DsunetError, InputSizeError
from dsunet.imports import explain, import_path, resolve
from dsunet.layers import resize_bilinear
from dsunet.weights import ModelFile, custom_config_of, fill_model, read_weights
from dsunet.weights.formats import fingerprint

__all__ = ["CustomModel", "CustomSource", "ImageFunction", "create_custom", "load_custom"]

Size = int | tuple[int, int]
_T = TypeVar("_T")


def _given(value: Size | None, otherwise: _T) -> Size | _T:
    return otherwise if value is None else value


class CustomModel(SegmentationModel):
    """A network of the user's own, with all that training, prediction and saving need.

    Args:
        network: B×3×H×W, normalised by ImageNet's mean and standard deviation → logits B×1×h×w of
            any size, which are resized bilinearly to H×W. It may also give `SegmentationLogits`
            (then all three outputs are trained), or several outputs in a dictionary, a tuple or a
            list, of which `prediction` is taken.
        size: Side of the view in pixels, or height and width; 352 by default.
        dino_size: The same of a second view of the image, for networks that take two.
        prediction: Key or index of the logits among several outputs; a dictionary's `"out"`, as in
            torchvision's models, by default.
        name: What messages and files call it: the import path of what makes it.

    Raises:
        ValueError: A size is no size.
    """

    config: CustomConfig

    def __init__(
        self,
        network: nn.Module,
        size: Size | None = None,
        dino_size: Size | None = None,
        *,
        prediction: int | str | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__()
        if isinstance(network, SegmentationModel) and network.config:  # ours with other parts, say
            first, second = network.view_sizes
            size, dino_size = _given(size, first), _given(dino_size, second)
        self.network = network
        self.prediction = prediction
        self.config = CustomConfig(name or import_path(network), _given(size, 352), dino_size)
        self.training_facts = {}
        # it can fail where a network's code views its maps as contiguous
        self.channels_last = bool(getattr(network, "channels_last", False))

    def forward(
        self,
        sam_image: Tensor,
        dino_image: Tensor | None = None,
        *,
        outputs: Literal["all", "fine"] = "all",
    ) -> SegmentationLogits:
        """Logits at `sam_image`'s size; coarse and middle are `None` unless the network gives them.

        Raises:
            InputSizeError: The network takes two views, and one is given.
            CustomModelError: What the network gives are no logits.
        """
        if self.config.dino_size is not None and dino_image is None:
            raise InputSizeError(f"{self.config.name} takes two views: give dino_image, too")
        views = [sam_image] if dino_image is None else [sam_image, dino_image]
        coarse, middle, fine = self._chosen(self.network(*views))
        if outputs == "fine":
            coarse = middle = None
        return SegmentationLogits(
            None if coarse is None else self._fitted(coarse, sam_image),
            None if middle is None else self._fitted(middle, sam_image),
            self._fitted(fine, sam_image),
        )

    def _chosen(self, given: Any) -> tuple[Any, Any, Any]:
        """The coarse, middle and fine output, the first two of which may be `None`."""
        if isinstance(given, SegmentationLogits):
            return given
        if isinstance(given, Mapping):
            key: Any = "out" if self.prediction is None else self.prediction
            known = ", ".join(map(repr, given))
        elif isinstance(given, list | tuple):
            key = 0 if self.prediction is None and len(given) == 1 else self.prediction
            known = f"0 to {len(given) - 1}"
        else:
            return None, None, given
        try:
            return None, None, given[key]
        except (KeyError, IndexError, TypeError) as error:
            raise CustomModelError(
                f"{self.config.name} gives several outputs ({known}), and which of them is the "
                "prediction is not said: wrap it in dsunet.CustomModel(network, prediction=…), or "
                "give the logits alone, or dsunet.SegmentationLogits(coarse, middle, fine)"
            ) from error

    def _fitted(self, logits: Any, image: Tensor) -> Tensor:
        """Logits at the image's size."""
        batch, _, height, width = image.shape
        is_map = isinstance(logits, Tensor) and logits.is_floating_point() and logits.ndim == 4
        if not is_map or logits.shape[:2] != (batch, 1):
            what = (
                f"{str(logits.dtype).removeprefix('torch.')} of shape {tuple(logits.shape)}"
                if isinstance(logits, Tensor)
                else f"an object of type {type(logits).__name__}"
            )
            raise CustomModelError(
                f"{self.config.name} gives {what} for {batch} images; logits of one channel are "
                f"needed: floats of shape ({batch}, 1, h, w)"
            )
        if logits.shape[-2:] != (height, width):
            logits = resize_bilinear(logits, (height, width))
        return logits  # type: ignore[no-any-return]  # checked to be a tensor


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
        except Exception as error:
            raise CustomModelError(f"{self.name} {explain(error)}") from error
        map_ = given.detach().cpu().numpy() if isinstance(given, Tensor) else np.asarray(given)
        if map_.ndim != 2 or map_.dtype.kind not in "fb" or not map_.size:
            raise self._wrong(f"{map_.dtype} of shape {map_.shape}", picture)
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


@dataclass(frozen=True)
class CustomSource:
    """Something callable that is or makes a model, by the rule at the top of this module."""

    name: str
    """Its import path."""
    target: Callable[..., object]
    sam_size: Size | None = None
    """In place of the size that the model says."""
    dino_size: Size | None = None

    def __post_init__(self) -> None:
        CustomConfig(self.name, _given(self.sam_size, 352), self.dino_size)  # checks the sizes

    @classmethod
    def of(cls, model: CustomSource | str | Callable[..., object]) -> CustomSource:
        """From an import path or the callable itself.

        Raises:
            CustomModelError: Nothing callable is found under the import path.
        """
        if isinstance(model, CustomSource):
            return model
        if isinstance(model, str):
            return cls(model, resolve(model))
        if not callable(model):
            raise CustomModelError(
                f"an object of type {type(model).__name__} is no model: give a torch.nn.Module, a "
                "function that makes one, or a function of an image"
            )
        return cls(
            model.config.name if isinstance(model, CustomModel) else import_path(model), model
        )

    def make(self) -> CustomModel | ImageFunction:
        """The model.

        Raises:
            CustomModelError: It cannot be made, or what is made is no model.
        """
        made: object = self.target
        if not isinstance(made, nn.Module):
            needed = _needed_by(self.target)
            if needed == []:
                try:
                    made = self.target()
                except DsunetError:
                    raise
                except Exception as error:
                    raise CustomModelError(f"{self.name} {explain(error)}") from error
            elif isinstance(made, type) or (needed is not None and len(needed) > 1):
                raise CustomModelError(
                    f"{self.name} needs the arguments {', '.join(needed or ())}; name a function "
                    "that makes the model without any, or one that maps an image, its only argument"
                )
        if isinstance(made, nn.Module):
            return self._as_network(made)
        if not callable(made):
            raise CustomModelError(
                f"{self.name} makes an object of type {type(made).__name__}; a torch.nn.Module, or "
                "a function of an image, is needed"
            )
        return ImageFunction(made, self.name)

    def _as_network(self, made: nn.Module) -> CustomModel:
        model = made if isinstance(made, CustomModel) else CustomModel(made)
        sizes = model.config.sam_size, model.config.dino_size
        if self.dino_size is not None and sizes[1] is None:
            raise CustomModelError(
                f"{self.name} takes one view, so it has no dino_size: leave it out, or make "
                "dsunet.CustomModel(network, dino_size=…) if it takes two"
            )
        model.config = CustomConfig(
            self.name, _given(self.sam_size, sizes[0]), _given(self.dino_size, sizes[1])
        )
        return model

    def network(self) -> CustomModel:
        """The model, which has to be a network.

        Raises:
            CustomModelError: It cannot be made, or is a function of an image.
        """
        made = self.make()
        if isinstance(made, ImageFunction):
            raise CustomModelError(
                f"{self.name} is a function of an image: it can predict, but has no weights; a "
                "torch.nn.Module, or a function without arguments that makes one, is needed"
            )
        return made

    def identity(self) -> dict[str, str | None]:
        """What tells it from another one: its name, and a sum over the file of its code."""
        named = self.target.network if isinstance(self.target, CustomModel) else self.target
        module = sys.modules.get(import_path(named).split(":")[0])
        file = getattr(module, "__file__", None)
        code = hashlib.sha256(Path(file).read_bytes()).hexdigest() if file else None
        return {"model": self.name, "code": code}


def _needed_by(target: Callable[..., object]) -> list[str] | None:
    """The arguments that a callable cannot do without; `None` if it does not say."""
    try:
        parameters = inspect.signature(target).parameters.values()
    except (TypeError, ValueError):  # functions written in C, such as OpenCV's
        return None
    return [
        p.name
        for p in parameters
        if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]


def create_custom(source: CustomSource, weights: str | Path | None = "default") -> CustomModel:
    """A network to train.

    Args:
        source: What makes it.
        weights: A file to start from; `"default"` or `None` takes it as it is made.

    Raises:
        CustomModelError: There is nothing to train.
        CheckpointError: The file does not fit.
    """
    if weights == "encoders":
        raise ValueError(
            f"--weights encoders is for dsunet's models; {source.name} has to load its encoders' "
            "weights by itself"
        )
    if weights is None or weights == "default":
        model = source.network()
        _leave_out_frozen(model, source)
    else:
        model = load_custom(weights, source)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise CustomModelError(f"{source.name} has no parameters that are trained")
    return model.train()


def _frozen(model: nn.Module) -> dict[str, Tensor]:
    return {name: p.detach() for name, p in model.named_parameters() if not p.requires_grad}


def _leave_out_frozen(model: CustomModel, source: CustomSource) -> None:
    """Files need not hold frozen tensors that are made alike every time; a second try tells."""
    frozen = _frozen(model)
    if not frozen or isinstance(source.target, nn.Module):
        return
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(torch.initial_seed() + 1)
        again = _frozen(source.network())
    if frozen.keys() == again.keys() and all(torch.equal(frozen[n], again[n]) for n in frozen):
        model.left_out = frozenset(frozen)
        model.frozen = EncoderReference(source.name, fingerprint(frozen))


def load_custom(path: str | Path, source: CustomSource) -> CustomModel:
    """A network with the weights of a file, ready to predict.

    Args:
        path: A file that `dsunet.save` or a training run wrote, the run's folder, or a state dict
            of the network, as `torch.save` or safetensors writes it.
        source: What makes the network.

    Raises:
        CustomModelError: The network cannot be made.
        CheckpointError: The file is missing, broken, or of another model.
    """
    file = read_weights(find_weights(path), plain=True)
    assert isinstance(file, ModelFile)
    if file.about is not None:
        config = custom_config_of(file)
        if config is None:
            raise CheckpointError(
                f"{file.path} is of {file.about['model'].get('name')}, one of dsunet's models, not "
                f"of {source.name}; leave --model out"
            )
        source = replace(source, sam_size=config.sam_size, dino_size=config.dino_size)
    model = source.network()
    if file.about is None and not file.tensors.keys() <= model.state_dict().keys():
        file = replace(file, tensors={f"network.{n}": t for n, t in file.tensors.items()})
    reference = (file.about or {"encoders": {}})["encoders"].get("frozen")
    if reference:
        rest = {name: p for name, p in _frozen(model).items() if name not in file.tensors}
        if fingerprint(rest) != reference["fingerprint"]:
            raise CheckpointError(
                f"{file.path} was trained with other frozen tensors than {source.name} makes now; "
                "let it make the same ones (from the same file, say)"
            )
        model.left_out = frozenset(rest)
        model.frozen = EncoderReference(source.name, reference["fingerprint"])
    fill_model(model, file)
    return model.eval()
