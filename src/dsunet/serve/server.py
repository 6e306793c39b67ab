"""Listening, connections, signals: the service as a process."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from dsunet.config import ServeConfig
from dsunet.errors import ConfigError
from dsunet.serve.app import Service
from dsunet.serve.around import Lines
from dsunet.serve.bodies import RATE
from dsunet.serve.workers import Workers

__all__ = ["listen", "serve", "token_of"]

_HEAD_BYTES = 32_768
_GRACE = 30


def serve(config: ServeConfig, on_start: Callable[[str], None] | None = None) -> None:
    """Serves until SIGTERM or Ctrl-C; requests that are at work then are finished.

    Args:
        config: What, where, and the bounds.
        on_start: Is called with the address when the first worker is ready.

    Raises:
        ConfigError: The address cannot be listened at, or the token's file cannot be read.
        ServiceError: The model cannot be made.
    """
    token = token_of(config)
    with listen(config.host, config.port) as place:
        asyncio.run(_serve(config, token, place, on_start))


async def _serve(
    config: ServeConfig, token: str, place: socket.socket, on_start: Callable[[str], None] | None
) -> None:
    workers = Workers(config)
    lines = Lines() if config.access_log else None
    service = Service(config, workers, token, lines)
    settings = uvicorn.Config(
        service.app,
        http=protocol(config),
        ws="none",
        lifespan="off",
        loop="asyncio",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        h11_max_incomplete_event_size=_HEAD_BYTES,
        timeout_keep_alive=10,
        timeout_graceful_shutdown=int(_GRACE + config.queue_timeout + config.timeout),
        backlog=2048,
    )
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    server = _Server(settings, service)
    # uvicorn raises the signals that it got once more when it is done
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: None)
    serving = asyncio.create_task(server.serve([place]))
    starting = asyncio.create_task(workers.start())
    try:
        await asyncio.wait({serving, starting}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
            if on_start is not None:
                on_start(address_of(config.host, place))
        await serving
    finally:
        server.should_exit = True
        starting.cancel()
        await asyncio.gather(serving, starting, return_exceptions=True)
        await workers.stop()
        if lines is not None:
            lines.finish()


class _Server(uvicorn.Server):
    """Lets the service know that it is to stop."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service

    def handle_exit(self, sig: int, frame: Any) -> None:
        self._service.stopping = True
        super().handle_exit(sig, frame)


def protocol(config: ServeConfig) -> type[asyncio.Protocol]:
    """HTTP as uvicorn has it, with a bound to connections and to the time of a request's head."""

    class Bounded(H11Protocol):
        _head: asyncio.TimerHandle | None = None
        _writing: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            if len(self.connections) > config.max_connections:
                body = _full(config)
                transport.write(_FULL % (len(body), body))
                transport.close()
            self._await_head()

        def _await_head(self) -> None:
            """Of the next request; small answers are to be read meanwhile, too."""
            _cancel(self._head)
            self._head = self.loop.call_later(config.upload_timeout, self._no_head)

        def _no_head(self) -> None:
            if self._writing is None:
                self.transport.abort()
            else:
                self._await_head()

        def pause_writing(self) -> None:
            super().pause_writing()
            self._await_reading()

        def _await_reading(self) -> None:
            """By the client, of what is written to it."""
            unread = self.transport.get_write_buffer_size()
            self._writing = self.loop.call_later(config.upload_timeout, self._look, unread)

        def _look(self, unread: int) -> None:
            if unread - self.transport.get_write_buffer_size() < RATE * config.upload_timeout:
                self.transport.abort()
            else:
                self._await_reading()

        def resume_writing(self) -> None:
            super().resume_writing()
            _cancel(self._writing)
            self._writing = None

        def handle_events(self) -> None:
            before = self.cycle
            super().handle_events()
            if self.cycle is not before:
                _cancel(self._head)

        def on_response_complete(self) -> None:
            super().on_response_complete()
            if self.cycle.response_complete:
                self._await_head()

        def connection_lost(self, exc: Exception | None) -> None:
            _cancel(self._head)
            _cancel(self._writing)
            super().connection_lost(exc)

    return Bounded


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()


_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\n"
    b"Connection: close\r\nRetry-After: 5\r\nContent-Length: %d\r\n\r\n%b"
)


def _full(config: ServeConfig) -> bytes:
    most = config.max_connections
    return (
        f'{{"error": "there are {most} connections already, and more may not; try again later", '
        f'"status": 503, "limit": "max_connections", "allowed": {most}}}'
    ).encode()


def listen(host: str, port: int) -> socket.socket:
    """A socket bound to an address.

    Raises:
        ConfigError: It is taken, not allowed, or none of this machine's.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol_number, _, address = found[0]
        # with its number, asyncio knows that it is TCP, and sends small answers at once
        place = socket.socket(family, kind, protocol_number)
    except OSError as error:
        raise ConfigError(
            f"`host` {host} is no address to listen at ({error.strerror or error}); give "
            "127.0.0.1, 0.0.0.0, or one of this machine's"
        ) from error
    try:
        if os.name == "posix":
            place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        place.bind(address)
        place.setblocking(False)
    except OSError as error:
        place.close()
        raise ConfigError(
            f"{host}:{port} cannot be listened at ({(error.strerror or str(error)).lower()}); "
            "choose another `port` or `host`"
        ) from error
    return place


def address_of(host: str, place: socket.socket) -> str:
    """The address of the service for a browser."""
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)
    shown = f"[{shown}]" if ":" in shown and not shown.startswith("[") else shown
    return f"http://{shown}:{place.getsockname()[1]}"


def token_of(config: ServeConfig) -> str:
    """The token that clients have to send; empty for none.

    Raises:
        ConfigError: Its file cannot be read, or is empty.
    """
    if config.token_file is None:
        return os.environ.get("DSUNET_TOKEN", "").strip()
    try:
        token = Path(config.token_file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "no text"
        raise ConfigError(
            f"`token_file` {config.token_file} cannot be read ({reason.lower()}); name a file with "
            "the token in it"
        ) from error
    if not token:
        raise ConfigError(f"`token_file` {config.token_file} is empty; put a token into it")
    return token
