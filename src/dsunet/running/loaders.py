"""The one way to have items of a data set read, here or by processes that never outlive us."""

from __future__ import annotations

import logging
import multiprocessing.queues
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple, TypeVar

import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torch.utils.data.dataloader import _BaseDataLoaderIter, _MultiProcessingDataLoaderIter

from dsunet.data.dataset import Batch, EpochSampler, PairDataset, collate
from dsunet.errors import DsunetError
from dsunet.support.processes import stay_with_parent

__all__ = ["Readers", "affordable", "explain_loss", "make_loader", "pair_loader"]

logger = logging.getLogger(__name__)

SHARED = "/dev/shm"
"""Where Linux keeps the memory in which processes hand over tensors."""

# Share of what is free there that one loader may fill; a second one may work at the same time, and
# items of some data sets differ in size.
_SHARE = 0.5
_PREFETCH = 2  # batches that each process is ahead, as torch has it
_SECONDS = 5.0  # between two looks at them, as torch has it
_BESIDE = 2  # batches that are in use or on their way to a GPU

_Rows = TypeVar("_Rows")


def make_loader(
    items: Dataset[Any],
    batch_size: int | None,
    together: Callable[[Any], _Rows],
    *,
    order: Iterable[Any] | None = None,
    workers: int = 0,
    keep_workers: bool = False,
    pin_memory: bool = False,
    sharing: int = 1,
    interrupted: Callable[[], bool] | None = None,
) -> DataLoader[_Rows]:
    """Batches of some items.

    Args:
        items: What is read.
        batch_size: Items of a batch; `None` hands them out one by one.
        together: Makes a batch of a list of items, or, one by one, something of each item.
        order: The items' keys, each time it is gone through; 0, 1, 2, … by default.
        workers: Processes that read beside this one; 0 for none. They leave signals to this one,
            and end with it, however it ends. Where the shared memory is too small for what they
            make, there are fewer, see `affordable`.
        keep_workers: Keep these processes from one pass over the items to the next.
        pin_memory: Hand out batches in memory that a GPU copies from at once.
        sharing: How many processes on this machine have such a loader at the same time.
        interrupted: Says whether to stop waiting for a batch that does not come.

    Raises:
        DsunetError: While it is gone through: a process that reads was lost.
        KeyboardInterrupt: While it waits: `interrupted` says so.
    """
    readers = Readers(workers, _PREFETCH)
    if workers > 0 and (free := _free_shared_memory()) is not None:
        need = _size_of_a_batch(items, batch_size, together, order)
        readers = affordable(workers, need, free // sharing)
    return _Loader(
        items,
        batch_size,
        sampler=order,
        num_workers=readers.workers,
        prefetch_factor=readers.prefetch if readers.workers else None,
        persistent_workers=keep_workers and readers.workers > 0,
        pin_memory=pin_memory,
        collate_fn=together,
        worker_init_fn=partial(_start_reader, Image.MAX_IMAGE_PIXELS),
        interrupted=interrupted,
    )


class Readers(NamedTuple):
    """Processes that read for a loader."""

    workers: int
    """How many; 0 for none."""
    prefetch: int
    """Batches that each of them is ahead."""


def affordable(workers: int, batch_bytes: int, free: int) -> Readers:
    """As many processes as the shared memory has room for the batches of.

    Batches that do not fit into it are lost, or kill the process that writes them. Fewer processes
    than asked for are told of by a warning.

    Args:
        workers: How many are asked for.
        batch_bytes: What the tensors of one batch take.
        free: Bytes that are free in the shared memory.
    """
    room = int(free * _SHARE) // max(1, batch_bytes) - _BESIDE
    if room >= _PREFETCH * workers:
        return Readers(workers, _PREFETCH)
    fewer = Readers(workers, 1) if room >= workers else Readers(max(0, room), 1)
    if fewer.workers < workers:
        logger.warning(
            "%s has %s free, but batches of %s by %d processes need more: %s; give it more room "
            "(docker run --shm-size 1g) or use fewer `workers`",
            SHARED,
            _megabytes(free),
            _megabytes(batch_bytes),
            workers,
            f"{fewer.workers} will read" if fewer.workers else "this process reads by itself",
        )
    return fewer


def explain_loss(error: BaseException) -> str | None:
    """Why a process that reads may have been lost, if that is what the error says; else `None`."""
    text = str(error)
    if not (isinstance(error, RuntimeError) and text.startswith("DataLoader worker (pid")):
        return None
    return _reason(text.splitlines()[0])


def _reason(noticed: str) -> str:
    free = _free_shared_memory()
    shared = "" if free is None else f" or {SHARED} ({_megabytes(free)} free)"
    return f"a process that reads images has died ({noticed}); memory{shared} may have run out"


class _Loader(DataLoader[_Rows]):
    """A loader that says in one line that a process is lost, and can be told to stop waiting."""

    def __init__(self, *given: Any, interrupted: Callable[[], bool] | None, **named: Any) -> None:
        self.interrupted = interrupted
        super().__init__(*given, **named)

    def _get_iterator(self) -> _BaseDataLoaderIter:
        if self.num_workers == 0:
            return super()._get_iterator()
        return _Waiting(self)


class _Waiting(_MultiProcessingDataLoaderIter):
    """Batches that other processes make.

    While it waits for one, it looks every few seconds whether the processes are alive and whether
    it should stop.
    """

    def __init__(self, loader: _Loader[Any]) -> None:
        self._interrupted = loader.interrupted
        super().__init__(loader)

    def __next__(self) -> Any:
        try:
            return super().__next__()
        except RuntimeError as error:  # wherever torch's handler of signals has raised it
            reason = explain_loss(error)
            if reason is None:
                raise
            raise _lost(reason) from error

    def _next_data(self) -> Any:
        try:
            return super()._next_data()  # type: ignore[no-untyped-call]
        except (ConnectionError, EOFError) as error:
            if str(error).startswith("Caught "):  # it comes from reading an item
                raise
            raise _lost(_reason("its last batch cannot be fetched")) from error

    def _try_get_data(self, timeout: float | None = None) -> tuple[bool, Any]:
        seconds = _SECONDS if timeout is None else timeout
        success, data = super()._try_get_data(seconds)  # type: ignore[no-untyped-call]
        if not success and self._interrupted is not None and self._interrupted():
            raise KeyboardInterrupt
        return success, data

    def __del__(self) -> None:
        with suppress(RuntimeError):  # a lost process is noticed again while the others end
            super().__del__()


def _lost(reason: str) -> DsunetError:
    return DsunetError(f"{reason}; use fewer `workers`, 0 for none")


def _start_reader(max_pixels: int | None, number: int) -> None:
    """The start of a process that reads; larger pictures than here are refused there, too.

    What cannot be handed over ends it. Else that batch alone would be missing, and be waited for
    for ever.
    """
    stay_with_parent(number)
    Image.MAX_IMAGE_PIXELS = max_pixels
    feeder: Any = multiprocessing.queues.Queue
    feeder._on_queue_feeder_error = staticmethod(_end)


def _end(_error: Exception, _item: object) -> None:
    os._exit(1)


def _free_shared_memory() -> int | None:
    """Bytes that are free in the shared memory; `None` where it is no folder."""
    try:
        return shutil.disk_usage(SHARED).free
    except OSError:
        return None


def _size_of_a_batch(
    items: Dataset[Any],
    batch_size: int | None,
    together: Callable[[Any], Any],
    order: Iterable[Any] | None,
) -> int:
    """Bytes of the tensors of one batch, by the first item; 0 if that cannot be read."""
    keys: Iterable[Any] = [0] if order is None else order
    if isinstance(keys, Iterator):  # it could not be gone through again
        return 0
    try:
        item = items[next(iter(keys))]
        if batch_size is None:
            return _tensor_bytes(together(item))
        return batch_size * _tensor_bytes(together([item]))
    except Exception:  # whoever reads it for good says what is wrong with it
        return 0


def _tensor_bytes(thing: object) -> int:
    if isinstance(thing, torch.Tensor):
        return thing.numel() * thing.element_size()
    if isinstance(thing, dict):
        return sum(map(_tensor_bytes, thing.values()))
    if isinstance(thing, list | tuple):
        return sum(map(_tensor_bytes, thing))
    return 0


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.0f} MB" if count >= 10e6 else f"{count / 1e6:.1f} MB"


def pair_loader(
    pairs: PairDataset,
    batch_size: int,
    order: EpochSampler | None = None,
    *,
    workers: int = 0,
    keep_workers: bool = False,
    pin_memory: bool = False,
    sharing: int = 1,
    interrupted: Callable[[], bool] | None = None,
) -> DataLoader[Batch]:
    """Batches of pairs, in the data set's own order by default; arguments as of `make_loader`."""
    return make_loader(
        pairs,
        batch_size,
        collate,
        order=order or EpochSampler(len(pairs), shuffle=False),
        workers=workers,
        keep_workers=keep_workers,
        pin_memory=pin_memory,
        sharing=sharing,
        interrupted=interrupted,
    )
