"""Whether torch can compile here."""

from __future__ import annotations

import torch
from torch import Tensor

from dsunet.errors import TrainingError

__all__ = ["require_compiler"]


def require_compiler(device: torch.device) -> None:
    """Compiles a trifle for a device.

    Raises:
        TrainingError: torch cannot; it says why.
    """
    try:
        torch.compile(_double)(torch.ones(4, device=device))
    except Exception as error:  # of many kinds, by compiler and system
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise TrainingError(
            "`compile` needs a compiler that torch can use (a C++ compiler such as g++ on a CPU, "
            f"Triton on a GPU), and compiling a trifle failed: {lines[0]}; install one, or leave "
            "`compile` out"
        ) from error


def _double(x: Tensor) -> Tensor:
    return x * 2
