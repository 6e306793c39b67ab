"""What is in a weights file, and whether it is whole."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import torch

from dsunet.config import ROLES, CustomConfig, ModelConfig, Role, is_hiera
from dsunet.errors import CheckpointError, WeightsError
from dsunet.network.build import build_model
from dsunet.network.counting import parameters_by_part
from dsunet.network.encoders import build_backbone, build_hiera, build_vit, in_trunk
from dsunet.network.model import DSUNet
from dsunet.support.files import sha256_of
from dsunet.weights.encoders import find_encoder, fingerprint_of
from dsunet.weights.fitting import fitted
from dsunet.weights.formats import FORMATS, EncoderFile, ModelFile
from dsunet.weights.identify import config_of, custom_config_of
from dsunet.weights.opened import Weights, open_weights
from dsunet.weights.registry import PUBLIC_WEIGHTS
from dsunet.weights.shipped import is_shipped

__all__ = ["describe_file", "verify_file"]


def describe_file(path: str | Path | Weights) -> dict[str, Any]:
    """What a weights file in any known format holds, ready for JSON.

    Keys: `file`, `card` (the page about weights that come with the package, else null), `bytes`,
    `format`, `tensors`, `ignored` (their number), `encoders`; for whole models also `model` (its
    settings), `training` and, if no code of somebody's own is in it, `parameters` (by part: all and
    trained).

    Raises:
        WeightsError: The file cannot be read, or is of no known format.
    """
    file = open_weights(path).file
    about: dict[str, Any] = {
        "file": str(file.path),
        "card": str(file.path.with_suffix(".md")) if is_shipped(file.path) else None,
        "bytes": file.path.stat().st_size,
        "format": FORMATS[file.format],
        "tensors": len(file.tensors),
        "ignored": len(file.ignored),
    }
    if isinstance(file, EncoderFile):
        return about | {"encoders": {file.role: _describe_encoder(file)}}
    if (custom := custom_config_of(file)) is not None:
        return about | _describe_custom(file, custom)
    config = config_of(file)
    if config.blocks:  # which would have to be run
        return about | {
            "model": config.to_dict(),
            "encoders": {role: _where(file, role, config) for role in config.encoders},
            "training": file.about["training"] if file.about else {},
        }
    model = _empty(config, file.path)
    parts = {name: counts for name, counts in parameters_by_part(model).items() if counts[0]}
    return about | {
        "model": config.to_dict(),
        "parameters": {
            "total": sum(count for count, _ in parts.values()),
            "trained": sum(count for _, count in parts.values()),
            "parts": {name: {"all": a, "trained": t} for name, (a, t) in parts.items()},
        },
        "encoders": {role: _where(file, role, config) for role in model.encoders},
        "training": file.about["training"] if file.about else {},
    }


def _describe_custom(file: ModelFile, config: CustomConfig) -> dict[str, Any]:
    """As far as a file tells without the code of its network."""
    assert file.about is not None
    frozen = file.about["encoders"].get("frozen")
    where = {**frozen, "where": f"made by {config.name}"} if frozen else None
    return {
        "model": config.to_dict(),
        "encoders": {"frozen": where} if where else {},
        "training": file.about["training"],
    }


def _describe_encoder(file: EncoderFile) -> dict[str, Any]:
    known = file.recognised
    entry = PUBLIC_WEIGHTS.get(file.name or "")
    return {
        "architecture": known[0] if known else None,
        "blocks": file.depth,
        "channels": file.channels,
        "parameters": sum(
            tensor.numel()
            for name, tensor in file.tensors.items()
            if not name.endswith((".running_mean", ".running_var", ".num_batches_tracked"))
        ),
        "sam_version": file.version or ("unknown" if file.format.startswith("sam2") else None),
        "claims_to_be": file.name,
        "license": entry.license if entry else None,
        "fingerprint": fingerprint_of(file),
    }


def _where(file: ModelFile, role: Role, config: ModelConfig) -> dict[str, Any]:
    """Where one encoder of a whole model is."""
    if file.encoder(role) is not None:
        return {"where": "in the file"}
    reference = file.reference(role)
    try:
        found = str(find_encoder(reference, role, config, file.path, download=False).path)
    except WeightsError:
        found = "not on this machine"
    return {**reference, "where": found}


def _empty(config: ModelConfig, path: Path) -> DSUNet:
    try:
        with torch.device("meta"):
            return build_model(config)
    except (ValueError, TypeError, RuntimeError) as error:
        raise CheckpointError(f"{path} describes a model that cannot be built: {error}") from error


def verify_file(path: str | Path | Weights) -> tuple[dict[str, str], list[str]]:
    """Reads every byte of a weights file and holds it against what it claims to be.

    Its archive's checksums, names and shapes against the architecture, and that all values are
    finite.

    Returns:
        Facts (`sha256` and, of every encoder in it, the fingerprint), and what is wrong, in words.

    Raises:
        WeightsError: The file cannot be read at all, or is of no known format.
    """
    file = open_weights(path).file
    path = file.path
    facts = {"format": FORMATS[file.format], "sha256": sha256_of(path)}
    problems = []
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
        if broken is not None:
            problems.append(f"the part {broken} of the archive is damaged")
    for name, tensor in file.tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            problems.append(f"{name} holds values that are no finite numbers")
    if isinstance(file, EncoderFile):
        problems += _misfits_of_encoder(file)
        facts["holds"] = file.describe()
        facts["fingerprint"] = file.fingerprint
        sums = {w.official_sha256: w for w in PUBLIC_WEIGHTS.values() if w.official_sha256}
        official = sums.get(facts["sha256"])
        entry = PUBLIC_WEIGHTS.get(file.name or "")
        if official is not None:
            facts["official"] = f"yes: byte for byte {official.official_file}"
        elif entry is not None and entry.official_sha256 and entry.official_file == path.name:
            problems.append(f"it is not the official {path.name}: that has another SHA-256")
        else:
            facts["official"] = "cannot be told: no official SHA-256 is known for this file"
    elif (custom := custom_config_of(file)) is not None:
        facts["holds"] = f"{custom.name}, a model of somebody's own"
        facts["not checked"] = "names and shapes, which the code of that model knows alone"
    else:
        config = config_of(file)
        facts["holds"] = config.name
        if config.blocks:
            facts["not checked"] = "names and shapes, which the code of its blocks knows alone"
            return facts, problems
        problems += _misfits_of_model(file, config)
    return facts, problems


def _misfits_of_encoder(file: EncoderFile) -> list[str]:
    if file.recognised is None:
        if file.format in ("vit-timm", "efficientnet-timm"):  # of any kind
            return []
        return [f"it holds {file.describe()}, which is none of the known sizes"]
    architecture = file.recognised[0]
    with torch.device("meta"):
        trunk: Any = (
            build_vit(architecture, (518, 518))
            if file.role == "semantic"
            else (build_hiera if is_hiera(architecture) else build_backbone)(architecture)
        )
    try:
        fitted(trunk.state_dict(), file, "official", trunk)
    except CheckpointError as error:
        return [str(error)]
    return []


def _misfits_of_model(file: ModelFile, config: ModelConfig) -> list[str]:
    own = _empty(config, file.path).state_dict()
    absent = [role for role in ROLES if file.encoder(role) is None]
    needed = {name for name in own if not in_trunk(name, absent)}
    problems = [f"{name} is missing" for name in sorted(needed - set(file.tensors))]
    problems += [f"{name} has no place in the model" for name in file.tensors if name not in own]
    problems += [
        f"{name} is {tuple(tensor.shape)}, but {tuple(own[name].shape)} in the model"
        for name, tensor in file.tensors.items()
        if name in own and tensor.shape != own[name].shape
    ]
    return problems
