"""Networks by name, and networks from files: a path is resolved once, and a file is read once."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Self, cast, overload

from torch import nn

from dsunet.config import BLOCKS, MODEL_PRESETS, ModelConfig, Role, model_config
from dsunet.config.renamed import takes_old_names
from dsunet.errors import CheckpointError, ConfigError
from dsunet.network import model as network
from dsunet.network.blocks import name_blocks, require_named, trust
from dsunet.network.build import build_model, build_trunk
from dsunet.network.custom import CustomModel
from dsunet.network.encoders.pyramid import OWN_HIERA
from dsunet.network.encoders.semantic import OWN_VIT
from dsunet.network.source import CustomSource
from dsunet.weights import shipped
from dsunet.weights.custom import load_custom
from dsunet.weights.encoders import find_encoder, given_encoder, public_encoder, reference_to
from dsunet.weights.fitting import fill_trunk, fitted
from dsunet.weights.formats import EncoderFile, ModelFile
from dsunet.weights.hub import HubMixin, hub_file
from dsunet.weights.identify import config_of
from dsunet.weights.load import fill_model
from dsunet.weights.opened import Weights, open_weights

__all__ = ["DSUNet", "create_from_config", "create_model", "list_models", "load"]


class DSUNet(network.DSUNet, HubMixin):
    """`dsunet.network.model.DSUNet`, with its ways to and from the Hugging Face Hub.

    What `create_model` and `load` give.
    """

    @classmethod
    def _from_pretrained(
        cls,
        *,
        model_id: str,
        pyramid_weights: str | Path | None = None,
        semantic_weights: str | Path | None = None,
        **options: Any,
    ) -> Self:
        file = hub_file(model_id, **options)
        return cast(
            Self, load(file, pyramid_weights=pyramid_weights, semantic_weights=semantic_weights)
        )


def list_models() -> list[str]:
    """Names that `create_model` takes."""
    return list(MODEL_PRESETS)


def build_filled(
    config: ModelConfig,
    encoders: Mapping[Role, EncoderFile] | None = None,
    carried: Sequence[Role] = (),
) -> DSUNet:
    """A network whose encoders have weights from files; nothing is initialised to be overwritten.

    Args:
        config: What to build.
        encoders: By encoder (`pyramid`, `semantic`), the weights to fill it with. Others keep
            random ones.
        carried: Those of them that a file of the model is to hold, instead of referring to them.

    Raises:
        ConfigError: An encoder is unknown.
        CheckpointError: Weights do not fit.
    """
    encoders = encoders or {}
    trunks = {role: _filled(config, role, encoders[role]) for role in encoders}
    model = cast(DSUNet, build_model(config, trunks, kind=DSUNet))
    for role, encoder in model.encoders.items():
        # where frozen weights are from, so that saving the model need not write them
        if role in encoders and role not in carried and not encoder.trainable:
            encoder.source = reference_to(encoders[role])
    return model


def _filled(config: ModelConfig, role: Role, file: EncoderFile) -> nn.Module:
    """One encoder's trunk with the weights of a file."""
    make = partial(build_trunk, config, role)
    if role == "semantic":
        return fill_trunk(make, file.first_blocks(config.semantic_depth), config.interpolate)
    if config.has_hiera:
        return fill_trunk(make, file)
    trunk = make()  # small, and its kind may have buffers that no file holds
    trunk.load_state_dict(fitted(trunk.state_dict(), file, config.interpolate, trunk))
    return trunk


@takes_old_names
def create_model(
    name: str = "dsunet-large",
    weights: str | Path | None = "default",
    *,
    pyramid_weights: str | Path | None = None,
    semantic_weights: str | Path | None = None,
    **overrides: Any,
) -> DSUNet:
    """A network by the name of its preset.

    Args:
        name: One of `list_models()`.
        weights: `None` for random weights (no network access), `"encoders"` for SAM2's and
            DINOv2's public weights (lite: ImageNet's, from packages that `dsunet[lite]` installs),
            a path to a whole model's file that `load_weights` reads, or `"default"`: public
            weights for every encoder that has some (large, base, small, tiny, lite1, lite2),
            random ones for our own sizes (nano), and `"full"` where it is there (lite). `"full"` is
            a whole trained model, which comes with the package: `dsunet-lite`, in views of any
            size, and not with another encoder or decoder.
        pyramid_weights: A file with Hiera's weights, such as SAM 2.1's official one, to take
            instead of what `weights` says.
        semantic_weights: The same for DINOv2.
        **overrides: Fields of `ModelConfig`, such as `injection="none"` or `sam_size=512`. Blocks
            of your own may be given themselves, too: `receptive_field=Block`.

    Returns:
        The model in training mode; call `.eval()` to predict.

    Raises:
        ConfigError: A name or setting is unknown or does not fit.
        WeightsError: The weights cannot be had or do not fit.
        MissingPackageError: They come with a package that is not installed.
    """
    for field in BLOCKS:
        if callable(block := overrides.get(field)):
            overrides[field] = name_blocks([block])[0]
    config = model_config(name, **overrides)
    trust(config)
    return create_from_config(
        config, weights, pyramid_weights=pyramid_weights, semantic_weights=semantic_weights
    )


def create_from_config(
    config: ModelConfig,
    weights: str | Path | Weights | None = "default",
    *,
    pyramid_weights: str | Path | None = None,
    semantic_weights: str | Path | None = None,
) -> DSUNet:
    """As `create_model`, from a whole configuration."""
    given = _given(config, pyramid_weights, semantic_weights)
    if weights == "full" or (weights == "default" and not given and not _why_not_shipped(config)):
        if reason := _why_not_shipped(config):
            raise ConfigError(
                f'weights="full" is not available: {reason}; give the path of a weights file, or '
                '"encoders"'
            )
        weights = shipped.weights_of(config.name)
    if weights is not None and weights not in ("default", "encoders"):
        file = open_weights(weights).file
        if isinstance(file, ModelFile):
            return _build_from(file, config, given)
        flag = f"`{file.role}_weights`"
        raise CheckpointError(
            f"{file.path} holds {file.describe()} alone, not a whole model: give it as {flag}"
        )
    every = weights == "encoders"
    encoders: dict[Role, EncoderFile] = {
        role: given_encoder(given[role], role, config)
        if role in given
        else public_encoder(config, role)
        for role in config.encoders
        if role in given or (weights is not None and _has_public(config, role, every))
    }
    return build_filled(config, encoders)


def _why_not_shipped(config: ModelConfig) -> str:
    """Why no trained weights come with the package for this model; empty where some do."""
    if config.name not in shipped.SHIPPED:
        return f"trained weights come with dsunet for {', '.join(shipped.SHIPPED)} alone"
    preset = MODEL_PRESETS[config.name]
    # which do not change the tensors, or only repeat the heads'
    free = ("sam_size", "dino_size", "train_pyramid", "classes", "exclusive")
    alike = dataclasses.replace(preset, **{name: getattr(config, name) for name in free})
    different = [
        field.name
        for field in dataclasses.fields(config)
        if getattr(config, field.name) != getattr(alike, field.name)
    ]
    return f"{different[0]} is not that of {config.name}" if different else ""


def _given(
    config: ModelConfig, pyramid: str | Path | None, semantic: str | Path | None
) -> dict[Role, str | Path]:
    if semantic is not None and not config.uses_semantic:
        raise ConfigError(
            "semantic_weights is given, but the model has no DINOv2 branch: leave it out"
        )
    both: dict[Role, str | Path | None] = {"pyramid": pyramid, "semantic": semantic}
    return {role: path for role, path in both.items() if path is not None}


def _has_public(config: ModelConfig, role: Role, every: bool) -> bool:
    """Whether to look for an encoder's public weights; our own sizes have none."""
    name = config.encoders[role]
    if every or name not in {**OWN_HIERA, **OWN_VIT}:
        return True
    if not config.trains(role):
        raise ConfigError(
            f"{role} is {name!r}, which has no public weights and would stay frozen at "
            f"random ones; train it (train_{role}: true), or ask for weights: none"
        )
    return False


def _build_from(file: ModelFile, config: ModelConfig, given: Mapping[Role, str | Path]) -> DSUNet:
    """A model with the weights of a whole model's file, and of those that it refers to."""
    encoders: dict[Role, EncoderFile] = {}
    held: list[Role] = []
    for role in config.encoders:
        own = file.encoder(role)
        if own is not None:
            if role in given:
                raise CheckpointError(
                    f"{file.path} holds its own weights for {role}: leave `{role}_weights` out"
                )
            encoders[role] = own
            held.append(role)
        elif reference := file.reference(role):
            path = given.get(role)
            encoders[role] = find_encoder(reference, role, config, file.path, path)
    # a file of ours with an encoder in it stays one that needs no other
    model = build_filled(config, encoders, carried=held if file.about else ())
    report = fill_model(model, file, filled=list(encoders))
    model.repeated_heads = report.repeated
    return model


@overload
def load(
    path: str | Path | Weights = shipped.DEFAULT,
    *,
    model: None = None,
    pyramid_weights: str | Path | None = None,
    semantic_weights: str | Path | None = None,
    blocks: Sequence[str | Callable[..., object]] = (),
) -> DSUNet: ...


@overload
def load(
    path: str | Path | Weights, *, model: CustomSource | str | Callable[..., object]
) -> CustomModel: ...


@takes_old_names
def load(
    path: str | Path | Weights = shipped.DEFAULT,
    *,
    model: CustomSource | str | Callable[..., object] | None = None,
    pyramid_weights: str | Path | None = None,
    semantic_weights: str | Path | None = None,
    blocks: Sequence[str | Callable[..., object]] = (),
) -> DSUNet | CustomModel:
    """The model in a file, ready to predict.

    Our own files and resume states say which model they are of; for the authors' DSU-Net and for
    SAM2-UNet the shapes tell. Encoders that a file only refers to are looked for on this machine by
    their fingerprint, then on the Hugging Face Hub by their name, and are verified.

    Args:
        path: The file, or a run's folder, whose best (else last) weights are taken; or the name of
            a model whose weights come with the package, as by default.
        model: What makes the network, if it is one of your own: a function, or its import path. A
            file says which, but nothing that a file names is ever run.
        pyramid_weights: File with the Hiera weights that the file refers to.
        semantic_weights: File with the DINOv2 weights that it refers to.
        blocks: Blocks of your own that the model has, or their import paths; they need to be those
            that the file names, none of which is run unless you name it.

    Returns:
        The model in evaluation mode, on the CPU.

    Raises:
        CheckpointError: The file is missing, broken or not of a whole model.
        WeightsError: It refers to encoder weights that cannot be had.
    """
    if model is not None:
        if pyramid_weights is not None or semantic_weights is not None:
            raise ConfigError(
                "pyramid_weights and semantic_weights are for dsunet's models: leave them out"
            )
        return load_custom(path, CustomSource.of(model))
    weights = open_weights(path)
    file = weights.file
    if not isinstance(file, ModelFile):
        raise CheckpointError(
            f"{file.path} holds {file.describe()} alone, not a whole model; give it to "
            f"create_model as {file.role}_weights"
        )
    if (custom := weights.custom) is not None:
        raise CheckpointError(
            f"{file.path} holds the weights of a model of somebody's own; it names {custom.name}, "
            f"and no code that a file names is run: if you trust it, give `model` {custom.name}"
        )
    config = config_of(file)
    name_blocks(blocks)
    require_named(config, file.path)
    try:
        given = _given(config, pyramid_weights, semantic_weights)
        return _build_from(file, config, given).eval()
    except (TypeError, AttributeError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"{file.path} describes a model that cannot be built: {error}"
        ) from error
