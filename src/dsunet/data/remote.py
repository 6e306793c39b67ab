"""Images behind an address: in an object store, or on the web.

fsspec fetches them, and says how it is told keys and regions (by the environment, as a rule). Only
the schemes below are followed, so that a list of addresses cannot reach for anything else that
fsspec knows (a chain of file systems, a program of ours). Whoever gives the addresses says what
this machine's network is asked for, private addresses too: lists of strangers need looking at.
"""

from __future__ import annotations

import glob
import os
import re
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from dsunet.data.sources import Bytes, Source, is_image_name
from dsunet.errors import DataError, ImageError, perhaps
from dsunet.support.packages import needing

__all__ = [
    "SCHEMES",
    "Remote",
    "at_hand",
    "fetch",
    "file_system",
    "find_remote",
    "is_address",
    "place_of",
]

_STORES = ("s3", "gs", "gcs", "abfs", "abfss", "az")
_WEB = ("http", "https")
SCHEMES = ("file", *_WEB, *_STORES)
"""What an address may begin with."""

LARGEST = 2**30
"""Bytes that are fetched of one file at most."""

_TRIES = 3
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.:-]*://")


@dataclass(frozen=True, slots=True)
class Remote:
    """A file that is fetched when it is needed."""

    uri: str

    def __str__(self) -> str:
        return self.uri

    @property
    def parts(self) -> tuple[str, ...]:
        """Host or bucket, folders and name, without what would lead out of a folder."""
        host, path = _host_and_path(self.uri)
        return host, *(part for part in path.split("/") if part not in ("", ".", ".."))

    @property
    def name(self) -> str:
        """The file's name; that of the host, if there is nothing else."""
        return self.parts[-1]

    @property
    def query(self) -> str:
        """What stands behind the path, of an address on the web."""
        return urlsplit(self.uri).query if _scheme(self.uri) in _WEB else ""


def is_address(text: str) -> bool:
    """Whether a text is an address, SCHEME://…, rather than a path."""
    return _ADDRESS.match(text) is not None


def place_of(text: str) -> Path | Remote:
    """What a path or an address means.

    Raises:
        DataError: Addresses like this one are not followed.
    """
    if not is_address(text):
        return Path(text)
    scheme = _scheme(text)
    if scheme not in SCHEMES:
        raise DataError(
            f"{text} begins with {scheme}://, but addresses need one of {', '.join(SCHEMES)}"
            + perhaps(scheme, SCHEMES)
        )
    if scheme == "file":
        parts = urlsplit(text)
        if parts.netloc not in ("", "localhost"):
            raise DataError(f"{text} names a host; write file:///PATH")
        return Path(os.fsdecode(unquote(parts.path, errors="surrogateescape")))
    host, path = _host_and_path(text)
    if "@" in host and scheme in _WEB:
        raise DataError(
            "an address holds a name and a password, which would be written down with it; give "
            "them in the environment, as fsspec takes them"
        )
    if not host or not path.strip("/"):
        raise DataError(f"{text} names no file; write {scheme}://HOST/PATH")
    return Remote(text)


def find_remote(text: str) -> list[Remote] | None:
    """Images in a folder, or of a pattern, of an object store; `None` if one file is meant.

    Raises:
        DataError: It cannot be listed, or there are none.
    """
    scheme = _scheme(text)
    if scheme in _WEB:
        return None
    system = file_system(scheme)
    try:
        if glob.has_magic(text):
            found = system.glob(text)
        elif text.endswith("/") or system.isdir(text):
            found = system.find(text)
        else:
            return None
    except Exception as error:  # each kind of store has its own
        raise DataError(f"{text} cannot be listed ({_said(error)})") from error
    names = [name for name in found if is_image_name(name.rsplit("/", 1)[-1])]
    if not names:
        raise DataError(f"{text} holds no images")
    account = re.match(r"abfss?://[^/]*@[^/]*/", text)  # which listings leave out
    start = text.split("/", 3)[:3] if account else None
    return [
        Remote("/".join([*start, name.split("/", 1)[1]]) if start else f"{scheme}://{name}")
        for name in sorted(names)
    ]


def at_hand(place: Source | Remote) -> Source:
    """What can be decoded: a source as it is, of an address its content, as `fetch` gives it."""
    return fetch(place) if isinstance(place, Remote) else place


def fetch(remote: Remote) -> Bytes:
    """A file's content; what may pass is tried three times.

    Raises:
        ImageError: It cannot be fetched, or is larger than `LARGEST`.
        MissingPackageError: What speaks to such a store is not installed.
    """
    system = file_system(_scheme(remote.uri))
    for left in reversed(range(_TRIES)):
        try:
            content = system.cat_file(remote.uri, start=0, end=LARGEST)
            break
        except Exception as error:  # each kind of store has its own
            if not left or _is_final(error):
                raise ImageError(f"it cannot be fetched ({_said(error)})") from error
            time.sleep(1.5 ** (_TRIES - left))
    if len(content) >= LARGEST:
        raise ImageError(f"it has {LARGEST // 2**20} MiB or more, which are not fetched")
    return Bytes(content, remote.uri)


@cache
def file_system(scheme: str) -> Any:
    """What fsspec has for a scheme.

    Raises:
        MissingPackageError: fsspec, or what it needs for that scheme, is not installed.
        DataError: It cannot be used as it is set up.
    """
    with needing(f"{scheme}://", extra="remote"):
        import fsspec

        settings: dict[str, Any] = {}
        if scheme in _WEB:
            from aiohttp import ClientTimeout

            times = ClientTimeout(total=300, sock_connect=20, sock_read=30)
            settings = {"client_kwargs": {"timeout": times}}
    try:
        return fsspec.filesystem(scheme, **settings)
    except (ImportError, ValueError) as error:  # what it needs is another package for each
        raise DataError(f"{scheme}:// cannot be used ({_said(error)})") from error


def _is_final(error: Exception) -> bool:
    """Whether trying again would bring the same."""
    status = getattr(error, "status", None)
    if isinstance(status, int):
        return 400 <= status < 500 and status not in (408, 429)
    return isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError)


def _said(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "it is not there"
    text = " ".join(str(error).split())[:300]
    return text or type(error).__name__


def _scheme(uri: str) -> str:
    return uri.partition("://")[0].lower()


def _host_and_path(uri: str) -> tuple[str, str]:
    """Of a store all behind the bucket is the name, of the web not what is asked for."""
    if _scheme(uri) in _WEB:
        parts = urlsplit(uri)
        return parts.netloc, parts.path
    host, _, path = uri.partition("://")[2].partition("/")
    return host, path
