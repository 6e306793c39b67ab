"""Which device and number type to compute with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import torch

from dsunet.config import Precision
from dsunet.errors import DeviceError
from dsunet.network.base import SegmentationModel
from dsunet.running.inference import lay_out

__all__ = ["Place", "Precision", "choose_device", "choose_precision", "require_unforked"]


_Model = TypeVar("_Model", bound=SegmentationModel)


@dataclass(frozen=True)
class Place:
    """A device, and the number type that convolutions and matrix products have on it."""

    device: torch.device
    precision: torch.dtype = torch.float32
    """Autocast type; float32 is none."""

    @classmethod
    def chosen(cls, device: str = "auto", precision: Precision = "auto") -> Place:
        """The place of these names.

        Raises:
            DeviceError: As `choose_device` and `choose_precision`.
        """
        found = choose_device(device)
        return cls(found, choose_precision(precision, found))

    @property
    def precision_name(self) -> str:
        """Of the number type, without torch's name in front."""
        return str(self.precision).removeprefix("torch.")

    def autocast(self) -> torch.autocast:
        """A context to compute in."""
        enabled = self.precision != torch.float32
        return torch.autocast(self.device.type, self.precision, enabled=enabled)

    def settle(self, model: _Model) -> _Model:
        """Brings a model to the device, in the memory layout that is quickest there; returns it."""
        return lay_out(model.to(self.device), self.device)


def choose_device(name: str = "auto") -> torch.device:
    """The device called `name`; `auto` is a GPU if there is a usable one, else the CPU.

    Raises:
        DeviceError: The device is unknown or not usable, or a GPU in a process forked from one that
            has used it; there is no silent fallback.
    """
    if name == "auto":
        if torch.cuda.is_available():
            require_unforked(torch.device("cuda"))
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise DeviceError(
            f"device {name!r} is unknown; use auto, cpu, cuda, cuda:1 or mps"
        ) from error
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if count == 0:
            raise DeviceError(
                f"device {name!r} was asked for, but torch finds no usable NVIDIA GPU here; check "
                "the driver (nvidia-smi), or use `device` cpu"
            )
        if device.index is not None and device.index >= count:
            raise DeviceError(f"device {name!r} was asked for, but there are only {count} GPUs")
        require_unforked(device)
    elif device.type == "mps" and not torch.backends.mps.is_available():
        raise DeviceError("device 'mps' was asked for, but torch finds none; use `device` cpu")
    elif device.type not in ("cpu", "cuda", "mps"):
        raise DeviceError(f"device {name!r} is not supported; use auto, cpu, cuda, cuda:1 or mps")
    return device


def require_unforked(device: torch.device) -> None:
    """Raises `DeviceError` for a GPU in a process forked from one that has used a GPU.

    CUDA cannot be used there; torch says so in words of its own, or in none.
    """
    if device.type == "cuda" and torch.cuda._is_in_bad_fork():
        raise DeviceError(
            "this process is forked from one that has used the GPU, which CUDA does not allow; "
            "make the model in this process alone (gunicorn without --preload, multiprocessing "
            "with spawn), or use `device` cpu"
        )


def choose_precision(name: Precision, device: torch.device) -> torch.dtype:
    """The autocast type called `name`.

    `auto` is bfloat16 on NVIDIA GPUs that compute in it (Ampere or later) and float32 elsewhere:
    many processors only emulate bfloat16, which is slower by far.

    Raises:
        DeviceError: float16 is asked for on a CPU.
    """
    if name == "auto":
        quick = device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
        return torch.bfloat16 if quick else torch.float32
    if name == "float16" and device.type == "cpu":
        raise DeviceError("precision float16 needs a GPU; use `precision` float32 on a CPU")
    dtypes = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    return dtypes[name]
