"""An encoder's tensors in the shapes that a trunk has, and how names differ where they do not."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from dsunet.errors import CheckpointError
from dsunet.weights.formats import EncoderFile, count_blocks
from dsunet.weights.positions import resample_positions

__all__ = [
    "LABELS",
    "Differences",
    "compare",
    "fill_trunk",
    "fit_positions",
    "fitted",
    "require_real",
]

LABELS = {"pyramid": "Hiera", "semantic": "DINOv2"}


def fill_trunk(
    build: Callable[[], nn.Module],
    file: EncoderFile,
    interpolate: Literal["official", "timm"] = "official",
) -> nn.Module:
    """A timm trunk with a file's weights, without any random initialisation.

    It is built without memory and then given the file's tensors themselves, which stay mapped from
    the file until they are used.

    Args:
        build: Builds the trunk.
        file: The weights.
        interpolate: How to bring position embeddings to the trunk's grid.

    Raises:
        CheckpointError: The weights do not fit.
    """
    with torch.device("meta"):
        trunk = build()
    state = fitted(trunk.state_dict(), file, interpolate, trunk)
    trunk.load_state_dict(state, strict=True, assign=True)
    empty = [
        name
        for name, tensor in itertools.chain(trunk.named_parameters(), trunk.named_buffers())
        if tensor.is_meta
    ]
    if empty:
        raise CheckpointError(
            f"{file.path} leaves {empty[0]} of {LABELS[file.role]} without values"
        )
    return trunk


def fitted(
    own: Mapping[str, Tensor],
    file: EncoderFile,
    interpolate: Literal["official", "timm"],
    trunk: Any,
) -> dict[str, Tensor]:
    """A file's tensors in the shapes and types that a trunk has.

    Raises:
        CheckpointError: Names or shapes differ.
    """
    differences = compare(own, file)
    if differences.missing or differences.unexpected:
        raise CheckpointError(f"{file.path} does not fit: {differences.explain()}")
    state = {}
    for name, tensor in file.tensors.items():
        value = tensor
        if own[name].is_floating_point():  # all but BatchNorm's counters
            require_real(name, tensor, file.path)
            value = tensor.float()
        if name == "pos_embed" and file.role == "semantic":
            value = fit_positions(value, trunk, interpolate, file.grid)
        if value.shape != own[name].shape:
            raise CheckpointError(
                f"{file.path} does not fit: {name} of {LABELS[file.role]} is "
                f"{tuple(tensor.shape)} in the file and {tuple(own[name].shape)} in the model; "
                f"the file holds {file.describe()}"
            )
        state[name] = value
    return state


def require_real(name: str, tensor: Tensor, path: Path) -> None:
    """Raises `CheckpointError` for weights that are integers or complex numbers."""
    if not tensor.is_floating_point():
        kind = str(tensor.dtype).removeprefix("torch.")
        raise CheckpointError(
            f"{path} holds {name} as {kind}, but floating-point numbers are needed; a quantised "
            "file has to be turned back first"
        )


def fit_positions(
    positions: Tensor,
    vit: Any,
    interpolate: Literal["official", "timm"],
    source: tuple[int, int] | None,
) -> Tensor:
    """Position embeddings for a ViT's grid; unchanged where their own grid cannot be told."""
    prefix = 0 if vit.no_embed_class else vit.num_prefix_tokens
    count = positions.shape[1] - prefix
    grids = [
        grid for grid in (source, (math.isqrt(count),) * 2) if grid and math.prod(grid) == count
    ]
    if positions.ndim != 3 or not grids:
        return positions
    return resample_positions(
        positions,
        vit.patch_embed.grid_size,
        prefix=prefix,
        method=interpolate,
        registers=vit.num_reg_tokens > 0,
        source=grids[0],
    )


@dataclass(frozen=True)
class Differences:
    """How the names of a file and of a model differ."""

    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    cause: str

    def explain(self) -> str:
        """One line: how many, the first few, and why."""
        parts = [
            f"{len(names)} tensors are {kind} "
            f"({', '.join(names[:3])}{', …' if len(names) > 3 else ''})"
            for kind, names in (("missing", self.missing), ("unexpected", self.unexpected))
            if names
        ]
        return f"{' and '.join(parts)}; {self.cause}"


def compare(own: Mapping[str, Tensor], file: EncoderFile) -> Differences:
    """Names of a trunk against those of a file."""
    missing = tuple(name for name in own if name not in file.tensors)
    unexpected = tuple(name for name in file.tensors if name not in own)
    blocks = count_blocks(own)
    if not file.tensors or (file.depth == 0 and blocks > 0):
        cause = "the file holds no whole encoder"
    elif file.depth != blocks:
        cause = f"the file holds {file.describe()} with {file.depth} blocks, the model has {blocks}"
    elif any("reg_token" in name for name in (*missing, *unexpected)):
        cause = "one of them has register tokens and the other has not"
    else:
        cause = "the file is incomplete, or made for another architecture"
    return Differences(missing, unexpected, cause)
