"""How pictures are served: what runs, where it listens, and every bound."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from dsunet.errors import ConfigError

__all__ = ["ServeConfig"]

_WHOLE = ("max_bytes", "max_batch_bytes", "max_pixels", "max_batch", "max_upload_memory")
_SECONDS = ("queue_timeout", "timeout", "upload_timeout")


@dataclass(frozen=True)
class ServeConfig:
    """Model, address and bounds of `dsunet serve`.

    Raises:
        ConfigError: A value makes no sense.
    """

    weights: str | None = None
    """A weights file, a run's folder, or a file that dsunet export has written; by default
    dsunet-lite, which comes with dsunet."""
    engine: str | None = None
    """What computes: torch, onnx (onnxruntime) or openvino; auto is as of dsunet predict. By
    default onnx for dsunet-lite, which needs no torch, and auto for the rest."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""
    host: str = "127.0.0.1"
    """Address to listen at; 0.0.0.0 is every one of this machine's, so that others can reach it."""
    port: int = 8000
    """Port to listen at; 0 takes a free one, which is said."""
    workers: int | None = None
    """Processes with a model each; by default as many as there are cores, four at most. They share
    the cores, unless OMP_NUM_THREADS says how many threads each has."""
    max_bytes: int = 20_000_000
    """The most bytes of a picture's file."""
    max_pixels: int = 64_000_000
    """The most pixels of a picture; more are refused before they are decoded."""
    max_batch: int = 16
    """The most pictures of one request."""
    max_batch_bytes: int = 80_000_000
    """The most bytes of one request with several pictures."""
    max_upload_memory: int = 400_000_000
    """The most bytes of all uploads together that are at hand at a time."""
    max_queue: int = 32
    """How many pictures may wait for a worker; 0 for none."""
    queue_timeout: float = 10.0
    """The most seconds that a picture waits for a worker."""
    timeout: float = 60.0
    """The most seconds that a worker may take for a picture; it is replaced then."""
    upload_timeout: float = 15.0
    """The most seconds that an upload may take, and one more for every 32,768 bytes of it; also for
    a request's head."""
    max_connections: int = 1000
    """The most connections at a time."""
    token_file: str | None = None
    """File with a token, without which nothing is segmented (Authorization: Bearer …); by default
    the environment variable DSUNET_TOKEN, and without it whoever reaches the service may use it."""
    cors_origin: str | None = None
    """Origins, such as https://example.org, whose pages may use the service from a browser,
    separated by commas; * is any. By default none."""
    access_log: bool = True
    """Write a line of JSON to the standard output for every request."""

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ConfigError(f"`port` is {self.port}, but needs 0 to 65535")
        if self.workers is not None and self.workers < 1:
            raise ConfigError(f"`workers` is {self.workers}, but needs at least 1")
        if self.max_queue < 0:
            raise ConfigError(f"`max_queue` is {self.max_queue}, but needs at least 0")
        for name in (*_WHOLE, "max_connections"):
            if getattr(self, name) < 1:
                raise ConfigError(f"`{name}` is {getattr(self, name)}, but needs at least 1")
        for name in _SECONDS:
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ConfigError(f"`{name}` is {value}, but needs more than 0 seconds")
        for origin in self.origins:
            scheme, mark, rest = origin.partition("://")
            if origin != "*" and (scheme not in ("http", "https") or not mark or "/" in rest):
                raise ConfigError(
                    f"`cors_origin` is {origin!r}, but needs an origin such as "
                    "https://example.org, without a path, or * for any"
                )

    @property
    def origins(self) -> list[str]:
        """Of `cors_origin`, one by one."""
        return [each.strip() for each in (self.cors_origin or "").split(",") if each.strip()]

    @property
    def limits(self) -> dict[str, int | float]:
        """The bounds by their names."""
        names = [f.name for f in fields(self) if f.name.startswith("max_")]
        return {name: getattr(self, name) for name in (*names, *_SECONDS)}
