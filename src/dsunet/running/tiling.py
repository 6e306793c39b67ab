"""From the maps of tiles to the map of the whole picture, band by band: needs no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from dsunet.data.augment import Box
from dsunet.data.tiles import Grid

__all__ = ["blended", "blended_bands"]

Maps = Callable[[Sequence[Box]], Sequence[np.ndarray]]


def blended_bands(grid: Grid, maps_of: Maps, batch: int = 1) -> Iterator[tuple[int, np.ndarray]]:
    """The rows of the whole map that no later tile touches, from the top.

    Maps of overlapping tiles are summed with the weights of `Axis.weights`, which come to 1 at
    every pixel. At no time is more kept than one row of tiles over the picture's width.

    Args:
        grid: The tiles.
        maps_of: Gives the maps of some tiles, …×h×w each, by their boxes.
        batch: How many it is asked for at a time, at most.

    Yields:
        The first row's number, and …×rows×W float32.
    """
    down, across = grid.down, grid.across
    begun: np.ndarray | None = None
    for number, top in enumerate(down.starts):
        boxes, band = grid.row(number), None
        for first in range(0, len(boxes), batch):
            some = boxes[first : first + batch]
            for column, map_ in enumerate(maps_of(some), first):
                if band is None:
                    shape = (*map_.shape[:-2], down.side, across.length)
                    band = np.zeros(shape, np.float32)
                    if begun is not None:
                        band[..., : begun.shape[-2], :] = begun
                left = across.starts[column]
                weight = np.multiply.outer(down.weights[number], across.weights[column])
                band[..., left : left + across.side] += map_ * weight
        assert band is not None
        is_last = number == len(down.starts) - 1
        done = down.side if is_last else down.starts[number + 1] - top
        begun = band[..., done:, :].copy()
        yield top, band[..., :done, :]


def blended(grid: Grid, maps_of: Maps, batch: int = 1) -> np.ndarray:
    """The whole map, …×H×W float32; arguments as of `blended_bands`."""
    whole: np.ndarray | None = None
    for top, band in blended_bands(grid, maps_of, batch):
        if whole is None:
            whole = np.empty((*band.shape[:-2], grid.down.length, band.shape[-1]), np.float32)
        whole[..., top : top + band.shape[-2], :] = band
    assert whole is not None
    return whole
