"""The model that a file is of."""

from __future__ import annotations

import math
from typing import Any

from dsunet.config import MODEL_PRESETS, ROLES, CustomConfig, ModelConfig, Role
from dsunet.errors import CheckpointError
from dsunet.weights.formats import FORMATS, ModelFile

__all__ = ["config_of", "custom_config_of"]


def config_of(file: ModelFile) -> ModelConfig:
    """The configuration of the model in a file: what it says, else what its shapes tell.

    Image sizes do not show in the shapes of the authors' formats, except in DINOv2's position
    embedding; Hiera's view is taken to be the paper's, 352 pixels.

    Raises:
        CheckpointError: It describes no model, or holds no known encoders.
    """
    if (custom := custom_config_of(file)) is not None:
        raise CheckpointError(
            f"{file.path} holds the weights of a model that is none of dsunet's, {custom.name}"
        )
    if file.about is not None:
        try:
            return ModelConfig(**file.about["model"])
        except (TypeError, AttributeError, ValueError) as error:
            raise CheckpointError(
                f"{file.path} describes a model that cannot be built: {error}"
            ) from error
    if file.format == "dsunet-state":
        raise CheckpointError(
            f"{file.path} is {FORMATS[file.format]}, which does not say of which model: build that "
            "one with create_model, then dsunet.load_weights(model, FILE)"
        )
    try:
        return _from_shapes(file)
    except (KeyError, IndexError, TypeError) as error:
        raise CheckpointError(
            f"{file.path} ({FORMATS[file.format]}) is incomplete, or a tensor in it has an odd "
            f"shape ({error}); get it again"
        ) from error


def custom_config_of(file: ModelFile) -> CustomConfig | None:
    """What a file of ours says of a model of the user's own; `None` if it holds no such model.

    Raises:
        CheckpointError: It is broken.
    """
    if file.about is None or "custom" not in file.about["model"]:
        return None
    settings = dict(file.about["model"])
    try:
        return CustomConfig(settings.pop("custom"), **settings)
    except (TypeError, ValueError) as error:
        raise CheckpointError(
            f"{file.path} describes a custom model in an odd way: {error}"
        ) from error


def _from_shapes(file: ModelFile) -> ModelConfig:
    names: dict[Role, str] = {}
    for role in ROLES:
        encoder = file.encoder(role)
        if encoder is None:
            continue
        if encoder.recognised is None:
            raise CheckpointError(
                f"{file.path} holds {encoder.describe()}, which is none of the known sizes"
            )
        names[role] = encoder.recognised[0]
    sam2unet = file.format == "sam2-unet"
    found: dict[str, Any] = {
        "pyramid": names["pyramid"],
        "injection": "final" if "semantic" in names else "none",
        "decoder": "unet" if sam2unet else "sff",
        "sam_version": "2.0" if sam2unet else "2.1",
        "decoder_channels": file.tensors["decoder.heads.2.weight"].shape[1],
        "adapter_channels": len(file.tensors["hiera.trunk.blocks.0.adapter.down.bias"]),
    }
    if not sam2unet:
        found["attention_channels"] = len(file.tensors["decoder.fuse.0.attention.value.bn.weight"])
    if "semantic" in names:
        if "_reg4_" in names["semantic"]:
            raise CheckpointError(
                f"{file.path} has register tokens, which the authors' code has not"
            )
        positions = file.tensors["dinov2.trunk.pos_embed"].shape[1] - 1
        found |= {"semantic": names["semantic"], "dino_size": 14 * math.isqrt(positions)}
    kind = "sam2unet" if sam2unet else "dsunet"
    fits = [
        preset.name
        for preset in MODEL_PRESETS.values()
        if preset.name.startswith(kind) and preset.pyramid == names["pyramid"]
    ]
    return ModelConfig(name=fits[0] if fits else f"{kind}-custom", **found)
