"""Exported files as an engine: onnxruntime or OpenVINO computes, and torch is not needed."""

from __future__ import annotations

import ctypes
import importlib
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
from PIL import Image

from dsunet.data.pixel_views import image_array
from dsunet.errors import CheckpointError, ConfigError, DeviceError, MissingPackageError
from dsunet.predict.engines.base import Engine, Size
from dsunet.running.maps import class_maps_of_logits, map_of_logits
from dsunet.support.files import sha256_of
from dsunet.support.processes import available_cores
from dsunet.weights.exported import INPUTS, FileFacts

__all__ = ["ArrayViews", "ExportedFile", "FileEngine", "threads_to_use"]


class ExportedFile(ABC):
    """A file that `dsunet export` has written, opened.

    Nothing in such a file is code; weights beside it are read from its own folder alone, which the
    runtimes see to. As many threads compute as there are processors for this process, or as
    `OMP_NUM_THREADS` says. In a process that is forked from this one it is opened again, because
    the threads are not there.

    Args:
        path: The file.

    Raises:
        MissingPackageError: The runtime is not installed.
        CheckpointError: There is no such file, it is broken, or none of ours.

    Attributes:
        facts: What it says about itself.
        runtime: The package that computes.
    """

    runtime: ClassVar[str]
    extra: ClassVar[str]  # what brings it
    facts: FileFacts

    def __init__(self, path: str | Path) -> None:
        try:
            package = importlib.import_module(self.runtime)
        except ImportError as error:
            raise MissingPackageError(
                f"{path} needs the package {self.runtime}; pip install '{self.extra}'"
            ) from error
        self.path = Path(path)
        if not self.path.is_file():
            raise CheckpointError(f"there is no file {path}")
        self._package: Any = package
        self._process = os.getpid()
        self._opened, self.facts = self._open()

    @abstractmethod
    def _open(self) -> tuple[Any, FileFacts]:
        """What computes, and what the file says; raises `CheckpointError`."""

    @abstractmethod
    def _run(self, given: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Probability and logits."""

    def __call__(self, *views: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Probability and logits, each B×C×H×W float32, of B×3×H×W float32 views."""
        if os.getpid() != self._process:
            # whatever ends it would wait for its threads, which are not here
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._opened))
            self._opened, _ = self._open()
            self._process = os.getpid()
        return self._run(dict(zip(INPUTS, views, strict=False)))

    def require_inputs(self, names: Sequence[str], facts: FileFacts) -> None:
        """Raises `CheckpointError` unless the inputs are those that the file speaks of."""
        wanted = list(INPUTS[: 1 + (facts.views[1] is not None)])
        if list(names) != wanted:
            raise CheckpointError(
                f"{self.path} has the inputs {', '.join(names)}, but says that they are "
                f"{', '.join(wanted)}; export the model again"
            )


class ArrayViews(NamedTuple):
    """What a file sees of one picture: as `dsunet.data.views.Views`, as arrays."""

    sam: np.ndarray
    dino: np.ndarray | None
    size: Size


class FileEngine(Engine[ArrayViews]):
    """Runs an exported file on the CPU.

    Args:
        file: The file.
        device: `auto` or `cpu`.
        precision: `auto`, or the number type that the file computes in.
        settings: What `dsunet.Segmenter` would do to a network; none of it goes with a file.
        view: Height and width of the first view, if they are not the file's.
        flips: Segment mirrored views, too, and take the mean.

    Raises:
        ConfigError: A setting does not go with a file, or it takes no such view.
        DeviceError: The device is not the CPU.
    """

    batches = True
    device = "cpu"
    dtype = np.dtype(np.float32)

    def __init__(
        self,
        file: ExportedFile,
        device: str,
        precision: str,
        settings: Mapping[str, bool],
        *,
        view: Size | None = None,
        flips: bool = False,
    ) -> None:
        facts = file.facts
        if device not in ("auto", "cpu"):
            raise DeviceError(
                f"device {device!r} was asked for, but exported files run on the CPU; use "
                "`device` cpu, or the weights that the file was made of"
            )
        if precision not in ("auto", facts.precision):
            raise ConfigError(
                f"`precision` is {precision}, but the numbers of {file.path} are "
                f"{facts.precision}, once and for all; leave it out"
            )
        for name, wanted in settings.items():
            if wanted:
                raise ConfigError(
                    f"`{name}` is for networks of torch, but {file.path} is exported; leave it out"
                )
        if view is not None and view != facts.views[0]:
            self._require_view(file, view)
        self.name, self.runtime = facts.name, file.runtime
        self.classes, self.exclusive = facts.classes, facts.exclusive
        self.model = file
        self.settings = settings
        self._views = (view or facts.views[0], facts.views[1])
        self._flips = flips

    @staticmethod
    def _require_view(file: ExportedFile, view: Size) -> None:
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
    def threads(self) -> int:
        return threads_to_use()

    @property
    def parameters(self) -> int:
        return int(self.model.facts.parameters)

    def identity(self) -> dict[str, str | None]:
        return {"sha256": sha256_of(self.model.path)}

    def prepare(self, picture: Image.Image, size: Size | None = None) -> ArrayViews:
        first, second = self._views
        dino = image_array(picture, second) if second else None
        return ArrayViews(
            image_array(picture, first), dino, size or (picture.height, picture.width)
        )

    def probabilities(self, prepared: Sequence[ArrayViews]) -> list[np.ndarray]:
        """Probability maps of some images: H×W or C×H×W float32 in 0..1, each at its own size."""
        views = [np.stack([one.sam for one in prepared])]
        if self._views[1] is not None:
            views.append(np.stack([one.dino for one in prepared if one.dino is not None]))
        _, logits = self.model(*views)
        if self._flips:
            _, other = self.model(*(np.ascontiguousarray(view[..., ::-1]) for view in views))
            logits = (logits + other[..., ::-1]) / 2
        if self.classes:
            return [
                class_maps_of_logits(each, one.size, self.exclusive)
                for each, one in zip(logits, prepared, strict=True)
            ]
        return [
            map_of_logits(each[0], one.size) for each, one in zip(logits, prepared, strict=True)
        ]


def threads_to_use() -> int:
    """How many threads a file computes with."""
    told = os.environ.get("OMP_NUM_THREADS", "")
    return int(told) if told.isdigit() and int(told) > 0 else available_cores()
