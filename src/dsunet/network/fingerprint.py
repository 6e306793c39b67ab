"""What tells tensors from others, whatever file they come from."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from torch import Tensor

__all__ = ["fingerprint"]


def fingerprint(tensors: Mapping[str, Tensor]) -> str:
    """A sum over an encoder's tensors that is the same in every file format.

    The SHA-256 of all names, shapes and float32 values, sorted by name: `sha256:` and 64 digits.
    """
    total = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().float().contiguous()
        total.update(f"{name} {tuple(tensor.shape)}\n".encode())
        total.update(tensor.view(-1).numpy().data)
    return f"sha256:{total.hexdigest()}"
