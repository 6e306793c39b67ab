"""Finding an encoder's weights, making sure that they are the right ones, and filling a trunk."""

from __future__ import annotations

import dataclasses
import itertools
import math
import socket
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from dsunet import known
from dsunet.checkpoint import find_weights
from dsunet.config import ModelConfig
from dsunet.encoders import EncoderReference, Family
from dsunet.errors import CheckpointError, WeightsError
from dsunet.weights.formats import FORMATS, EncoderFile, ModelFile, count_blocks, read_weights
from dsunet.weights.positions import resample_positions
from dsunet.weights.registry import PUBLIC_WEIGHTS, is_public, public_name

__all__ = [
    "LABELS",
    "cached_file",
    "check_encoder",
    "fetch",
    "fill_trunk",
    "find_encoder",
    "fingerprint_of",
    "given_encoder",
    "public_encoder",
    "read_encoder",
    "reference_to",
]

LABELS = {"hiera": "Hiera", "dinov2": "DINOv2"}
HUB_FILE = "model.safetensors"


def read_encoder(path: str | Path, family: Family) -> EncoderFile:
    """One encoder from a file of it alone, or from a whole model's file.

    Raises:
        CheckpointError: The file is unreadable, or does not hold that encoder.
    """
    path = find_weights(path)
    file = read_weights(path)
    if isinstance(file, EncoderFile) and file.family == family:
        return file
    if isinstance(file, ModelFile) and (encoder := file.encoder(family)):
        return encoder
    raise CheckpointError(
        f"{path} ({FORMATS[file.format]}) holds no weights of {LABELS[family]}; give a file with "
        "them"
    )


def fingerprint_of(file: EncoderFile) -> str:
    """The fingerprint of an encoder in a file, summed once and noted (see `known`)."""
    noted = known.recall(file.path, file.family)
    if noted is not None and file.stamp == known.stamp_of(file.path):
        return noted
    if file.stamp is not None:
        known.remember(file.path, file.family, file.fingerprint, file.stamp)
    return file.fingerprint


def reference_to(file: EncoderFile) -> EncoderReference:
    """What a saved model says of the encoder weights that it needs."""
    return EncoderReference(file.name, fingerprint_of(file))


def given_encoder(path: str | Path, family: Family, config: ModelConfig) -> EncoderFile:
    """An encoder's weights from a file that the user names, checked against the settings.

    Raises:
        CheckpointError: The file is unreadable, or holds another encoder or release.
    """
    file = read_encoder(path, family)
    check_encoder(file, config)
    return file


def check_encoder(file: EncoderFile, config: ModelConfig) -> None:
    """Raises `CheckpointError` if a file is known to hold another encoder or release."""
    family = file.family
    wanted = config.hiera if family == "hiera" else config.dinov2
    recognised = file.recognised
    if recognised and recognised[0] != wanted.split(".")[0]:
        raise CheckpointError(
            f"{file.path} holds {file.describe()}, but the model's {LABELS[family]} is {wanted}; "
            f"give that one's file, or set {family} to {recognised[0]} (--{family})"
        )
    if family == "hiera" and file.version not in (None, config.sam_version):
        raise CheckpointError(
            f"{file.path} is of SAM {file.version}, but sam_version is {config.sam_version}; give "
            f"the other file, or set sam_version to {file.version} (--sam-version)"
        )


def public_encoder(config: ModelConfig, family: Family) -> EncoderFile:
    """The public weights of one of a configuration's encoders, through the Hugging Face cache.

    Raises:
        WeightsError: There are none, or they cannot be had.
    """
    architecture = config.hiera if family == "hiera" else config.dinov2
    name = public_name(architecture, config.sam_version)
    try:
        return _from_hub(name, family)
    except WeightsError as error:
        raise WeightsError(f"{error}; or start from random weights with --weights none") from error


def find_encoder(
    reference: Mapping[str, Any],
    family: Family,
    config: ModelConfig,
    needed_by: Path,
    given: str | Path | None = None,
    *,
    download: bool = True,
    besides: Sequence[Path] = (),
) -> EncoderFile:
    """The encoder weights that a file of ours refers to, verified by their fingerprint.

    Looked for in the given file, in those known on this machine, under the official name beside the
    file that needs them, and on the Hugging Face Hub.

    Args:
        reference: `name` and `fingerprint`, see `dsunet.checkpoint`.
        family: Which encoder.
        config: Of the model that it is for.
        needed_by: The file that refers to it.
        given: A file to take it from, nothing else.
        download: Fetch from the hub what is not in its cache.
        besides: Files not to take it from.

    Raises:
        WeightsError: They cannot be had, or the given ones are others.
    """
    name, wanted = reference.get("name"), reference.get("fingerprint")
    if name is not None and not is_public(str(name)):  # a file must not choose what is fetched
        raise CheckpointError(
            f"{needed_by} refers to encoder weights {name!r}, which timm does not know"
        )
    if given is not None:
        file = given_encoder(given, family, config)
        if wanted is not None and fingerprint_of(file) != wanted:
            raise CheckpointError(
                f"{file.path} holds other {LABELS[family]} weights ({fingerprint_of(file)[:19]}…) "
                f"than those that {needed_by} was trained with ({wanted[:19]}…"
                f"{f', {name}' if name else ''}); give that very file"
            )
        return file
    candidates = known.places(wanted) if wanted else []
    if name in PUBLIC_WEIGHTS:
        candidates.append(needed_by.parent / PUBLIC_WEIGHTS[name].official_file)
    for path in candidates:
        if path.resolve() in [other.resolve() for other in besides]:
            continue
        try:
            file = read_encoder(path, family)
        except CheckpointError:  # gone, broken or something else: the next one may do
            continue
        if wanted is None or fingerprint_of(file) == wanted:
            return file
    if name is None:
        raise WeightsError(
            f"{needed_by} needs the {LABELS[family]} weights that it was trained with "
            f"({str(wanted)[:19]}…), and no file known here holds them; name one "
            f"(--{family}-weights)"
        )
    file = _from_hub(name, family, download=download)
    if wanted is not None and fingerprint_of(file) != wanted:
        raise CheckpointError(
            f"{needed_by} was trained with other {LABELS[family]} weights ({wanted[:19]}…) than "
            f"the public ones of {name} ({fingerprint_of(file)[:19]}…); name their file "
            f"(--{family}-weights)"
        )
    return file


def _from_hub(name: str, family: Family, *, download: bool = True) -> EncoderFile:
    path = fetch(name, download=download)
    file = read_encoder(path, family)
    return dataclasses.replace(file, hub_name=name)


def fetch(name: str, *, download: bool = True) -> Path:
    """The file of public weights in the Hugging Face cache, downloaded if it is not there.

    Raises:
        WeightsError: It is neither in the cache nor to be had.
    """
    from huggingface_hub import hf_hub_download

    cached = cached_file(name)
    if cached is not None:
        return cached
    if not download:
        raise WeightsError(_how_to_get(name, "not asked for"))
    reason = _why_offline()
    if reason is not None:
        raise WeightsError(_how_to_get(name, reason))
    try:
        return Path(hf_hub_download(f"timm/{name}", HUB_FILE))
    except Exception as error:  # the hub raises many kinds, all meaning: not to be had
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise WeightsError(_how_to_get(name, lines[0].rstrip("."))) from error


def cached_file(name: str) -> Path | None:
    """The file of public weights in the Hugging Face cache, if it is there."""
    from huggingface_hub import try_to_load_from_cache

    path = try_to_load_from_cache(f"timm/{name}", HUB_FILE)
    return Path(path) if isinstance(path, str) else None


def _why_offline() -> str | None:
    """Why the hub cannot be asked; found out at once, where its client tries for half a minute."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    if urllib.request.getproxies().keys() & {"https", "all"}:
        return None  # a proxy finds the host
    host = urllib.parse.urlsplit(constants.ENDPOINT)
    port = host.port or (80 if host.scheme == "http" else 443)
    try:
        with socket.create_connection((host.hostname or "", port), timeout=10):
            return None
    except OSError as error:
        return f"{host.hostname} cannot be reached: {error.strerror or error}"


def _how_to_get(name: str, reason: str) -> str:
    entry = PUBLIC_WEIGHTS.get(name)
    family = "hiera" if name.startswith("sam2") else "dinov2"
    official = f", or {entry.official_file} ({entry.official_url})" if entry else ""
    return (
        f"the public weights {name} are not in the Hugging Face cache and were not fetched "
        f"({reason}); where there is a network get {HUB_FILE} of the hub's repository timm/{name}"
        f"{official}, and pass --{family}-weights FILE"
    )


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
            f"{file.path} leaves {empty[0]} of {LABELS[file.family]} without values"
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
        require_real(name, tensor, file.path)
        value = tensor.float()
        if name == "pos_embed" and file.family == "dinov2":
            value = fit_positions(value, trunk, interpolate, file.grid)
        if value.shape != own[name].shape:
            raise CheckpointError(
                f"{file.path} does not fit: {name} of {LABELS[file.family]} is "
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
    if not file.tensors or file.depth == 0:
        cause = "the file holds no whole encoder"
    elif file.depth != blocks:
        cause = f"the file holds {file.describe()} with {file.depth} blocks, the model has {blocks}"
    elif any("reg_token" in name for name in (*missing, *unexpected)):
        cause = "one of them has register tokens and the other has not"
    else:
        cause = "the file is incomplete, or made for another architecture"
    return Differences(missing, unexpected, cause)
