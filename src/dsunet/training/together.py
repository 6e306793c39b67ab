"""What the processes of one training tell each other: decisions of the first one, and failures.

All of it goes through torch's `TCPStore`, which there is before the process group, while the first
process may still be at work for hours, and which a lost process does not take along. The group
itself, for gradients, is Lightning's.
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]

from dsunet.errors import AbandonedError, TrainingError
from dsunet.support.ranks import STORE, Ranks

__all__ = ["TIMEOUT", "Together", "lost_contact"]

_T = TypeVar("_T")

TIMEOUT = timedelta(minutes=30)
"""The longest that processes wait for each other to come, and at one step for each other."""

_LOOK = 0.1  # seconds between two looks at what is told
_WATCH = 1.0  # seconds between two looks whether somebody has failed
_GRACE = 10.0  # seconds in which a process ends by itself once another has failed
_SAY = 4.0  # seconds in which a process that fails says so, and the others hear it

# Of this process, by who has started it; a second training goes on with the first one's.
_stores: dict[str, TCPStore] = {}
_numbers = itertools.count()


class Together:
    """The processes of a training, as one of them sees them.

    Args:
        ranks: Which one this is. Alone it tells nobody, and hears itself.

    Raises:
        TrainingError: The first one cannot be reached.
    """

    def __init__(self, ranks: Ranks) -> None:
        self.ranks = ranks
        self._start = f"dsunet/{next(_numbers)}/"
        self._ended = threading.Event()
        self._heard = False  # that somebody has failed, and says why
        self._children: list[subprocess.Popen[bytes]] = []
        if ranks.world == 1:
            return
        try:
            self._store = _store(ranks)
            self._come()
        except dist.DistError as error:
            raise TrainingError(
                f"process {ranks.rank} of {ranks.world} ({socket.gethostname()}) cannot reach the "
                f"first one within {_minutes()}: look whether it runs, and whether its address "
                "(MASTER_ADDR, MASTER_PORT) can be reached from here"
            ) from error

    # -- decisions

    def tell(self, name: str, value: _T) -> _T:
        """What the first process says of something; the value that the others give is not used.

        Args:
            name: Of what; the same in all processes, and once in a training.
            value: Ready for JSON.

        Raises:
            AbandonedError: Another process has failed.
        """
        if self.ranks.world == 1:
            return value
        key = f"{self._start}told/{name}"
        if self.ranks.is_first:
            self._store.set(key, json.dumps(value))
            return value
        self._wait(lambda: self._store.check([key]))
        told: _T = json.loads(self._store.get(key))
        return told

    @contextlib.contextmanager
    def first_alone(self, name: str) -> Iterator[None]:
        """The first process goes through the block; the others once it has."""
        if not self.ranks.is_first:
            self.tell(name, True)
        yield
        if self.ranks.is_first:
            self.tell(name, True)

    def join(self, device: torch.device) -> None:
        """Forms the process group, of which every process has one device.

        Raises:
            AbandonedError: Another process has failed before.
            TrainingError: Some have not come.
        """
        if dist.is_initialized():
            return
        key, world = f"{self._start}here", self.ranks.world
        self._wait(lambda: self._store.add(key, 0) >= world, TIMEOUT.total_seconds())
        on_gpu = device.type == "cuda"
        dist.init_process_group(
            "nccl" if on_gpu else "gloo",
            store=PrefixStore(f"{self._start}group", self._store),
            rank=self.ranks.rank,
            world_size=world,
            timeout=TIMEOUT,
            device_id=device if on_gpu else None,
        )

    def _come(self) -> None:
        self._store.add(f"{self._start}here", 1)

    def _wait(self, is_so: Callable[[], bool], seconds: float = float("inf")) -> None:
        until = time.monotonic() + seconds
        while not is_so():
            if self._store.add(f"{self._start}failed", 0):
                raise AbandonedError("another process of this training has failed")
            if time.monotonic() > until:
                here = self._store.add(f"{self._start}here", 0)
                raise TrainingError(
                    f"{here} of {self.ranks.world} processes have come within {_minutes()}; start "
                    "all of them"
                )
            time.sleep(_LOOK)

    def leave(self) -> None:
        """Ends the process group, when all are done."""
        if self.ranks.world > 1 and dist.is_initialized():
            dist.destroy_process_group()

    # -- failures

    @contextlib.contextmanager
    def one_voice(self) -> Iterator[None]:
        """A failure inside is raised as it is in the process that it comes to first.

        In all others it is an `AbandonedError`. One that is killed says nothing, so another one
        speaks for it.
        """
        if self.ranks.world == 1:
            yield
            return
        threading.Thread(target=self._watch, daemon=True).start()
        try:
            yield
        except KeyboardInterrupt:  # which all hear of, and the first one speaks of
            self._claim()
            self._count("gone")
            raise
        except AbandonedError:
            self._count("gone")
            raise
        except Exception as error:
            raised = self._voiced(error)
            if raised is error:
                raise
            raise raised from error
        finally:
            self._ended.set()

    def adopt(self, children: list[subprocess.Popen[bytes]]) -> None:
        """Has an eye on processes that this one has started, instead of whoever had before.

        Lightning kills this process soon after one of them has ended, before it can say why.
        """
        self._children += children
        children.clear()

    def _voiced(self, error: Exception) -> Exception:
        """What this process is to raise for an error of its own, or for that of others."""
        own = not lost_contact(error)
        if not own:  # another one has gone: it may have said why, or be about to
            self._wait_for("failed", 1)
        if self._claim():
            return error if own else _silent_loss()
        self._count("gone")
        return AbandonedError("another process of this training has failed")

    def _claim(self) -> bool:
        """Whether this process is the first to have failed, and so the one that speaks."""
        number = self._count("failed")
        if number is None:  # the first process has gone with the store
            return self.ranks.rank == 1 and not self._heard
        if number == 1 and self.ranks.is_first:  # the others are to hear of it before it ends
            others = (self._count("here", 0) or 1) - 1
            atexit.register(self._wait_for, "gone", others)
        return number == 1

    def _count(self, name: str, more: int = 1) -> int | None:
        """Adds to a number that all share; `None` if it cannot be reached."""
        try:
            return int(self._store.add(f"{self._start}{name}", more))
        except dist.DistError:
            return None

    def _wait_for(self, name: str, number: int) -> None:
        """Waits a little until a number that all share is reached, or cannot be any more."""
        until = time.monotonic() + _SAY
        while time.monotonic() < until:
            reached = self._count(name, 0)
            if reached is None or reached >= number:
                return
            time.sleep(_LOOK)

    def _watch(self) -> None:
        """Ends this process if it does not end by itself once another one has failed.

        It may wait for the other one in a computation that knows no end, as on GPUs.
        """
        while (alone := self._is_alone()) is None:
            if self._ended.wait(_WATCH):
                return
        if self._ended.wait(_GRACE):
            return
        if alone and self._claim():
            print(f"dsunet: {_silent_loss()}", file=sys.stderr, flush=True)
        os._exit(1)

    def _is_alone(self) -> bool | None:
        """Whether another one has gone without a word; `None` while all is well."""
        failed = self._count("failed", 0)
        if failed:
            self._heard = True
            return False
        lost = failed is None or any(child.poll() for child in self._children)
        return True if lost else None


def lost_contact(error: BaseException) -> bool:
    """Whether an error is that another process has gone, as torch says it in many ways."""
    if isinstance(error, dist.DistError):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and any(
        sign in text for sign in ("/gloo/", "NCCL", "Connection closed by peer")
    )


def _silent_loss() -> TrainingError:
    return TrainingError(
        "a process of this training has ended without a word (killed, maybe because memory ran "
        "out, or its machine is gone); what was saved before is whole: go on with `resume`"
    )


def _store(ranks: Ranks) -> TCPStore:
    """The store of all processes, which the first one keeps, or torchrun does."""
    if ranks.starter in _stores:
        return _stores[ranks.starter]
    soon = timedelta(seconds=60)  # where it is there before the processes are
    if ranks.starter == "nobody":  # those that are to be started find it by the variable
        store = TCPStore("127.0.0.1", 0, None, True, soon, wait_for_workers=False)
        os.environ[STORE] = f"{store.port}/{ranks.world}"
        _stores["dsunet"] = store
        return store
    keeps, patience = False, soon
    if ranks.starter == "dsunet":
        address, port = "127.0.0.1", int(os.environ[STORE].split("/")[0])
    elif ranks.starter == "srun":
        cluster = SLURMEnvironment(auto_requeue=False)
        address, port = cluster.main_address, cluster.main_port
        keeps, patience = ranks.is_first, TIMEOUT
    else:
        address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        keeps = ranks.is_first and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
    store = TCPStore(address, port, None, keeps, patience, wait_for_workers=False)
    store.set_timeout(TIMEOUT)
    _stores[ranks.starter] = store
    return store


def _minutes() -> str:
    return f"{TIMEOUT.total_seconds() / 60:g} minutes"
