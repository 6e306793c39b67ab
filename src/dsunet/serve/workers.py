"""Worker processes: who is free, who waits, who takes too long, who died."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import multiprocessing
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

from dsunet.config import ServeConfig
from dsunet.errors import ServiceError
from dsunet.serve.refusals import Refusal
from dsunet.serve.work import Job, Stop, work
from dsunet.support.processes import available_cores

__all__ = ["Done", "Workers"]

_AGAIN = (0.0, 0.5, 2.0, 5.0, 15.0)
"""Seconds before a worker that died is started again, the more often it died at its start."""

_TIMEOUT = "timeout"


@dataclass
class Done:
    """What a worker made of a job."""

    content: bytes
    media: str
    notes: list[str]
    queued: float
    """Seconds in the queue."""
    worked: float
    """Seconds in the worker."""


class Worker:
    """A process with a model, which does one job at a time.

    Args:
        pool: Who is told that it is ready, or has died.
    """

    def __init__(self, pool: Workers) -> None:
        self._pool = pool
        self._loop = asyncio.get_running_loop()
        self._answer: asyncio.Future[tuple[dict[str, Any], bytes]] | None = None
        self._expiry: asyncio.TimerHandle | None = None
        self._reason = ""
        self._number = 0  # of its job
        self._taken = False
        self._sending = threading.Lock()
        self.facts: dict[str, Any] = {}
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self.process = context.Process(
            target=work, args=(theirs, pool.config, pool.count), daemon=True, name="dsunet-worker"
        )
        self.process.start()
        theirs.close()
        threading.Thread(target=self._listen, daemon=True, name="dsunet-listener").start()

    def _listen(self) -> None:
        """In a thread: hands on what the process says, and that it has ended."""
        try:
            while True:
                told = json.loads(self._connection.recv_bytes())
                content = self._connection.recv_bytes()
                self._loop.call_soon_threadsafe(self._said, told, content)
        except (EOFError, OSError, ValueError, RuntimeError):  # the last: the loop has ended
            self.process.kill()  # if it is not dead yet
        self.process.join()
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._ended)

    def _said(self, told: dict[str, Any], content: bytes) -> None:
        if "model" in told:
            self.facts = told["model"]
            self._pool.ready(self)
        elif "failed" in told:
            self._reason = told["failed"]
        elif "took" in told:
            self._taken = told["took"] == self._number
        elif self._answer is not None:
            answer = self._done()
            if not answer.done():
                answer.set_result((told, content))
            self._pool.free(self)

    def _ended(self) -> None:
        self._connection.close()
        if self._answer is not None:
            answer = self._done()
            if not answer.done():
                lost = self._taken or self._reason == _TIMEOUT
                answer.set_exception(_Lost(self._reason) if lost else _Unsent())
        self._pool.died(self, self._reason)

    def _done(self) -> asyncio.Future[tuple[dict[str, Any], bytes]]:
        answer, self._answer = self._answer, None
        if self._expiry is not None:
            self._expiry.cancel()
        assert answer is not None
        return answer

    @property
    def is_busy(self) -> bool:
        """Whether it has a job."""
        return self._answer is not None

    async def do(self, job: Job, timeout: float) -> tuple[dict[str, Any], bytes]:
        """Does a job.

        Raises:
            _Unsent: The process died before it took the job.
            _Lost: It died at it, or was ended because it took too long.
        """
        answer = self._answer = self._loop.create_future()
        self._number += 1
        self._taken = False
        self._expiry = self._loop.call_later(timeout, self.end, _TIMEOUT)
        try:
            sending = self._loop.run_in_executor(None, self._send, job)
            if not await asyncio.shield(sending):
                if self._answer is answer:
                    self._done().cancel()
                raise _Unsent
            return await asyncio.shield(answer)
        except asyncio.CancelledError:
            answer.add_done_callback(lambda each: each.cancelled() or each.exception())
            self._loop.run_in_executor(None, self._send, Stop(self._number))
            raise

    def _send(self, told: Job | Stop) -> bool:
        """In a thread: whether the process is there to be told."""
        with self._sending:
            try:
                self._connection.send(told)
            except OSError:
                return False
            return True

    def end(self, reason: str = "") -> None:
        """Ends the process at once."""
        self._reason = reason
        self.process.kill()


class _Lost(Exception):  # noqa: N818 -- inside this module
    """The process died at its job; the text is `timeout` if it was ended for that."""


class _Unsent(Exception):  # noqa: N818
    """The process died before it took its job, which another can do."""


class Workers:
    """Some worker processes, and the queue before them.

    Args:
        config: What to serve, and the bounds.
    """

    def __init__(self, config: ServeConfig) -> None:
        self.config = config
        self.count = config.workers or min(4, available_cores())
        self.facts: dict[str, Any] = {}
        """Of the model, once one worker is ready."""
        self.restarts = 0
        self._all: set[Worker] = set()
        self._idle: deque[Worker] = deque()
        self._waiting: deque[asyncio.Future[Worker]] = deque()
        self._failed_starts = 0
        self._pace = 0.1  # seconds that a job takes, a moving mean
        self._stopping = False
        self._begun: asyncio.Future[None] | None = None

    async def start(self) -> None:
        """Starts the workers; returns when the first one is ready.

        Raises:
            ServiceError: The model cannot be made.
        """
        self._begun = asyncio.get_running_loop().create_future()
        for _ in range(self.count):
            self._all.add(Worker(self))
        await self._begun

    async def stop(self) -> None:
        """Ends all workers."""
        self._stopping = True
        for worker in self._all:
            worker.end()
        processes = [worker.process for worker in self._all]
        await asyncio.gather(*(asyncio.to_thread(process.join, 5) for process in processes))

    # -- what workers say

    def ready(self, worker: Worker) -> None:
        """A worker has its model."""
        self.facts = worker.facts
        self._failed_starts = 0
        if self._begun is not None and not self._begun.done():
            self._begun.set_result(None)
        self.free(worker)

    def free(self, worker: Worker) -> None:
        """A worker can take a job: whoever has waited longest gets it."""
        if self._waiting:
            self._waiting.popleft().set_result(worker)
        else:
            self._idle.append(worker)

    def died(self, worker: Worker, reason: str) -> None:
        """A worker has ended: another takes its place."""
        self._all.discard(worker)
        if worker in self._idle:
            self._idle.remove(worker)
        if self._stopping:
            return
        if not worker.facts:
            if self._begun is not None and not self._begun.done():
                said = reason or "a worker's process ended while it started; is there memory?"
                self._begun.set_exception(ServiceError(said))
                return
            self._failed_starts += 1
        self.restarts += 1
        self._start_later()

    def _start_later(self) -> None:
        delay = _AGAIN[min(self._failed_starts, len(_AGAIN) - 1)]
        asyncio.get_running_loop().call_later(delay, self._start_another)

    def _start_another(self) -> None:
        if self._stopping:
            return
        try:
            self._all.add(Worker(self))
        except OSError:  # too many processes, too little memory: not now
            self._failed_starts += 1
            self._start_later()

    # -- what requests want

    @property
    def ready_count(self) -> int:
        """Workers that have their model."""
        return sum(1 for worker in self._all if worker.facts)

    @property
    def busy_count(self) -> int:
        """Workers that are at a job."""
        return sum(1 for worker in self._all if worker.is_busy)

    @property
    def queue_length(self) -> int:
        """Pictures that wait."""
        return len(self._waiting)

    def check_room(self) -> None:
        """Raises `Refusal` (503) if the queue is full."""
        if not self._idle and self.queue_length >= self.config.max_queue:
            raise Refusal(
                503,
                f"{self.queue_length} pictures wait already, and more may not; try again later",
                "max_queue",
                self.config.max_queue,
                retry_after=self._soon(),
            )

    def _soon(self) -> int:
        """Seconds after which there is room again, about."""
        return min(60, max(1, math.ceil(self.queue_length * self._pace / self.count)))

    async def run(self, job: Job) -> Done:
        """Does a job in the first worker that is free.

        If the caller is cancelled, the job leaves the queue, or the worker leaves it at its next
        step.

        Raises:
            Refusal: 503, the queue is full, or the worker died at this job; 504, it waited or
                worked too long; 413, 415, 422: the picture.
        """
        start = time.perf_counter()
        while True:
            worker = await self._free_worker(start)
            queued = time.perf_counter() - start
            try:
                told, content = await worker.do(job, self.config.timeout)
            except _Unsent:
                continue
            except _Lost as lost:
                raise self._refusal_of(str(lost)) from None
            seconds = told["seconds"]
            self._pace += (seconds - self._pace) / 16
            if "error" in told:
                raise Refusal(
                    told["status"], told["error"], told.get("limit", ""), told.get("allowed")
                )
            return Done(content, told["media"], told["notes"], queued, seconds)

    def _refusal_of(self, reason: str) -> Refusal:
        if reason == _TIMEOUT:
            allowed = self.config.timeout
            return Refusal(
                504,
                f"the model took more than {allowed:g} s for the picture; make it smaller",
                "timeout",
                allowed,
            )
        return Refusal(503, "the worker died at this picture; try again", retry_after=1)

    async def _free_worker(self, start: float) -> Worker:
        if self._idle:
            return self._idle.popleft()
        self.check_room()
        waiter: asyncio.Future[Worker] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        left = self.config.queue_timeout - (time.perf_counter() - start)
        try:
            await asyncio.wait({waiter}, timeout=max(left, 0.001))
        except asyncio.CancelledError:
            self._give_up(waiter)
            raise
        if waiter.done():
            return waiter.result()
        self._give_up(waiter)
        allowed = self.config.queue_timeout
        raise Refusal(
            504,
            f"no worker was free within {allowed:g} s; try again later",
            "queue_timeout",
            allowed,
            retry_after=self._soon(),
        )

    def _give_up(self, waiter: asyncio.Future[Worker]) -> None:
        """Whoever waited does so no more; a worker that it may have got meanwhile is free."""
        if waiter.done():
            self.free(waiter.result())
        else:
            self._waiting.remove(waiter)
