"""Finding an encoder's weights, and making sure that they are the right ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dsunet.config import ModelConfig, Role
from dsunet.errors import CheckpointError, WeightsError
from dsunet.network.encoders import STORED, EncoderReference
from dsunet.support.files import stamp_of
from dsunet.weights import known
from dsunet.weights.fitting import LABELS
from dsunet.weights.formats import FORMATS, EncoderFile, ModelFile
from dsunet.weights.hub_cache import fetch
from dsunet.weights.opened import open_weights
from dsunet.weights.registry import PUBLIC_WEIGHTS, is_public, public_name

__all__ = [
    "check_encoder",
    "find_encoder",
    "fingerprint_of",
    "given_encoder",
    "public_encoder",
    "read_encoder",
    "reference_to",
]


def read_encoder(path: str | Path, role: Role) -> EncoderFile:
    """One encoder from a file of it alone, or from a whole model's file.

    Raises:
        CheckpointError: The file is unreadable, or does not hold that encoder.
    """
    file = open_weights(path).file
    if isinstance(file, EncoderFile) and file.role == role:
        return file
    if isinstance(file, ModelFile) and (encoder := file.encoder(role)):
        return encoder
    raise CheckpointError(
        f"{file.path} ({FORMATS[file.format]}) holds no weights of {LABELS[role]}; give a file "
        "with them"
    )


def fingerprint_of(file: EncoderFile) -> str:
    """The fingerprint of an encoder in a file, summed once and noted (see `known`)."""
    noted = known.recall(file.path, STORED[file.role])
    if noted is not None and file.stamp == stamp_of(file.path):
        return noted
    if file.stamp is not None:
        known.remember(file.path, STORED[file.role], file.fingerprint, file.stamp)
    return file.fingerprint


def reference_to(file: EncoderFile) -> EncoderReference:
    """What a saved model says of the encoder weights that it needs."""
    return EncoderReference(file.name, fingerprint_of(file))


def given_encoder(path: str | Path, role: Role, config: ModelConfig) -> EncoderFile:
    """An encoder's weights from a file that the user names, checked against the settings.

    Raises:
        CheckpointError: The file is unreadable, or holds another encoder or release.
    """
    file = read_encoder(path, role)
    check_encoder(file, config)
    return file


def check_encoder(file: EncoderFile, config: ModelConfig) -> None:
    """Raises `CheckpointError` if a file is known to hold another encoder or release."""
    role = file.role
    wanted, recognised = config.encoders[role], file.recognised
    if recognised and recognised[0] != wanted.split(".")[0]:
        raise CheckpointError(
            f"{file.path} holds {file.describe()}, but the model's {LABELS[role]} is {wanted}; "
            f"give that one's file, or set `{role}` to {recognised[0]}"
        )
    if role == "pyramid" and file.version not in (None, config.sam_version):
        raise CheckpointError(
            f"{file.path} is of SAM {file.version}, but sam_version is {config.sam_version}; give "
            f"the other file, or set `sam_version` to {file.version}"
        )


def public_encoder(config: ModelConfig, role: Role) -> EncoderFile:
    """The public weights of one of a configuration's encoders, from the hub or from a package.

    Raises:
        WeightsError: There are none, or they cannot be had.
        MissingPackageError: They come with a package that is not installed.
    """
    architecture = config.encoders[role]
    name = public_name(architecture, config.sam_version)
    if role == "pyramid" and not config.has_hiera and name not in PUBLIC_WEIGHTS:
        known = ", ".join(w.architecture for w in PUBLIC_WEIGHTS.values() if w.package)
        raise WeightsError(
            f"dsunet has no public weights for {architecture!r}, as it has for {known}; start from "
            "random ones with `weights` none, or name a file with `pyramid_weights`"
        )
    try:
        return _from_hub(name, role)
    except WeightsError as error:
        raise WeightsError(f"{error}; or start from random weights with `weights` none") from error


def find_encoder(
    reference: Mapping[str, Any],
    role: Role,
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
        reference: `name` and `fingerprint`, see `dsunet.weights.checkpoint`.
        role: Which encoder.
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
        file = given_encoder(given, role, config)
        if wanted is not None and fingerprint_of(file) != wanted:
            raise CheckpointError(
                f"{file.path} holds other {LABELS[role]} weights ({fingerprint_of(file)[:19]}…) "
                f"than those that {needed_by} was trained with ({wanted[:19]}…"
                f"{f', {name}' if name else ''}); give that very file"
            )
        return file
    if (nearby := _nearby(reference, role, needed_by.parent, besides)) is not None:
        return nearby
    if name is None:
        raise WeightsError(
            f"{needed_by} needs the {LABELS[role]} weights that it was trained with "
            f"({str(wanted)[:19]}…), and no file known here holds them; name one "
            f"(`{role}_weights`)"
        )
    file = _from_hub(name, role, download=download)
    if wanted is not None and fingerprint_of(file) != wanted:
        raise CheckpointError(
            f"{needed_by} was trained with other {LABELS[role]} weights ({wanted[:19]}…) than "
            f"the public ones of {name} ({fingerprint_of(file)[:19]}…); name their file "
            f"(`{role}_weights`)"
        )
    return file


def _nearby(
    reference: Mapping[str, Any], role: Role, folder: Path, besides: Sequence[Path]
) -> EncoderFile | None:
    """The weights in a file that is known here, or under the official name in `folder`."""
    name, wanted = reference.get("name"), reference.get("fingerprint")
    candidates = known.places(wanted) if wanted else []
    if name in PUBLIC_WEIGHTS:
        candidates.append(folder / PUBLIC_WEIGHTS[name].official_file)
    left_out = [path.resolve() for path in besides]
    for path in candidates:
        if path.resolve() in left_out:
            continue
        try:
            file = read_encoder(path, role)
        except CheckpointError:  # gone, broken or something else: the next one may do
            continue
        if wanted is None or fingerprint_of(file) == wanted:
            return file
    return None


def _from_hub(name: str, role: Role, *, download: bool = True) -> EncoderFile:
    path = fetch(name, download=download)
    file = read_encoder(path, role)
    return dataclasses.replace(file, hub_name=name)
