"""Our own weights files: safetensors that say how to rebuild the model.

A file holds what training changes (trainable parameters and BatchNorm statistics) and, where an
encoder's weights are nobody else's, that encoder; other encoders are referred to by name and sum.
Its metadata has one key, `dsunet`, with JSON: `format`, `version` (of the package that wrote it),
`model` (the `ModelConfig`, or the `CustomConfig` of a model of the user's own), `encoders` (for
each `name` and `fingerprint` of the weights that it needs, or null when they are in the file;
`frozen` stands for the frozen tensors of a model of the user's own) and `training` (free-form
facts).

Tensors whose names start with `carried.` are those that another format has and we do not need; a
converted file keeps them, so that it can be converted back.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors
import safetensors.torch
from torch import Tensor

import dsunet
from dsunet.config.renamed import as_on_disk, todays
from dsunet.errors import CheckpointError
from dsunet.network.encoders import EncoderReference, in_trunk
from dsunet.support.files import replace_durably, temporary_beside
from dsunet.weights import known

if TYPE_CHECKING:
    from dsunet.network.base import SegmentationModel

__all__ = [
    "CARRIED",
    "about_json",
    "describe",
    "read_about",
    "read_checkpoint",
    "read_metadata",
    "read_safetensors",
    "save",
    "state_to_save",
    "write_checkpoint",
]

FORMAT = 2
CARRIED = "carried."


def state_to_save(model: SegmentationModel, *, include_encoders: bool = False) -> dict[str, Tensor]:
    """The model's tensors, without those of frozen encoders whose weights are from elsewhere."""
    by_reference = [
        role
        for role, encoder in model.encoders.items()
        if encoder.source is not None and not encoder.trainable and not include_encoders
    ]
    return {
        name: tensor.detach()
        for name, tensor in model.state_dict().items()
        if not in_trunk(name, by_reference) and (include_encoders or name not in model.left_out)
    }


def describe(
    model: SegmentationModel,
    training: Mapping[str, Any] | None = None,
    *,
    include_encoders: bool = False,
) -> dict[str, Any]:
    """What a file says about the model in it (see the module's docstring).

    Raises:
        CheckpointError: The model was put together by hand and has no `config`, or is a copy for
            prediction alone.
    """
    if model.only_predicts:
        raise CheckpointError(
            f"this is a copy for prediction ({model.only_predicts}), which cannot be saved; save "
            "the model that it was made of"
        )
    if model.config is None:
        raise CheckpointError(
            "the model has no config, so a file could not say how to rebuild it; "
            "build it with create_model, or pass config= to DSUNet"
        )
    sources: dict[str, EncoderReference | None] = {
        name: None if encoder.trainable else encoder.source
        for name, encoder in model.encoders.items()
    }
    if model.frozen is not None:
        sources["frozen"] = model.frozen
    encoders = {
        name: None if include_encoders or source is None else dataclasses.asdict(source)
        for name, source in sources.items()
    }
    return {
        "model": model.config.to_dict(),
        "encoders": encoders,
        "training": dict(model.training_facts if training is None else training),
    }


def save(
    model: SegmentationModel,
    path: str | Path,
    *,
    training: Mapping[str, Any] | None = None,
    include_encoders: bool = False,
) -> None:
    """Writes a model to `path`, atomically: a reader sees the old file or the new one.

    Args:
        model: A model from `create_model`.
        path: A file name; `.safetensors` by custom.
        training: Facts to keep with the weights, such as metrics and data; JSON values. By default
            those that the model was loaded with.
        include_encoders: Write frozen encoders, too, whose weights can be had elsewhere: one file
            of about two gigabytes for large, instead of about 30 megabytes.

    Raises:
        CheckpointError: The model was put together by hand and has no `config`, or `path` is the
            only file known to hold an encoder that the new one would refer to.
    """
    model.save_changed()
    about = describe(model, training, include_encoders=include_encoders)
    _keep_what_is_referred_to(about, Path(path))
    write_checkpoint(Path(path), state_to_save(model, include_encoders=include_encoders), about)


def _keep_what_is_referred_to(about: Mapping[str, Any], path: Path) -> None:
    """Raises if writing a file to `path` would destroy the encoder weights that it refers to."""
    for role, reference in about["encoders"].items():
        holders = known.places(reference["fingerprint"]) if reference else []
        if path.exists() and holders == [path.resolve()]:
            raise CheckpointError(
                f"{path} holds the {role} weights that the new file would refer to, and no other "
                "file known here does; choose another name, or include_encoders=True"
            )


def write_checkpoint(path: Path, state: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """Writes tensors and what `describe` gives as a file of ours, atomically.

    Raises:
        OSError: The disk is full, or the place cannot be written to; `path` is as it was.
    """
    tensors: dict[str, Tensor] = {}
    places: set[int] = set()
    for name, tensor in state.items():
        ready = tensor.cpu().contiguous()
        # the same values under two names: safetensors wants each to have memory of its own
        tensors[name] = ready.clone() if ready.data_ptr() in places else ready
        places.add(ready.data_ptr())
    if path.is_dir():
        raise CheckpointError(f"{path} is a folder; give the name of a file to write")
    with temporary_beside(path) as temporary:
        permissions = temporary.stat().st_mode
        try:
            safetensors.torch.save_file(tensors, temporary, {"dsunet": about_json(about)})
        except safetensors.SafetensorError as error:  # as it calls what the system says
            if code := re.search(r"os error (\d+)", str(error)):
                raise OSError(int(code[1]), os.strerror(int(code[1])), str(path)) from error
            raise
        temporary.chmod(permissions)  # safetensors has replaced the file by one of its own
        replace_durably(temporary, path)


def about_json(about: Mapping[str, Any]) -> str:
    """What `describe` gives as text, for metadata."""
    return json.dumps(
        {"format": FORMAT, "version": dsunet.__version__, **_renamed(about, as_on_disk)}
    )


def _renamed(
    about: Mapping[str, Any], rename: Callable[[Mapping[str, Any]], dict[str, Any]]
) -> dict[str, Any]:
    """What a file says of its model, with settings and encoders by other names."""
    return {**about, "model": rename(about["model"]), "encoders": rename(about["encoders"])}


def read_metadata(path: str | Path) -> dict[str, Any]:
    """What a file of ours says about itself (see the module's docstring).

    Raises:
        CheckpointError: The file is missing, broken, not ours, or of another format.
    """
    return _open(Path(path), tensors=False)[0]


def read_checkpoint(path: str | Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """A file's metadata and its tensors, on the CPU; raises as `read_metadata` does."""
    return _open(Path(path), tensors=True)


def _open(path: Path, *, tensors: bool) -> tuple[dict[str, Any], dict[str, Tensor]]:
    if not path.is_file():
        raise CheckpointError(f"there is no weights file {path}; give the path of an existing one")
    state, metadata = read_safetensors(path, tensors=tensors)
    if "dsunet" not in metadata:
        raise CheckpointError(f"{path} was not written by dsunet: its metadata lacks 'dsunet'")
    return read_about(metadata["dsunet"], path), state


def read_safetensors(
    path: Path, *, tensors: bool = True
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors, mapped from the file, and the metadata of any safetensors file.

    Raises:
        CheckpointError: It is broken.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            names = file.keys() if tensors else ()
            return {name: file.get_tensor(name) for name in names}, file.metadata() or {}
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} is no readable safetensors file ({error}); it may be cut off: copy it again"
        ) from error


def read_about(text: str, path: Path) -> dict[str, Any]:
    """The metadata in `text`; `path` is for messages.

    Raises:
        CheckpointError: It is broken, or of another format.
    """
    try:
        about: dict[str, Any] = json.loads(text)
        kinds = [type(about.get(key)) for key in ("model", "encoders", "training")]
    except (ValueError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{path} has broken metadata ({error}); copy it again") from error
    version = about.get("format")
    if version != FORMAT:
        raise CheckpointError(
            f"{path} has format {version}, but this version reads {FORMAT}; update dsunet (files "
            "from before its first release are not read)"
        )
    if kinds != [dict] * 3 or not all(
        reference is None or _is_reference(reference) for reference in about["encoders"].values()
    ):
        raise CheckpointError(f"{path} has incomplete metadata; copy it again")
    return _renamed(about, todays)


def _is_reference(value: object) -> bool:
    return isinstance(value, dict) and all(
        value.get(key) is None or isinstance(value[key], str) for key in ("name", "fingerprint")
    )
