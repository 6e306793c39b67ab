"""What is around every request: its id, who may ask, its line in the log, its measures."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import json
import queue
import re
import sys
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dsunet.serve.measures import Measures
from dsunet.serve.refusals import Refusal

__all__ = ["Around", "Guard", "Lines", "answer_to"]

_DROPPED_BYTES = 64_000_000
_DROPPING_SECONDS = 3.0
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_OTHER_SITE = (
    "a page of another site may not use this service; its origin has to be allowed when it is "
    "started (--cors-origin)"
)
_SAFE = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' blob: data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
}


class Around:
    """Middleware of the whole service.

    Args:
        app: The service.
        measures: Where requests are counted.
        routes: All known paths, so that measures name no others.
        on_line: Gets a line of JSON for every request; `None` for no log.
        origins: Whose pages may use the service besides its own; `*` is any.
    """

    def __init__(
        self,
        app: ASGIApp,
        measures: Measures,
        routes: Iterable[str],
        on_line: Callable[[str], None] | None,
        origins: Iterable[str],
    ) -> None:
        self.app = app
        self.measures = measures
        self.routes = frozenset(routes)
        self.on_line = on_line
        self.origins = frozenset(origins)
        self.safe = {
            name: value
            for name, value in _SAFE.items()
            if not (self.origins and name == "Cross-Origin-Resource-Policy")
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        request_id = given if _ID.fullmatch(given) else uuid.uuid4().hex
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        state["log"] = {}
        start = time.perf_counter()
        seen = {"status": 0, "out": 0}

        coming = _Coming(headers, receive)

        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                seen["status"] = message["status"]
                answered = MutableHeaders(scope=message)
                if coming.more:
                    answered["Connection"] = "close"
                answered["X-Request-Id"] = request_id
                for name, value in self.safe.items():
                    answered.setdefault(name, value)
                answered.setdefault("Cache-Control", "no-store")
            elif message["type"] == "http.response.body":
                seen["out"] += len(message.get("body", b""))
                if coming.more and not message.get("more_body"):
                    await send({**message, "more_body": True})
                    await coming.drop()
                    message = {"type": "http.response.body", "body": b""}
            await send(message)

        try:
            if self._may(scope["method"], headers):
                await self.app(scope, coming.receive, marked)
            else:
                refusal = Refusal(403, _OTHER_SITE)
                await answer_to(refusal, request_id)(scope, coming.receive, marked)
        except Exception as error:
            traceback.print_exc(file=sys.stderr)
            state["log"]["error"] = f"{type(error).__name__}: {error}"[:300]
            if seen["status"]:
                raise
            refusal = Refusal(500, "the service has made a mistake; its log says more")
            await answer_to(refusal, request_id)(scope, coming.receive, marked)
        finally:
            self._note(scope, seen | {"in": coming.bytes}, time.perf_counter() - start, state)

    def _may(self, method: str, headers: Headers) -> bool:
        """Whether a browser, if it is one, sends something for a page that may use the service.

        What such a page gets to read is CORS' affair; this is about what it gets done.
        """
        if method != "POST" or headers.get("sec-fetch-site") != "cross-site":
            return True
        return "*" in self.origins or headers.get("origin") in self.origins

    def _note(self, scope: Scope, seen: dict[str, int], seconds: float, state: Any) -> None:
        path, method, status = scope["path"], scope["method"], seen["status"] or 499
        route = path if path in self.routes else "/page" if path.startswith("/page/") else "other"
        method = method if method in ("GET", "POST", "HEAD", "OPTIONS") else "other"
        self.measures.requests.labels(route, method, str(status)).inc()
        self.measures.seconds.labels(route).observe(seconds)
        if self.on_line is None:
            return
        client = scope.get("client")
        line = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "id": state["request_id"],
            "client": client[0] if client else None,
            "method": scope["method"][:20],
            "path": path[:200],
            "status": status,
            "bytes_in": seen["in"],
            "bytes_out": seen["out"],
            "seconds": round(seconds, 4),
            **state["log"],
        }
        self.on_line(json.dumps(line))


class Guard:
    """Middleware that answers some paths to those alone who have the token.

    Args:
        app: The service.
        token: The token.
        paths: How such paths begin.
    """

    def __init__(self, app: ASGIApp, token: str, paths: tuple[str, ...]) -> None:
        self.app = app
        self.paths = paths
        self._sum = hashlib.sha256(token.encode()).digest()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"].startswith(self.paths) and not self._has_token(Headers(scope=scope)):
            refusal = Refusal(401, "a token is needed; send it as `Authorization: Bearer TOKEN`")
            await answer_to(refusal, scope["state"]["request_id"])(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def _has_token(self, headers: Headers) -> bool:
        """Takes the same time whatever the token is."""
        scheme, _, token = headers.get("authorization", "").partition(" ")
        digest = hashlib.sha256(token.strip().encode("latin-1", "replace")).digest()
        return hmac.compare_digest(digest, self._sum) and scheme.lower() == "bearer"


class _Coming:
    """A request's body on its way.

    If a connection was closed while the client still sends, it would see that instead of the
    answer: what comes is read and dropped then, for a while.
    """

    def __init__(self, headers: Headers, receive: Receive) -> None:
        self._receive = receive
        self._waits = "100-continue" in headers.get("expect", "").lower()
        self.bytes = 0
        self.more = "transfer-encoding" in headers or headers.get("content-length", "0") != "0"

    async def receive(self) -> Message:
        """As of ASGI."""
        self._waits = False
        message = await self._receive()
        if message["type"] == "http.disconnect" or not message.get("more_body"):
            self.more = False
        self.bytes += len(message.get("body", b""))
        return message

    async def drop(self) -> None:
        """Drops what comes, up to a bound, until the body or the client is at its end."""
        most = self.bytes + _DROPPED_BYTES
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_DROPPING_SECONDS):
                while self.more and not self._waits and self.bytes < most:
                    await self.receive()


def answer_to(refusal: Refusal, request_id: str) -> JSONResponse:
    """What a client is told that is refused."""
    headers = {}
    if refusal.retry_after is not None:
        headers["Retry-After"] = str(refusal.retry_after)
    if refusal.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(refusal.content(request_id), refusal.status, headers)


class Lines:
    """Writes lines to the standard output from a thread, so that nobody waits for its reader.

    Lines that come while a thousand wait are dropped, and so are all once the reader has gone away.
    """

    def __init__(self) -> None:
        self._waiting: queue.Queue[str] = queue.Queue(1000)
        threading.Thread(target=self._write, daemon=True, name="dsunet-log").start()

    def __call__(self, line: str) -> None:
        with contextlib.suppress(queue.Full):
            self._waiting.put_nowait(line)

    def _write(self) -> None:
        while True:
            line = self._waiting.get()
            with contextlib.suppress(OSError, ValueError):
                print(line, flush=True)
            self._waiting.task_done()

    def finish(self, seconds: float = 2.0) -> None:
        """Waits until all lines are written, but no longer than that."""
        until = time.monotonic() + seconds
        while self._waiting.unfinished_tasks and time.monotonic() < until:
            time.sleep(0.01)
