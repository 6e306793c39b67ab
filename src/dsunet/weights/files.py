"""Tensors from files, without running anything in them."""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dsunet.errors import CheckpointError
from dsunet.weights.checkpoint import read_safetensors

__all__ = ["read_file", "unwrap"]

# Where training scripts put the state dict, in the order of preference.
_WRAPPERS = ("model", "state_dict", "model_state_dict", "net", "network", "teacher")
# What data-parallel training and torch.compile put in front of every name.
_PREFIXES = ("module.", "_orig_mod.")


def read_file(path: Path) -> tuple[Any, dict[str, str]]:
    """The content of a `.safetensors` or torch file, whatever its name, and its metadata.

    Torch files are read with `weights_only=True`: tensors and plain containers, never code. Both
    kinds are mapped into memory, so that tensors take none until they are used.

    Raises:
        CheckpointError: The file is missing, cut off, of another kind, or holds Python objects.
    """
    if not path.is_file():
        missing = f"{path} is no file" if path.exists() else f"there is no weights file {path}"
        raise CheckpointError(f"{missing}; give the path of an existing one")
    with open(path, "rb") as file:
        head = file.read(512)
    if head[8:9] == b"{":
        return read_safetensors(path)
    if head.startswith(b"PK"):
        return _read_torch(path, mmap=True), {}
    if head.startswith(b"\x80"):
        return _read_torch(path, mmap=False), {}
    raise CheckpointError(f"{path} is no weights file ({_kind_of(head)}); get it again")


def _kind_of(head: bytes) -> str:
    text = head.lstrip().lower()
    if not head:
        return "it is empty"
    if head.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer: the file itself was not fetched"
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "it is a web page, such as a download that failed"
    return "it starts neither like a .safetensors nor like a torch file"


def _read_torch(path: Path, *, mmap: bool) -> Any:
    try:
        return torch.load(str(path), map_location="cpu", weights_only=True, mmap=mmap)
    except pickle.UnpicklingError as error:
        named = re.search(r"(?:GLOBAL|global|class) ([\w.]+)", str(error))
        if "Weights only" not in str(error) and named is None:
            raise _cut_off(path, error) from error
        what = f" ({named[1]})" if named else ""
        raise CheckpointError(
            f"{path} holds Python objects besides tensors{what}, which can run code when they are "
            "read, so it was not; save its state dict alone, where you trust it"
        ) from error
    except Exception as error:  # torch raises many kinds for files that are cut off or changed
        raise _other_archive(path) or _cut_off(path, error) from error


def _other_archive(path: Path) -> CheckpointError | None:
    """The error for ZIP archives that are whole, but no state dict."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, zipfile.BadZipFile):
        return None
    if any(name.endswith("constants.pkl") for name in names):
        what = "a TorchScript program; save the state dict of the model in it"
    elif not any(name.endswith("data.pkl") for name in names):
        what = f"an archive without weights (it has {', '.join(names[:3])})"
    else:
        return None
    return CheckpointError(f"{path} is {what}")


def _cut_off(path: Path, error: Exception) -> CheckpointError:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return CheckpointError(
        f"{path} is no torch file that can be read ({lines[0][:200]}); it is cut off or damaged: "
        "copy it again"
    )


def unwrap(content: Any, path: Path) -> dict[str, Tensor]:
    """The state dict in a file's content: names with tensors, common wrappings taken off.

    Raises:
        CheckpointError: There is none.
    """
    state = content
    for _ in range(2):
        if isinstance(state, Mapping) and not any(isinstance(v, Tensor) for v in state.values()):
            inner = [state[key] for key in _WRAPPERS if isinstance(state.get(key), Mapping)]
            state = inner[0] if inner else state
    if not isinstance(state, Mapping) or not any(isinstance(v, Tensor) for v in state.values()):
        raise CheckpointError(
            f"{path} holds no state dict; expected names with tensors, alone or under 'model' or "
            "'state_dict'"
        )
    tensors = {str(name): value for name, value in state.items() if isinstance(value, Tensor)}
    for name, value in tensors.items():
        if value.is_meta or value.is_quantized or value.layout != torch.strided:
            raise CheckpointError(
                f"{path} holds {name} in a form that cannot be used (quantised, sparse or without "
                "values); save plain tensors"
            )
    for prefix in _PREFIXES:
        if all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
    return tensors
