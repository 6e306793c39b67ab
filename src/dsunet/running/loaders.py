"""The one way to have items of a data set read, here or by processes that never outlive us."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from torch.utils.data import DataLoader, Dataset

from dsunet.data.dataset import Batch, EpochSampler, PairDataset, collate
from dsunet.support.processes import stay_with_parent

__all__ = ["make_loader", "pair_loader"]

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
) -> DataLoader[_Rows]:
    """Batches of some items.

    Args:
        items: What is read.
        batch_size: Items of a batch; `None` hands them out one by one.
        together: Makes a batch of a list of items, or, one by one, something of each item.
        order: The items' keys, each time it is gone through; 0, 1, 2, … by default.
        workers: Processes that read beside this one; 0 for none. They leave Ctrl-C to this one,
            and end with it, however it ends.
        keep_workers: Keep these processes from one pass over the items to the next.
        pin_memory: Hand out batches in memory that a GPU copies from at once.
    """
    return DataLoader(
        items,
        batch_size,
        sampler=order,
        num_workers=workers,
        persistent_workers=keep_workers and workers > 0,
        pin_memory=pin_memory,
        collate_fn=together,
        worker_init_fn=stay_with_parent,
    )


def pair_loader(
    pairs: PairDataset,
    batch_size: int,
    order: EpochSampler | None = None,
    *,
    workers: int = 0,
    keep_workers: bool = False,
    pin_memory: bool = False,
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
    )
