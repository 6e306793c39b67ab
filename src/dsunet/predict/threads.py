"""Work beside the model: threads, a few images ahead of it and behind."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any, TypeVar

__all__ = ["ahead", "in_batches", "pool"]

_T = TypeVar("_T")


class _Inline(Executor):
    """Does what it is asked for at once, in the thread that asks."""

    def submit(self, function: Callable[..., _T], /, *args: Any, **kwargs: Any) -> Future[_T]:
        future: Future[_T] = Future()
        try:
            future.set_result(function(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


def pool(workers: int) -> Executor:
    """That many threads; of none, the one that asks does it at once."""
    return ThreadPoolExecutor(workers) if workers else _Inline()


def ahead(futures: Iterable[Future[_T]], count: int) -> Iterator[_T]:
    """The results of futures in order, with at most `count` of them under way."""
    window: deque[Future[_T]] = deque()
    for future in futures:
        window.append(future)
        if len(window) >= count:
            yield window.popleft().result()
    while window:
        yield window.popleft().result()


def in_batches(items: Iterable[_T], size: int) -> Iterator[list[_T]]:
    """Items in lists of `size`; the last one may be shorter."""
    batch: list[_T] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
