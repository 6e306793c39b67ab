"""An exported file as an engine: onnxruntime computes, without torch's network."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from dsunet.data.views import Views, make_views
from dsunet.errors import CheckpointError, ConfigError, DeviceError, MissingPackageError
from dsunet.predict.engines.base import Engine, Size
from dsunet.running.inference import probabilities_of
from dsunet.support.files import sha256_of
from dsunet.support.processes import available_cores
from dsunet.weights.exported import INPUTS, FileFacts, read_facts

__all__ = ["OnnxEngine", "OnnxFile"]


class OnnxFile:
    """An ONNX file of ours, opened.

    Nothing in such a file is code; weights beside it are read from its own folder alone, which
    onnxruntime sees to.

    As many threads compute as there are processors for this process, or as `OMP_NUM_THREADS` says.

    Args:
        path: The file.

    Raises:
        MissingPackageError: onnxruntime is not installed.
        CheckpointError: There is no such file, it is broken, or none of ours.

    Attributes:
        facts: What it says about itself.
    """

    def __init__(self, path: str | Path) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise MissingPackageError(
                f"{path} needs the package onnxruntime; pip install 'dsunet[onnx]'"
            ) from error
        self.path = Path(path)
        if not self.path.is_file():
            raise CheckpointError(f"there is no file {path}")
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # errors come as exceptions
        options.intra_op_num_threads = _threads()
        options.enable_cpu_mem_arena = False  # it would grow with every new size of a batch
        try:
            self._session: Any = onnxruntime.InferenceSession(
                self.path, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's errors have no common base
            raise CheckpointError(
                f"{path} cannot be opened: {_reason(error, self.path)}"
            ) from error
        self.facts: FileFacts = read_facts(self._session.get_modelmeta().custom_metadata_map, path)
        names = [given.name for given in self._session.get_inputs()]
        wanted = list(INPUTS[: 1 + (self.facts.views[1] is not None)])
        if names != wanted:
            raise CheckpointError(
                f"{path} has the inputs {', '.join(names)}, but says that they are "
                f"{', '.join(wanted)}; export the model again"
            )

    def __call__(self, *views: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Probability and logits, each B×1×H×W float32, of B×3×H×W float32 views."""
        given = dict(zip(INPUTS, views, strict=False))
        probability, logits = self._session.run(("probability", "logits"), given)
        return probability, logits


class OnnxEngine(Engine[Views]):
    """Runs an exported file on the CPU.

    Args:
        file: The file.
        device: Where to compute; the CPU is all there is.
        dtype: The number type that was asked for; float32 is all there is.
        settings: What `dsunet.Segmenter` would do to a network; none of it goes with a file.
        view: Height and width of the first view, if they are not the file's.
        flips: Segment mirrored views, too, and take the mean.

    Raises:
        ConfigError: A setting does not go with a file, or it takes no such view.
        DeviceError: The device is not the CPU.
    """

    batches = True

    def __init__(
        self,
        file: OnnxFile,
        device: torch.device,
        dtype: torch.dtype,
        settings: Mapping[str, bool],
        *,
        view: Size | None = None,
        flips: bool = False,
    ) -> None:
        if device.type != "cpu":
            raise DeviceError(
                f"device {str(device)!r} was asked for, but exported files run on the CPU; use "
                "`device` cpu, or the weights that the file was made of"
            )
        if dtype != torch.float32:
            asked = str(dtype).removeprefix("torch.")
            raise ConfigError(
                f"`precision` is {asked}, but {file.path} computes in {file.facts.precision}; "
                "leave it out"
            )
        for name, wanted in settings.items():
            if wanted:
                raise ConfigError(
                    f"`{name}` is for networks of torch, but {file.path} is exported; leave it out"
                )
        facts = file.facts
        if view is not None and view != facts.views[0]:
            self._require_view(file, view)
        self.name = facts.name
        self.model = file
        self.device = torch.device("cpu")
        self.dtype = dtype
        self.settings = settings
        self._views = (view or facts.views[0], facts.views[1])
        self._flips = flips

    @staticmethod
    def _require_view(file: OnnxFile, view: Size) -> None:
        facts = file.facts
        own = "×".join(map(str, facts.views[0]))
        if not facts.dynamic_size:
            raise ConfigError(
                f"view is {'×'.join(map(str, view))}, but {file.path} was exported for {own}; "
                "leave it out, or export with `view` or `dynamic_size`"
            )
        if any(side % facts.multiple or side < 128 for side in view):
            raise ConfigError(
                f"view is {'×'.join(map(str, view))}, but {file.path} takes multiples of "
                f"{facts.multiple} from 128 on"
            )

    @property
    def views(self) -> tuple[Size, Size | None]:
        return self._views

    @property
    def precision(self) -> str:
        return str(self.model.facts.precision)

    @property
    def parameters(self) -> int:
        return int(self.model.facts.parameters)

    def identity(self) -> dict[str, str | None]:
        return {"sha256": sha256_of(self.model.path)}

    def prepare(self, picture: Image.Image, size: Size | None = None) -> Views:
        views = make_views(picture, *self._views)
        return views if size is None else views._replace(size=size)

    def probabilities(self, prepared: Sequence[Views]) -> list[np.ndarray]:
        """Probability maps of some images: H×W float32 in 0..1, each at its image's own size."""
        views = [np.stack([one.sam.numpy() for one in prepared])]
        if self._views[1] is not None:
            views.append(np.stack([one.dino.numpy() for one in prepared if one.dino is not None]))
        _, logits = self.model(*views)
        if self._flips:
            _, other = self.model(*(np.ascontiguousarray(view[..., ::-1]) for view in views))
            logits = (logits + other[..., ::-1]) / 2
        return probabilities_of(torch.from_numpy(logits), [one.size for one in prepared])


def _threads() -> int:
    told = os.environ.get("OMP_NUM_THREADS", "")
    return int(told) if told.isdigit() and int(told) > 0 else available_cores()


def _reason(error: Exception, path: Path) -> str:
    """What onnxruntime says, without its own words around it, in one line."""
    text = " ".join(str(error).split())
    if "external" in text.lower():
        return f"its weights are not whole beside it ({path.name}.data); export the model again"
    text = text.split(" : ")[-1].rstrip(".")
    return f"{text[:200]}; export the model again"
