"""Our own weights files: safetensors that say how to rebuild the model.

A file holds what training changes (trainable parameters and BatchNorm statistics) and, where an
encoder's weights are nobody else's, that encoder; public encoder weights are referred to by name.
Its metadata has one key, `dsunet`, with JSON: `format`, `model` (the `ModelConfig`), `encoders`
(name of the public weights, or null when they are in the file) and `training` (free-form facts).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors
import safetensors.torch
from torch import Tensor, nn

from dsunet.errors import CheckpointError
from dsunet.files import write_atomically

if TYPE_CHECKING:
    from dsunet.model import DSUNet

__all__ = [
    "find_weights",
    "is_checkpoint",
    "load_state",
    "read_checkpoint",
    "read_metadata",
    "save",
    "state_to_save",
]

FORMAT = 1


def state_to_save(model: DSUNet) -> dict[str, Tensor]:
    """The model's tensors, without those of frozen encoders with public weights."""
    by_reference = tuple(
        f"{name}.trunk."
        for name, encoder in model.encoders.items()
        if encoder.source is not None and not encoder.trainable
    )
    return {
        name: tensor.detach()
        for name, tensor in model.state_dict().items()
        if ".adapter." in name or not name.startswith(by_reference or "\0")
    }


def save(model: DSUNet, path: str | Path, *, training: Mapping[str, Any] | None = None) -> None:
    """Writes a model to `path`, atomically: a reader sees the old file or the new one.

    Args:
        model: A model from `create_model`.
        path: A file name; `.safetensors` by custom.
        training: Facts to keep with the weights, such as metrics and data; JSON values.

    Raises:
        CheckpointError: The model was put together by hand and has no `config`.
    """
    if model.config is None:
        raise CheckpointError(
            "the model has no config, so a file could not say how to rebuild it; "
            "build it with create_model, or pass config= to DSUNet"
        )
    about = {
        "format": FORMAT,
        "model": model.config.to_dict(),
        "encoders": {
            name: None if encoder.trainable else encoder.source
            for name, encoder in model.encoders.items()
        },
        "training": dict(training or {}),
    }
    tensors = {name: t.cpu().contiguous() for name, t in state_to_save(model).items()}
    data = safetensors.torch.save(tensors, {"dsunet": json.dumps(about)})
    write_atomically(Path(path), data)


def find_weights(path: str | Path) -> Path:
    """The weights file meant by a path: itself, or the best (else last) one of a run's folder."""
    path = Path(path)
    if not path.is_dir():
        return path
    for name in ("best.safetensors", "last.safetensors"):
        if (path / name).is_file():
            return path / name
    raise CheckpointError(f"{path} is a folder without best.safetensors or last.safetensors")


def is_checkpoint(path: Path) -> bool:
    """Whether `path` starts like a safetensors file: eight bytes of length, then JSON."""
    with open(path, "rb") as file:
        return file.read(9)[8:] == b"{"


def read_metadata(path: str | Path) -> dict[str, Any]:
    """What a file of ours says about itself (see the module's docstring).

    Raises:
        CheckpointError: The file is missing, broken, not ours, or of a later format.
    """
    return _open(Path(path), tensors=False)[0]


def read_checkpoint(path: str | Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """A file's metadata and its tensors, on the CPU; raises as `read_metadata` does."""
    return _open(Path(path), tensors=True)


def _open(path: Path, *, tensors: bool) -> tuple[dict[str, Any], dict[str, Tensor]]:
    if not path.is_file():
        raise CheckpointError(f"there is no weights file {path}; give the path of an existing one")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            names = file.keys() if tensors else ()
            state = {name: file.get_tensor(name) for name in names}
    except safetensors.SafetensorError as error:
        raise CheckpointError(
            f"{path} is no readable safetensors file ({error}); it may be cut off: copy it again"
        ) from error
    if "dsunet" not in metadata:
        raise CheckpointError(f"{path} was not written by dsunet: its metadata lacks 'dsunet'")
    try:
        about: dict[str, Any] = json.loads(metadata["dsunet"])
        kinds = [type(about.get(key)) for key in ("model", "encoders", "training")]
    except (ValueError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{path} has broken metadata ({error}); copy it again") from error
    if kinds != [dict] * 3 and about.get("format") == FORMAT:
        raise CheckpointError(f"{path} has incomplete metadata; copy it again")
    if about.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} has format {about.get('format')}, but this version reads {FORMAT}; "
            "update dsunet"
        )
    return about, state


def load_state(
    model: nn.Module, state: Mapping[str, Tensor], path: str | Path, *, strict: bool = True
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Copies tensors into a model by name; returns what was loaded, missing and unexpected.

    A frozen encoder that holds public weights may be absent as a whole.

    Raises:
        CheckpointError: Shapes differ or, with `strict`, names do.
    """
    own = model.state_dict()
    needed = set(state_to_save(model)) if hasattr(model, "encoders") else set(own)  # type: ignore[arg-type]
    missing = tuple(name for name in own if name in needed and name not in state)
    unexpected = tuple(name for name in state if name not in own)
    loaded = tuple(name for name in state if name in own)
    for name in loaded:
        if state[name].shape != own[name].shape:
            raise CheckpointError(
                f"{path} does not fit the model: {name} is {tuple(state[name].shape)} in the file "
                f"and {tuple(own[name].shape)} in the model; build the model that it was made for"
            )
    if strict and (missing or unexpected):
        raise CheckpointError(f"{path} does not fit the model: {_differences(missing, unexpected)}")
    for name in loaded:
        own[name].copy_(state[name])
    for name, encoder in getattr(model, "encoders", {}).items():
        if any(key.startswith(f"{name}.trunk.") and ".adapter." not in key for key in loaded):
            encoder.source = None  # whatever public weights it held, it holds the file's now
    return loaded, missing, unexpected


def _differences(missing: tuple[str, ...], unexpected: tuple[str, ...]) -> str:
    parts = [
        f"{len(names)} tensors are {kind} ({', '.join(names[:3])}{', …' if len(names) > 3 else ''})"
        for kind, names in (("missing", missing), ("unexpected", unexpected))
        if names
    ]
    return " and ".join(parts) + "; it was made for another architecture"
