"""Which device and number type to compute with."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeVar, cast, get_args

import torch

from dsunet.config import Precision
from dsunet.errors import DeviceError
from dsunet.network.base import SegmentationModel
from dsunet.running.inference import lay_out

__all__ = [
    "Place",
    "Precision",
    "choose_device",
    "choose_precision",
    "computes_bfloat16",
    "require_unforked",
]


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


@cache
def computes_bfloat16() -> bool:
    """Whether this CPU says that it computes in bfloat16 (AVX-512 BF16 or AMX), and torch uses it.

    Elsewhere torch emulates it.
    """
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    asked = getattr(torch.cpu, "get_capabilities", None)
    if asked is not None:
        found = asked()
        return bool(found.get("avx512_bf16") or found.get("amx_bf16"))
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split()
    except OSError:
        return False
    return not {"avx512_bf16", "amx_bf16"}.isdisjoint(flags)


def _told() -> Precision:
    """What `auto` means by the user's own word."""
    told = os.environ.get("DSUNET_PRECISION") or "auto"
    known = get_args(Precision)
    if told not in known:
        raise DeviceError(
            f"the environment variable DSUNET_PRECISION is {told!r}, but needs one of "
            f"{', '.join(known)}"
        )
    return cast(Precision, told)


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

    `auto` is what the environment variable `DSUNET_PRECISION` says, or else bfloat16 where it is
    computed in (NVIDIA GPUs from Ampere on, CPUs of `computes_bfloat16`), and float32 elsewhere:
    many processors only emulate bfloat16, which is slower by far.

    Raises:
        DeviceError: float16 is asked for on a CPU, or the environment variable is no number type.
    """
    if name == "auto":
        name = _told()
    if name == "auto":
        if device.type == "cuda":
            quick = torch.cuda.get_device_capability(device) >= (8, 0)
        else:
            quick = device.type == "cpu" and computes_bfloat16()
        return torch.bfloat16 if quick else torch.float32
    if name == "float16" and device.type == "cpu":
        raise DeviceError("precision float16 needs a GPU; use `precision` float32 on a CPU")
    dtypes = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    return dtypes[name]
