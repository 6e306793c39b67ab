"""Bodies of requests: counted while they come, cut if they are slow, and never on a disk."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from dsunet.config import ServeConfig
from dsunet.serve.refusals import Refusal

__all__ = ["RATE", "Gone", "Part", "Sent", "Uploads"]

RATE = 32_768
"""Bytes of an upload for which it gets another second."""

_FIELDS = 20
_FIELD_BYTES = 4096
_EDGE = 100_000
"""Bytes that boundaries and fields of a form may take beside its files."""


class Gone(Exception):  # noqa: N818 -- no error
    """The client has left."""


@dataclass
class Part:
    """A file that was sent."""

    name: str
    """As the client calls it; empty if it does not."""
    content: bytes = field(repr=False)


@dataclass
class Sent:
    """What a request has sent."""

    parts: list[Part]
    fields: dict[str, list[str]]


class _InMemory(MultiPartParser):
    """A form whose files never go to a temporary file: 0 is no limit, see `tempfile`."""

    spool_max_size = 0


class Uploads:
    """Reads what requests send, within the bounds.

    Args:
        config: The bounds.
    """

    def __init__(self, config: ServeConfig) -> None:
        self.config = config
        self.held = 0
        """Bytes of all uploads that are at hand."""

    @contextmanager
    def holding(self) -> Iterator[_Held]:
        """Counts the bytes of a request until it is done."""
        held = _Held(self)
        try:
            yield held
        finally:
            self.held -= held.bytes

    async def read(self, request: Request, held: _Held, *, batch: bool = False) -> Sent:
        """What a request has sent.

        Args:
            request: The request.
            held: Of `holding`.
            batch: Whether several files may come.

        Raises:
            Refusal: 408, too slow; 413, too large; 415, of another type; 422, no form, no file, too
                many; 503, all uploads together are too large.
            Gone: The client has left.
        """
        allowed = self.config.max_batch_bytes if batch else self.config.max_bytes
        limit = "max_batch_bytes" if batch else "max_bytes"
        kind = _kind(request)
        is_form = kind == "multipart/form-data"
        if not is_form and (batch or not _may_be_picture(kind)):
            wanted = "multipart/form-data" if batch else "multipart/form-data or a picture's bytes"
            raise Refusal(415, f"the body is {kind or 'of no type'}, but needs to be {wanted}")
        most = allowed + (_EDGE if is_form else 0)
        stream = self._counted(request, held, most, Refusal(413, *_too_large(limit, allowed)))
        try:
            if not is_form:
                content = b"".join([chunk async for chunk in stream])
                sent = Sent([Part("", content)], {})
            else:
                sent = await self._form(request, stream, batch)
        except ClientDisconnect:
            raise Gone from None
        each = self.config.max_bytes
        if not batch and any(len(part.content) > each for part in sent.parts):
            raise Refusal(413, *_too_large("max_bytes", each))
        return sent

    async def _form(
        self, request: Request, stream: AsyncGenerator[bytes, None], batch: bool
    ) -> Sent:
        files = self.config.max_batch if batch else 1
        parser = _InMemory(
            request.headers,
            stream,
            max_files=files + 1,  # one more is told in our own words
            max_fields=_FIELDS,
            max_part_size=_FIELD_BYTES,
        )
        try:
            form = await parser.parse()
        except MultiPartException as error:
            if "files" in error.message:
                raise Refusal(*_too_many(batch, files)) from None
            raise Refusal(422, f"the form cannot be read: {error.message}") from None
        except (ValueError, LookupError, KeyError) as error:
            raise Refusal(422, f"the form cannot be read: {error}") from None
        parts: list[Part] = []
        fields: dict[str, list[str]] = {}
        try:
            for name, value in form.multi_items():
                if isinstance(value, str):
                    fields.setdefault(name, []).append(value)
                elif name != "file":
                    raise Refusal(
                        422, f"there is no field {name[:60]!r} for files; send them as `file`"
                    )
                else:
                    parts.append(Part(value.filename or "", await value.read()))
        finally:
            await form.close()
        if not parts:
            raise Refusal(422, "the form has no file; send one as `file`, with its name")
        if len(parts) > files:
            raise Refusal(*_too_many(batch, files))
        return Sent(parts, fields)

    async def _counted(
        self, request: Request, held: _Held, most: int, too_large: Refusal
    ) -> AsyncGenerator[bytes, None]:
        """The body in pieces, as long as they come quickly enough and are not too many."""
        declared = request.headers.get("content-length", "")
        if declared.isdigit() and int(declared) > most:
            raise too_large
        stream = request.stream()
        start, got = time.monotonic(), 0
        while True:
            left = start + self.config.upload_timeout + got / RATE - time.monotonic()
            try:
                async with asyncio.timeout(max(left, 0.001)):
                    chunk = await anext(stream)
            except StopAsyncIteration:
                return
            except TimeoutError:
                allowed = self.config.upload_timeout
                raise Refusal(
                    408,
                    f"the upload is too slow: {got:,} bytes came in "
                    f"{time.monotonic() - start:.0f} s; at least {RATE:,} a second are needed",
                    "upload_timeout",
                    allowed,
                ) from None
            got += len(chunk)
            if got > most:
                raise too_large
            held.take(len(chunk))
            yield chunk


class _Held:
    """How many bytes a request has at hand."""

    def __init__(self, uploads: Uploads) -> None:
        self._uploads = uploads
        self.bytes = 0

    def take(self, count: int) -> None:
        """Some more; raises `Refusal` (503) if all requests have too many together."""
        allowed = self._uploads.config.max_upload_memory
        if self._uploads.held + count > allowed:
            raise Refusal(
                503,
                f"all uploads together would be more than {allowed:,} bytes; try again later",
                "max_upload_memory",
                allowed,
                retry_after=2,
            )
        self._uploads.held += count
        self.bytes += count


def _kind(request: Request) -> str:
    """The body's type, without parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()[:100]


def _may_be_picture(kind: str) -> bool:
    """Whether a type says nothing against a picture; curl's own is that of forms."""
    return kind in (
        "",
        "application/octet-stream",
        "application/x-www-form-urlencoded",
    ) or kind.startswith("image/")


def _too_large(limit: str, allowed: int) -> tuple[str, str, int]:
    what = "the pictures are" if limit == "max_batch_bytes" else "the picture's file is"
    return f"{what} larger than {allowed:,} bytes; make it smaller", limit, allowed


def _too_many(batch: bool, files: int) -> tuple[int, str, str, int]:
    if batch:
        return 422, f"there are more than {files} files; send fewer at a time", "max_batch", files
    return 422, "there are several files; send one, or all to /v1/segment/batch", "files", 1
