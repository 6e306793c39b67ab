"""A network of the user's own with all that training, prediction and saving need of a model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from torch import Tensor, nn

from dsunet.config import CustomConfig
from dsunet.errors import CustomModelError, InputSizeError
from dsunet.network.base import SegmentationModel
from dsunet.network.decoder import SegmentationLogits
from dsunet.network.encoders import EncoderReference
from dsunet.network.fingerprint import fingerprint
from dsunet.network.layers import resize_bilinear
from dsunet.support.imports import import_path

__all__ = ["CustomModel", "Size"]

Size = int | tuple[int, int]


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
            size = first if size is None else size
            dino_size = second if dino_size is None else dino_size
        self.network = network
        self.prediction = prediction
        self.config = CustomConfig(
            name or import_path(network), 352 if size is None else size, dino_size
        )
        self.training_facts = {}
        self._sums: dict[str, str] = {}  # of the tensors in left_out, one by one
        # it can fail where a network's code views its maps as contiguous
        self.channels_last = bool(getattr(network, "channels_last", False))

    def leave_out(self, tensors: Mapping[str, Tensor]) -> None:
        """Lets files do without these tensors of the network, as long as they stay as they are."""
        self._sums = {name: fingerprint({name: tensor}) for name, tensor in tensors.items()}
        self.left_out = frozenset(tensors)
        self.frozen = None
        if tensors:
            self.frozen = EncoderReference(self.config.name, fingerprint(tensors))

    def save_changed(self) -> None:
        own = self.state_dict()
        self.save_too([n for n, s in self._sums.items() if fingerprint({n: own[n]}) != s])

    def save_too(self, names: Iterable[str]) -> None:
        if self.left_out.isdisjoint(names := set(names)):
            return
        own = self.state_dict()
        self.leave_out({name: own[name] for name in self.left_out - names})

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
