"""Sharing work among processes that never outlive the one that asked."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.context import BaseContext
from typing import TypeVar

from dsunet.errors import DsunetError

__all__ = [
    "available_cores",
    "in_processes",
    "process_context",
    "stay_with_parent",
    "work_after_fork",
]

_In = TypeVar("_In")
_Out = TypeVar("_Out")

# Below this many items, starting processes takes longer than it saves.
FEWEST = 32


def available_cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def in_processes(
    function: Callable[[_In], _Out], items: Sequence[_In], workers: int
) -> Iterator[_Out]:
    """The results of a function for some items, in their order.

    The processes are made by a fork server or spawned, so they import the function's module anew.
    They leave signals to the process that asked, and end when it does, however that happens.

    Args:
        function: A function at the top of a module.
        items: What to call it with; they and the results have to be picklable.
        workers: How many processes; with 1, or few items, this process does it.

    Raises:
        DsunetError: A process died.
    """
    if workers <= 1 or len(items) < FEWEST:
        yield from map(function, items)
        return
    context = process_context(function.__module__)
    pool = ProcessPoolExecutor(workers, context, initializer=stay_with_parent)
    try:
        yield from pool.map(function, items, chunksize=max(1, min(16, len(items) // (8 * workers))))
    except BrokenProcessPool as error:
        raise DsunetError(
            "a process died, maybe because memory ran out; use fewer `workers`, 1 for none"
        ) from error
    finally:
        with _without_interrupts():
            pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def _without_interrupts() -> Iterator[None]:
    """Holds Ctrl-C off; a second one must not cut tidying up short."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def process_context(module: str) -> BaseContext:
    """How to start processes that import things anew, and share no state with this one.

    Args:
        module: What they need; where there is a fork server, it imports that once for all of them,
            unless it runs already.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([module])
    return context


def stay_with_parent(_number: int = 0) -> None:
    """Leaves signals to the parent, and ends with it; for the start of a process.

    Ctrl-C, SIGTERM and SIGHUP often go to the whole group of processes (by a terminal, `timeout`,
    Docker, systemd, SLURM), but it is the parent that decides what to do; it may still need this
    process to finish. A SIGTERM that the parent itself sends ends this process, and so does the
    parent's end, however it comes: a loader's process of torch, for one, would wait for ever to
    hand over its last batch when its parent was killed. The argument is the number that torch gives
    it.
    """
    parent = multiprocessing.parent_process()
    for name in ("SIGINT", "SIGHUP"):
        if hasattr(signal, name):  # Windows has no SIGHUP
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    if parent is None:
        return
    if hasattr(signal, "sigwaitinfo"):  # not on macOS and Windows
        # threads inherit it, so that the signal waits for the one below
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_obey_alone, args=(parent.pid,), daemon=True).start()
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _obey_alone(sender: int | None) -> None:
    """Waits for a SIGTERM from this process, and ends; those of others are dropped."""
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != sender:
        pass
    os._exit(0)


def _end_with(parent: multiprocessing.process.BaseProcess) -> None:
    parent.join()
    os._exit(1)


_hooked = False


def work_after_fork() -> None:
    """Lets torch compute in processes that are forked from this one from now on.

    After torch has computed with several threads, a forked process has none of them, and waits for
    them for ever at its first computation. With one thread it does not. So every process that is
    forked from here (gunicorn with `--preload`, `multiprocessing` with `fork`) computes with one.

    To be called before anything is computed; calls after the first one do nothing.
    """
    global _hooked
    if _hooked or not hasattr(os, "register_at_fork"):  # Windows cannot fork
        return
    _hooked = True
    os.register_at_fork(after_in_child=_with_one_thread)


def _with_one_thread() -> None:
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)
