"""From one format of whole models to another."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from dsunet.config import BLOCKS, ModelConfig, Role, model_config, require_one_class
from dsunet.config.renamed import takes_old_names
from dsunet.errors import CheckpointError, ConfigError, WeightsError
from dsunet.network.encoders import STORED, in_trunk
from dsunet.network.layers import HAAR_TAPS
from dsunet.support.files import replace_durably, temporary_beside
from dsunet.weights import known
from dsunet.weights.checkpoint import CARRIED, write_checkpoint
from dsunet.weights.encoders import find_encoder, fingerprint_of
from dsunet.weights.fitting import LABELS
from dsunet.weights.formats import FORMATS, EncoderFile, ModelFile, with_adapter
from dsunet.weights.identify import config_of
from dsunet.weights.names import DSU_NET, SAM2_UNET
from dsunet.weights.opened import open_weights
from dsunet.weights.registry import PUBLIC_WEIGHTS

__all__ = ["convert"]


@takes_old_names
def convert(
    source: str | Path,
    target: str | Path,
    *,
    include_encoders: bool = False,
    float16: bool = False,
    pyramid_weights: str | Path | None = None,
    semantic_weights: str | Path | None = None,
) -> list[str]:
    """Writes a whole model's file in another format: `.safetensors` is ours, `.pth` the authors'.

    Tensors keep their values and types. What the authors' formats have and we do not need is
    carried along in ours, so that converting back gives the same tensors.

    Args:
        source: A file in any format of a whole model, or a run's folder.
        target: The file to write; its suffix chooses the format.
        float16: Write numbers of 16 bits into a file of ours, but for BatchNorm's statistics;
            reading makes 32 bits of them again.
        include_encoders: Write the encoders into a file of ours even if they can be had elsewhere.
        pyramid_weights: File with the Hiera weights that the source refers to.
        semantic_weights: File with the DINOv2 weights that the source refers to.

    Returns:
        Lines that say what was done.

    Raises:
        WeightsError: The source cannot be read, or not be expressed in the target's format.
    """
    file, target = open_weights(source).file, Path(target)
    source = file.path
    given: dict[Role, str | Path | None] = {
        "pyramid": pyramid_weights,
        "semantic": semantic_weights,
    }
    if isinstance(file, EncoderFile):
        raise CheckpointError(
            f"{source} holds an encoder alone ({FORMATS[file.format]}), not a whole model: there "
            "is nothing to convert; `pyramid_weights` and `semantic_weights` read it as it is"
        )
    _check_target(target, source)
    if include_encoders or target.suffix != ".safetensors":
        _check_given(file, given)
    if target.suffix == ".safetensors":
        return _to_ours(file, target, include_encoders, float16, given)
    if float16:
        raise ConfigError(f"float16 is for our own format: name {target} NAME.safetensors")
    if target.suffix in (".pth", ".pt"):
        return _to_authors(file, target, given)
    raise CheckpointError(
        f"{target} needs a name that ends with .safetensors (ours) or .pth (the authors' format)"
    )


def _check_target(target: Path, source: Path) -> None:
    """Raises if writing to `target` would destroy what is needed."""
    if target.is_dir():
        raise CheckpointError(f"{target} is a folder; give the name of a file to write")
    if target.exists() and target.resolve() == source.resolve():
        raise CheckpointError(f"{target} is the file to convert; choose another name")
    if target.exists() and any(known.recall(target, name) for name in STORED.values()):
        raise CheckpointError(
            f"{target} holds encoder weights that other files may refer to; choose another name"
        )


def _check_given(file: ModelFile, given: Mapping[Role, str | Path | None]) -> None:
    """Raises if there are files for encoders that the model's file holds itself."""
    for role, path in given.items():
        if path is not None and file.encoder(role) is not None:
            raise CheckpointError(
                f"{file.path} holds its own weights for {role}: leave `{role}_weights` out"
            )


def _to_ours(
    file: ModelFile,
    target: Path,
    include_encoders: bool,
    float16: bool,
    given: Mapping[Role, str | Path | None],
) -> list[str]:
    config = config_of(file)
    tensors = dict(file.tensors)
    encoders: dict[str, dict[str, str | None] | None] = {}
    lines = []
    for role in config.encoders:
        label = LABELS[role]
        reference: dict[str, str | None] | None = None
        encoder = file.encoder(role)
        if encoder is None:
            before = file.reference(role)
            found = find_encoder(before, role, config, file.path, given[role])
            if include_encoders:
                tensors |= _as_ours(found, config)
                lines.append(f"{label}: put in, from {found.path}")
            else:
                reference = {
                    "name": before.get("name") or found.name,
                    "fingerprint": fingerprint_of(found),
                }
        elif not include_encoders and not config.trains(role):
            elsewhere = _elsewhere(encoder, config, given[role], target)
            if elsewhere is None:
                lines.append(
                    f"{label}: kept in the file, as no other file known here holds these weights"
                )
            else:
                tensors = {n: t for n, t in tensors.items() if not in_trunk(n, [role])}
                reference = {"name": elsewhere.name, "fingerprint": encoder.fingerprint}
                lines.append(f"{label}: left out, as {elsewhere.path} holds the same weights")
        encoders[role] = reference
    state = {**tensors, **{f"{CARRIED}{name}": t for name, t in file.ignored.items()}}
    if float16:
        state = {name: _as_float16(tensor, name, file.path) for name, tensor in state.items()}
        lines.append("float16: numbers of 16 bits, but for BatchNorm's statistics")
    about = {
        "model": config.to_dict(),
        "encoders": encoders,
        "training": file.about["training"] if file.about else {"converted_from": file.path.name},
    }
    write_checkpoint(target, state, about)
    return [f"{config.name}: {len(tensors)} tensors of {FORMATS[file.format]}", *lines]


def _as_float16(tensor: Tensor, name: str, path: Path) -> Tensor:
    """The tensor in half the bytes; BatchNorm's statistics and whole numbers stay as they are."""
    if not tensor.is_floating_point() or name.endswith((".running_mean", ".running_var")):
        return tensor
    half = tensor.half()
    if not torch.equal(half.isfinite(), tensor.isfinite()):
        raise CheckpointError(
            f"{path} has values in {name} that are too large for 16 bits; leave `float16` out"
        )
    return half


def _elsewhere(
    encoder: EncoderFile, config: ModelConfig, given: str | Path | None, target: Path
) -> EncoderFile | None:
    """The same weights in a file that stays when this one goes; without asking the network."""
    architecture = encoder.recognised and encoder.recognised[0]
    names: list[str | None] = [  # which release Hiera is of does not show
        weights.name for weights in PUBLIC_WEIGHTS.values() if weights.architecture == architecture
    ]
    for name in names or [None]:
        try:
            return find_encoder(
                {"name": name, "fingerprint": encoder.fingerprint},
                encoder.role,
                config,
                encoder.path,
                given,
                download=False,
                besides=(encoder.path, target),
            )
        except WeightsError:
            if given is not None:
                raise
    return None


def _as_ours(encoder: EncoderFile, config: ModelConfig) -> dict[str, Tensor]:
    """An encoder's tensors by the model's names, which have adapters around the blocks."""
    adapted = encoder.role == "pyramid" and config.adapter_channels > 0
    if encoder.role == "semantic":
        encoder = encoder.first_blocks(config.semantic_depth)
    return {
        f"{STORED[encoder.role]}.trunk.{with_adapter(n) if adapted else n}": tensor
        for n, tensor in encoder.tensors.items()
    }


def _to_authors(
    file: ModelFile, target: Path, given: Mapping[Role, str | Path | None]
) -> list[str]:
    config = config_of(file)
    require_one_class(config.classes, "the authors' format", "name a .safetensors file")
    rules, kind = (SAM2_UNET, "sam2-unet") if config.decoder == "unet" else (DSU_NET, "dsu-net")
    _check_expressible(config)
    tensors = dict(file.tensors)
    lines = []
    for role in config.encoders:
        if file.encoder(role) is None:
            reference = file.reference(role)
            found = find_encoder(reference, role, config, file.path, given[role])
            tensors |= _as_ours(found, config)
            lines.append(f"{LABELS[role]}: put in, from {found.path}")
    state = {}
    for name, tensor in tensors.items():
        theirs = rules.theirs(name)
        if theirs is None:
            raise CheckpointError(f"{FORMATS[kind]} has no place for {name}")
        state[theirs] = _alone(tensor)
    state = {**{name: _alone(tensor) for name, tensor in file.ignored.items()}, **state}
    unused = _unused(state) if rules is DSU_NET else {}
    added = {n: t for n, t in unused.items() if n not in state}
    if added:
        lines.append(
            f"{len(added)} tensors that {FORMATS[kind]} has and never uses were made up: "
            f"{', '.join(list(added)[:3])}{', …' if len(added) > 3 else ''}"
        )
    native = model_config("dsunet-large")
    if (config.sam_size, config.dino_size) != (native.sam_size, native.dino_size):
        lines.append(
            f"the authors' format does not say image sizes: {native.sam_size} and "
            f"{native.dino_size} px are assumed when it is read, not {config.sam_size} and "
            f"{config.dino_size}"
        )
    with temporary_beside(target) as temporary:
        torch.save({**state, **added}, temporary)
        replace_durably(temporary, target)
    return [f"{config.name}: {len(state) + len(added)} tensors as {FORMATS[kind]}", *lines]


def _check_expressible(config: ModelConfig) -> None:
    """Raises unless the authors' code has this network."""
    published = model_config("sam2unet-large" if config.decoder == "unet" else "dsunet-large")
    if not config.has_hiera:
        raise CheckpointError(
            f"the authors' code has no network with {config.pyramid}; keep the .safetensors file"
        )
    if not isinstance(config.decoder_channels, int):
        raise CheckpointError(
            "the authors' code has no network with decoder_channels = "
            f"{config.decoder_channels}, one for each level; keep the .safetensors file"
        )
    for name in (
        "injection",
        "semantic_norm",
        "semantic_depth",
        "channel_modulation",
        "pixel_attention",
        "decoder_merge",
        "attention_pooling",
        *BLOCKS,
    ):
        value = getattr(config, name)
        if value != getattr(published, name):
            raise CheckpointError(
                f"the authors' code has no network with {name} = {value!r}; keep the .safetensors "
                "file"
            )
    if config.uses_semantic and "_reg4_" in config.semantic:
        raise CheckpointError(
            "the authors' code has no network with register tokens; keep the .safetensors file"
        )
    if config.adapter_channels == 0:
        raise CheckpointError(
            "the authors' code has no network without adapters (adapter_channels = 0); keep the "
            ".safetensors file"
        )


def _alone(tensor: Tensor) -> Tensor:
    """A tensor with a storage of its own; torch would write the whole of a shared one."""
    own = tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()
    return tensor if own and tensor.is_contiguous() else tensor.contiguous().clone()


def _unused(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What the authors' DSU-Net holds besides, so that its strict loading takes the file."""
    wavelet, encoder = "dino2sam_down14.depthwise", "backbone_dino.dino_encoder"
    channels = len(state[f"{wavelet}.base_conv.bias"])
    taps = torch.tensor(HAAR_TAPS).unsqueeze(1).repeat(channels, 1, 1, 1)
    return {
        f"{wavelet}.wt_filter": taps,
        f"{wavelet}.iwt_filter": taps.clone(),
        f"{encoder}.mask_token": torch.zeros(1, state[f"{encoder}.cls_token"].shape[-1]),
    }
