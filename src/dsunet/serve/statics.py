"""The page, and the reference of the service: files of the package, read once."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable

from starlette.requests import Request
from starlette.responses import Response

__all__ = ["StaticFile", "folder"]

_MEDIA = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".webp": "image/webp",
    ".ico": "image/x-icon",
    ".webmanifest": "application/manifest+json",
}


@dataclass(frozen=True)
class StaticFile:
    """A file that browsers ask for."""

    content: bytes
    media: str
    tag: str
    """Changes with the content."""

    def answer(self, request: Request) -> Response:
        """The file, or that the browser's copy is still right."""
        headers = {"ETag": self.tag, "Cache-Control": "no-cache"}
        if self.tag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(self.content, media_type=self.media, headers=headers)


def folder(name: str) -> dict[str, StaticFile]:
    """The files of a folder of this package by their names, as far as browsers take them."""
    place = files("dsunet.serve").joinpath(name)
    found = [each for each in place.iterdir() if each.is_file()] if place.is_dir() else []
    return {each.name: _read(each) for each in found if _suffix(each) in _MEDIA}


def _suffix(file: Traversable) -> str:
    return f".{file.name.rpartition('.')[2]}"


def _read(file: Traversable) -> StaticFile:
    content = file.read_bytes()
    tag = f'"{hashlib.sha256(content).hexdigest()[:24]}"'
    return StaticFile(content, _MEDIA[_suffix(file)], tag)
