"""A network of torch as an engine: device, number type, memory layout, quicker copies."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from PIL import Image

from dsunet.data.views import Views, make_views
from dsunet.errors import ConfigError
from dsunet.network.base import SegmentationModel
from dsunet.predict.engines.base import Engine, Size
from dsunet.predict.engines.quicker import (
    compile_network,
    fold_batchnorm,
    quantise_encoders,
    run_compiled,
    shared_copy,
)
from dsunet.running.inference import predict_probabilities
from dsunet.running.place import Place, require_unforked
from dsunet.support.files import sha256_of

__all__ = ["TorchEngine", "TorchThreads"]


_Prepared = TypeVar("_Prepared")


class TorchThreads(Engine[_Prepared]):
    """What computes on a device of torch's, with as many threads as torch has."""

    device: torch.device
    dtype: torch.dtype
    out_of_memory = (torch.OutOfMemoryError,)

    @property
    def threads(self) -> int:
        return torch.get_num_threads() if self.device.type == "cpu" else 1


class TorchEngine(TorchThreads[Views]):
    """Runs a network, several images a pass if they come together.

    Args:
        network: The network; it is moved to the device and put into evaluation mode.
        device: Where to compute.
        dtype: The autocast type; float32 for none.
        settings: Of `fold_batchnorm`, `int8` and `compile`, which to do; see `dsunet.Segmenter`.
        weights: The file that its weights are from, if they are from one.
        identity: What tells a network of the user's own, see `CustomSource.identity`.
        view: Height and width of the first view, if they are not the network's.
        flips: Segment mirrored views, too, and take the mean.

    Raises:
        ConfigError: Settings do not go together, or not with the network; or it does not take such
            views.
        DeviceError: The device is not usable with `int8` or `compile`.
        CustomModelError: A network of the user's own cannot be copied.
    """

    batches = True
    takes_weights = True
    runtime = "torch"

    model: SegmentationModel
    original: SegmentationModel | None

    def __init__(
        self,
        network: SegmentationModel,
        device: torch.device,
        dtype: torch.dtype,
        settings: Mapping[str, bool],
        weights: Path | None = None,
        identity: Mapping[str, str | None] | None = None,
        *,
        view: Size | None = None,
        flips: bool = False,
    ) -> None:
        self.name = network.config.name if network.config else type(network).__name__
        self.classes, self.exclusive = network.classes, network.exclusive
        self.device = device
        self.dtype = dtype
        self.settings = settings
        self._views = network.view_sizes if view is None else network.views_with(view)
        self._flips = flips
        self._weights = weights
        self._identity = dict(identity or {})
        self._place = Place(device, dtype)
        network = self._place.settle(network).eval()
        self.original = network if weights is None else None
        self.model = self._made_quicker(network) if any(settings.values()) else network

    def _made_quicker(self, network: SegmentationModel) -> SegmentationModel:
        asked = ", ".join(name for name, wanted in self.settings.items() if wanted)
        if network.only_predicts:
            raise ConfigError(f"{asked}: this model is a copy already ({network.only_predicts})")
        twin = shared_copy(network, asked)
        if self.settings["fold_batchnorm"]:
            if not fold_batchnorm(twin):
                raise ConfigError("fold_batchnorm: no BatchNorm follows a convolution in it")
            if not network.encoders:  # one of the user's own
                self._require_the_same(network, twin)
        if self.settings["int8"]:
            quantise_encoders(twin, self.device, self.dtype)
        if self.settings["compile"]:
            compile_network(twin, self.device)
        return twin

    def _require_the_same(self, network: SegmentationModel, twin: SegmentationModel) -> None:
        """A network of the user's own may use its parts in another order than they stand in."""
        views = [torch.randn(1, 3, *s, device=self.device) for s in network.view_sizes if s]
        with torch.inference_mode():
            expected, actual = network(*views).fine, twin(*views).fine
        if not torch.allclose(expected, actual, rtol=1e-3, atol=1e-3):
            raise ConfigError(
                "fold_batchnorm: this network gives other values then, because it does not use its "
                "parts in the order in which they stand; leave it out"
            )

    @property
    def views(self) -> tuple[Size, Size | None]:
        return self._views

    @property
    def parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.model.parameters())

    def identity(self) -> dict[str, str | None]:
        return {"sha256": self._sum_of_weights(), **self._identity}

    def _sum_of_weights(self) -> str:
        """SHA-256 of the file, or of the tensors of a network without one."""
        if self._weights is not None:
            return sha256_of(self._weights)
        digest = hashlib.sha256()
        network = self.model if self.original is None else self.original
        for name, tensor in network.state_dict().items():
            digest.update(name.encode())
            digest.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    def prepare(self, picture: Image.Image, size: Size | None = None) -> Views:
        views = make_views(picture, *self._views)
        return views if size is None else views._replace(size=size)

    def probabilities(self, prepared: Sequence[Views]) -> list[np.ndarray]:
        """Probability maps of some images: H×W float32 in 0..1, each at its image's own size.

        Raises:
            CustomModelError: What a network of the user's own gives are no logits.
            DeviceError: It cannot be compiled here after all, or this process is forked from one
                that has used the GPU.
        """
        require_unforked(self.device)
        sam = torch.stack([view.sam for view in prepared]).to(self.device)
        dinos = [view.dino for view in prepared if view.dino is not None]
        dino = torch.stack(dinos).to(self.device) if dinos else None
        sizes = [view.size for view in prepared]
        predict = partial(predict_probabilities, self.model, sam, dino, sizes, flips=self._flips)
        with self._place.autocast():
            return run_compiled(predict) if self.settings["compile"] else predict()
