"""A service in a process of its own, on a free port of the loopback interface."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx

WAIT = 60.0
"""Seconds after which something has gone wrong; generous, as tests may share the machine."""


class Served:
    """`dsunet serve` with some flags; to be ended by `stop`."""

    def __init__(self, *flags: object, **environment: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "dsunet.cli", "serve", "--port", "0", *map(str, flags)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )
        self.lines: list[str] = []
        self.errors: list[str] = []
        self._readers = [
            threading.Thread(target=_read, args=pair, daemon=True)
            for pair in (
                (self.process.stdout, self.lines),
                (self.process.stderr, self.errors),
            )
        ]
        for reader in self._readers:
            reader.start()
        self.client = httpx.Client(timeout=WAIT)
        wait_for(lambda: self.lines or self.process.poll() is not None)
        found = re.search(r"http://([\d.]+):(\d+)", self.lines[0] if self.lines else "")
        if found is None:
            self.stop()
            raise AssertionError(self.errors)
        self.url, self.port = found[0], int(found[2])
        self.client.base_url = httpx.URL(self.url)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ends it; gives its exit status."""
        self.client.close()
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            status = self.process.wait(WAIT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        for reader in self._readers:
            reader.join(WAIT)
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()
        return status

    def workers(self) -> list[int]:
        """The numbers of the workers' processes."""
        return [
            int(pid) for pid in children(self.process.pid) if "--multiprocessing-fork" in _call(pid)
        ]

    def measure(self, name: str, **headers: str) -> float:
        """A number of `/metrics`, with all its labels' values together."""
        text = self.client.get("/metrics", headers=headers).text
        found = re.findall(rf"^{name}(?:{{[^}}]*}})? (\S+)$", text, re.MULTILINE)
        return sum(map(float, found))

    def log(self) -> list[dict[str, Any]]:
        """The lines of the access log."""
        return [json.loads(line) for line in self.lines if line.startswith("{")]

    def connect(self) -> socket.socket:
        """A connection."""
        return socket.create_connection(("127.0.0.1", self.port), WAIT)


@contextlib.contextmanager
def served(*flags: object, **environment: str) -> Iterator[Served]:
    """A service that is ended afterwards."""
    service = Served(*flags, **environment)
    try:
        yield service
    finally:
        service.stop()


def _read(stream: Any, lines: list[str]) -> None:
    for line in stream:
        lines.append(line.rstrip("\n"))


def children(pid: int | str) -> list[str]:
    """The numbers of a process' children."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if status.read_text().rpartition(")")[2].split()[1] == str(pid):
                found.append(status.parent.name)
    return found


def _call(pid: str) -> str:
    try:
        return Path("/proc", pid, "cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""


def wait_for(condition: Callable[[], object], seconds: float = WAIT) -> None:
    """Returns as soon as something is so; fails if it is not so in time."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it has not come about"
        time.sleep(0.02)


def answer_of(connection: socket.socket) -> tuple[int, bytes]:
    """Status and body of what comes on a connection until it is closed; 0 if nothing comes."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := connection.recv(65536):
            received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    return int(head.split()[1]) if head else 0, body
