"""The service under load: memory, health, slow clients, a killed worker, throughput.

    python benchmarks/serve_load.py --output benchmarks/serve-load.json

Starts `dsunet serve` on the loopback interface and sends it pictures of mixed sizes and formats,
one in a hundred broken, from a few connections; 200 slow clients are held open meanwhile, and
`/health` is asked all the time. Then one worker is killed under load. Then service and bare engine
take turns at the same pictures: the engine in as many processes as there are workers, of the same
priority, without HTTP. Every loop is bounded.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import http.client
import io
import json
import multiprocessing
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from dsunet.config import Options, ServeConfig
from dsunet.data.synthetic import synthetic_pair
from dsunet.errors import DsunetError
from dsunet.serve.fields import Ask
from dsunet.serve.work import Job, segment, segmenter_of, yield_to_the_service
from dsunet.support.files import write_json

SIZES = ((64, 48), (200, 150), (320, 240), (480, 640), (640, 480), (800, 600), (1200, 900))
FORMS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP")
OUTPUTS = ("probability", "probability", "binary", "overlay", "cutout", "json")
BROKEN = 100
"""One request of so many has a broken picture."""


class Request(NamedTuple):
    """What is sent."""

    content: bytes
    output: str
    broken: bool


def mixed_requests() -> list[Request]:
    """100 requests, of which one is broken; the same at every call."""
    draws = np.random.default_rng(0)
    requests = []
    for number in range(BROKEN):
        size = SIZES[number % len(SIZES)]
        picture = synthetic_pair(number, 256)[0].resize(size, Image.Resampling.BICUBIC)
        file = io.BytesIO()
        picture.save(file, FORMS[number % len(FORMS)])
        content = file.getvalue()
        broken = number == BROKEN // 2
        if broken:
            content = content[: len(content) // 2]
        requests.append(Request(content, OUTPUTS[draws.integers(len(OUTPUTS))], broken))
    return requests


class Service:
    """`dsunet serve` in a process of its own."""

    def __init__(self, workers: int, log: Path) -> None:
        call = [sys.executable, "-m", "dsunet.cli", "serve", "--port", "0"]
        call += ["--workers", str(workers), "--max-queue", "64", "--queue-timeout", "60"]
        self.log = open(log, "w+")  # noqa: SIM115 -- as long as the service
        self.process = subprocess.Popen(call, stdout=self.log, text=True)
        self.port = 0
        for _ in range(1200):
            found = re.search(r"http://[\d.]+:(\d+)", log.read_text())
            if found:
                self.port = int(found[1])
                break
            time.sleep(0.05)
        if not self.port:
            raise SystemExit("the service has not started")
        for _ in range(1200):
            if self.ready() == workers:
                return
            time.sleep(0.05)
        raise SystemExit("the workers have not started")

    def get(self, path: str) -> dict[str, Any]:
        """A document of the service."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("GET", path)
        content = connection.getresponse().read()
        connection.close()
        return dict(json.loads(content))

    def ready(self) -> int:
        """Workers that have a model."""
        return int(self.get("/ready")["workers"])

    def workers(self) -> list[int]:
        """Their processes."""
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                parent = stat.read_text().rpartition(")")[2].split()[1]
                call = (stat.parent / "cmdline").read_text()
                if parent == str(self.process.pid) and "--multiprocessing-fork" in call:
                    found.append(int(stat.parent.name))
        return sorted(found)

    def memory(self) -> dict[str, float]:
        """Resident MB of the service and of its workers."""
        workers = [resident(pid) for pid in self.workers()]
        return {"service_mb": resident(self.process.pid), "workers_mb": round(sum(workers), 1)}

    def processor_time(self) -> float:
        """Seconds of processors that the service and its workers have taken."""
        ticks = 0
        for pid in (self.process.pid, *self.workers()):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def stop(self) -> int:
        """Ends it; gives its exit status."""
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(120)
        self.log.close()
        return status


def resident(pid: int) -> float:
    """MB of memory that a process has now."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)


class Load:
    """Sends requests from some connections at a time.

    Args:
        port: Of the service.
        requests: What to send, again and again.
        connections: How many are sent at a time.
    """

    def __init__(self, port: int, requests: list[Request], connections: int) -> None:
        self.port = port
        self.requests = requests
        self.connections = connections
        self.statuses: Counter[str] = Counter()
        self.done = 0
        self._sums: dict[int, str] = {}
        self._lock = threading.Lock()

    def send(self, count: int, every: int = 0, then: Any = None) -> float:
        """Sends so many; gives the seconds that it took.

        Args:
            count: How many.
            every: After so many answers `then` is called, with the number of answers.
            then: Called meanwhile.
        """
        numbers = iter(range(count))
        threads = [
            threading.Thread(target=self._send_some, args=(numbers, every, then))
            for _ in range(self.connections)
        ]
        start = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return time.perf_counter() - start

    def _send_some(self, numbers: Iterator[int], every: int, then: Any) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        while True:
            with self._lock:
                number = next(numbers, None)
            if number is None:
                break
            kind = number % len(self.requests)
            request = self.requests[kind]
            try:
                connection.request(
                    "POST", f"/v1/segment?output={request.output}", body=request.content
                )
                answer = connection.getresponse()
                outcome = self._judged(kind, answer.status, answer.read())
            except (OSError, http.client.HTTPException) as error:
                outcome = type(error).__name__
                connection.close()
            with self._lock:
                self.statuses[outcome] += 1
                self.done += 1
                if every and self.done % every == 0:
                    then(self.done)
        connection.close()

    def _judged(self, kind: int, status: int, content: bytes) -> str:
        """Whether an answer is what it should be: its kind's first one, byte for byte."""
        if self.requests[kind].broken:
            return "422, as it should be" if status == 422 else f"{status}, broken picture"
        if status != 200:
            return str(status)
        found = hashlib.sha256(content).hexdigest()
        with self._lock:
            return "200" if self._sums.setdefault(kind, found) == found else "200, other bytes"


def ask_health(port: int, stop: Event, seconds: Any) -> None:
    """In a process: times `/health` until it is told to stop, an hour at most."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    times: list[float] = []
    until = time.monotonic() + 3600
    while not stop.wait(0.02) and time.monotonic() < until:
        start = time.perf_counter()
        connection.request("GET", "/health")
        connection.getresponse().read()
        times.append(time.perf_counter() - start)
    connection.close()
    seconds.put(times)


def be_slow(port: int, count: int, stop: Event, told: Any) -> None:
    """In a process: holds connections open that send a byte a second, half of them bodies."""
    several: list[socket.socket | None] = [None] * count
    head = b"POST /v1/segment HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n"
    opened, least, until = 0, count, time.monotonic() + 3600
    while not stop.wait(1.0) and time.monotonic() < until:
        for place, each in enumerate(several):
            try:
                if each is None:
                    each = socket.create_connection(("127.0.0.1", port), 10)
                    several[place], opened = each, opened + 1
                    each.sendall(head if place % 2 else b"GET /health HTTP/1.1\r\nX-Slow: ")
                each.sendall(b"x")
            except OSError:
                if each is not None:
                    each.close()
                several[place] = None
        least = min(least, sum(each is not None for each in several))
    for each in several:
        if each is not None:
            each.close()
    told.put({"held": count, "opened": opened, "held_at_least": least})


_segmenter: Any = None


def begin() -> None:
    """In a process of the bare engine."""
    global _segmenter
    yield_to_the_service()
    _segmenter = segmenter_of(ServeConfig())


def bare(request: Request) -> float:
    """In such a process: the same work as that of a worker, without HTTP; gives processor time."""
    kind = "probability" if request.output == "json" else request.output
    start = time.process_time()
    with contextlib.suppress(DsunetError):
        segment(_segmenter, Job(request.content, Ask(request.output, Options((kind,)))))
    return time.process_time() - start


def percentile(times: list[float], share: float) -> float:
    """In ms."""
    return round(1000 * sorted(times)[min(len(times) - 1, int(share * len(times)))], 2)


def under_load(service: Service, load: Load, count: int, slow: int) -> dict[str, Any]:
    """Many requests, with slow clients and questions for health beside them."""
    context = multiprocessing.get_context("spawn")
    stop, seconds, told = context.Event(), context.Queue(), context.Queue()
    beside = [
        context.Process(target=ask_health, args=(service.port, stop, seconds)),
        context.Process(target=be_slow, args=(service.port, slow, stop, told)),
    ]
    memory: list[dict[str, float]] = []
    samples: list[float] = []

    def sample() -> None:
        while not stop.wait(1.0):
            with contextlib.suppress(OSError):
                samples.append(sum(service.memory().values()))

    threading.Thread(target=sample, daemon=True).start()
    for process in beside:
        process.start()
    took = 0.0
    for _ in range(10):
        took += load.send(count // 10)
        busy, at_rest = samples[:] or [0.0], service.memory()
        samples.clear()
        memory.append(
            {
                "requests": load.done,
                **at_rest,
                "busy_mean_mb": round(statistics.mean(busy), 1),
                "busy_largest_mb": round(max(busy), 1),
            }
        )
        print(memory[-1], flush=True)
    stop.set()
    times, held = seconds.get(timeout=60), told.get(timeout=60)
    for process in beside:
        process.join(60)
    totals = [each["service_mb"] + each["workers_mb"] for each in memory]
    return {
        "requests": count,
        "connections": load.connections,
        "seconds": round(took, 1),
        "requests_per_second": round(count / took, 2),
        "statuses": dict(load.statuses),
        "memory": memory,
        "growth_at_rest_after_first_tenth": round(totals[-1] / totals[0] - 1, 4),
        "health_ms": {
            "asked": len(times),
            "median": percentile(times, 0.5),
            "p99": percentile(times, 0.99),
            "largest": percentile(times, 1.0),
        },
        "slow_clients": held,
    }


def with_a_kill(service: Service, load: Load, count: int) -> dict[str, Any]:
    """Some requests, during which a worker is killed."""
    load.statuses.clear()
    load.done = 0
    noted: dict[str, float] = {}
    before = service.ready()

    def kill(done: int) -> None:
        if done == count // 3:
            os.kill(service.workers()[0], signal.SIGKILL)
            noted["killed"] = time.monotonic()
            threading.Thread(target=watch).start()

    def watch() -> None:
        fell = False
        for _ in range(3000):
            ready = service.ready()
            fell = fell or ready < before
            if fell and ready == before:
                noted["whole"] = time.monotonic()
                return
            time.sleep(0.01)

    load.send(count, count // 3, kill)
    for _ in range(3000):
        if "whole" in noted:
            break
        time.sleep(0.01)
    return {
        "requests": count,
        "statuses": dict(load.statuses),
        "whole_again_after_s": round(noted["whole"] - noted["killed"], 2),
    }


def in_turns(service: Service, load: Load, workers: int, rounds: int) -> dict[str, Any]:
    """Service and bare engine, one after the other, at the same pictures."""
    requests = load.requests * 2
    pairs, processor = [], []
    with multiprocessing.get_context("spawn").Pool(workers, begin) as pool:
        pool.map(bare, requests, chunksize=1)
        for _ in range(rounds):
            start = time.perf_counter()
            spent = sum(pool.map(bare, requests, chunksize=1))
            engine = len(requests) / (time.perf_counter() - start)
            before = service.processor_time()
            served = len(requests) / load.send(len(requests))
            service_spent = service.processor_time() - before
            pairs.append((round(served, 2), round(engine, 2)))
            processor.append((service_spent / len(requests), spent / len(requests)))
            print(pairs[-1], processor[-1], flush=True)
    shares = [served / engine for served, engine in pairs]
    return {
        "requests_a_round": len(requests),
        "rounds_served_and_bare_per_second": pairs,
        "share_median": round(statistics.median(shares), 3),
        "shares": [round(share, 3) for share in shares],
        "processor_ms_served_and_bare": [
            [round(1000 * seconds, 1) for seconds in pair] for pair in processor
        ],
        "processor_share_median": round(
            statistics.median(engine / served for served, engine in processor), 3
        ),
    }


def main() -> None:
    """Measures, and writes the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--slow", type=int, default=200, help="Slow clients.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--log", type=Path, default=Path("serve-load.log"))
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()

    os.environ.setdefault("OMP_NUM_THREADS", "1")
    requests = mixed_requests()
    service = Service(arguments.workers, arguments.log)
    load = Load(service.port, requests, arguments.connections)
    record: dict[str, Any] = {"workers": arguments.workers, "machine_load": os.getloadavg()}
    record["load"] = under_load(service, load, arguments.requests, arguments.slow)
    record["kill"] = with_a_kill(service, load, 600)
    record["throughput"] = in_turns(service, load, arguments.workers, arguments.rounds)
    record["exit_status"] = service.stop()
    record["machine_load_after"] = os.getloadavg()
    from measuring import circumstances  # which imports torch: only now

    sizes = [f"{width}×{height}" for width, height in SIZES]
    mix = {"sizes": sizes, "formats": FORMS, "outputs": OUTPUTS, "broken": f"1 of {BROKEN}"}
    write_json(arguments.output, {"circumstances": circumstances(), "mix": mix, **record})
    print(json.dumps({k: v for k, v in record.items() if k != "load"}, indent=1))


if __name__ == "__main__":
    main()
