"""What `/metrics` tells, in Prometheus' form."""

from __future__ import annotations

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)

from dsunet.serve.bodies import Uploads
from dsunet.serve.workers import Workers

__all__ = ["Measures"]

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Measures:
    """Counters of one service.

    Args:
        workers: Whose queue is told.
        uploads: Whose bytes are told.
    """

    def __init__(self, workers: Workers, uploads: Uploads) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self.requests = Counter(
            "dsunet_requests",
            "Requests by route, method and status",
            ("route", "method", "status"),
            registry=self.registry,
        )
        self.seconds = Histogram(
            "dsunet_request_seconds",
            "Seconds from a request's head to its answer's end",
            ("route",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.queued = self._histogram("dsunet_queue_seconds", "Seconds that a picture waited")
        self.worked = self._histogram("dsunet_model_seconds", "Seconds of a picture in a worker")
        self.pictures = Counter(
            "dsunet_pictures", "Pictures by outcome", ("status",), registry=self.registry
        )
        self._gauge("dsunet_queue_length", "Pictures that wait", lambda: workers.queue_length)
        self._gauge("dsunet_workers_ready", "Workers with a model", lambda: workers.ready_count)
        self._gauge("dsunet_workers_busy", "Workers at a picture", lambda: workers.busy_count)
        self._gauge("dsunet_workers_restarts", "Workers replaced", lambda: workers.restarts)
        self._gauge("dsunet_upload_bytes", "Bytes of uploads at hand", lambda: uploads.held)

    def _histogram(self, name: str, text: str) -> Histogram:
        return Histogram(name, text, buckets=_SECONDS, registry=self.registry)

    def _gauge(self, name: str, text: str, value: object) -> None:
        Gauge(name, text, registry=self.registry).set_function(value)  # type: ignore[arg-type]
