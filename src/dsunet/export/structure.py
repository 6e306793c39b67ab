"""How good a file's maps are beside those of its network, by the structure measure S."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch

from dsunet.config.measuring import MeasuringProtocol
from dsunet.data.pairs import Pair, read_pair
from dsunet.data.views import Views, make_views
from dsunet.errors import DataError, ImageError
from dsunet.export.verify import BATCHES
from dsunet.metrics import measure
from dsunet.network.base import SegmentationModel
from dsunet.running.inference import predict_probabilities
from dsunet.running.maps import map_of_logits, quantise
from dsunet.weights.exported import FileFacts

__all__ = ["PROTOCOL", "Structure", "compare_structure"]

PROTOCOL: MeasuringProtocol = "raw"
"""S is that of the 8-bit maps as they are, of pictures with an object; see `dsunet.metrics`."""


@dataclass(frozen=True)
class Structure:
    """The mean S of a network and of a file made of it, on the same pairs."""

    protocol: str
    pairs: int
    """How many it is the mean of."""
    model: float
    file: float
    drop: float
    """Of the model less that of the file; below zero if the file is the better."""
    largest_drop: float
    """Of one picture."""
    picture: str
    """Which one."""


class _Read(NamedTuple):
    name: str
    views: Views
    mask: np.ndarray


@torch.inference_mode()
def compare_structure(
    network: SegmentationModel,
    session: Any,
    facts: FileFacts,
    pairs: Sequence[Pair],
    on_line: Callable[[str], None] = lambda line: None,
) -> Structure:
    """S of both on some pairs; the file runs in batches of 1, 2, 3 and 5 by turns.

    Args:
        network: In float32 on the CPU, in evaluation mode.
        session: The file: views as arrays → logits, B×1×H×W.
        facts: What it says about itself.
        pairs: Pictures with masks.
        on_line: Is told of those that cannot be read.

    Raises:
        DataError: No mask shows an object.
    """
    names: list[str] = []
    scores: list[tuple[float, float]] = []
    for batch in _batches(_reading(pairs, facts, on_line)):
        first = torch.stack([one.views.sam for one in batch])
        second = None
        if facts.views[1] is not None:
            second = torch.stack([one.views.dino for one in batch if one.views.dino is not None])
        given = [view.numpy() for view in (first, second) if view is not None]
        sizes = [one.views.size for one in batch]
        logits = session(*given)
        of_file = [map_of_logits(each[0], size) for each, size in zip(logits, sizes, strict=True)]
        of_model = predict_probabilities(network, first, second, sizes)
        for one, *maps in zip(batch, of_model, of_file, strict=True):
            found = [measure(quantise(each), one.mask, ("S",), PROTOCOL).values for each in maps]
            if all(found):  # without an object there is no S
                names.append(one.name)
                scores.append((found[0]["S"], found[1]["S"]))
    if not scores:
        raise DataError(
            f"none of {len(pairs)} masks shows an object, so that S says nothing; give pairs with "
            "objects, or images alone"
        )
    model, file = np.array(scores).T
    worst = int(np.argmax(model - file))
    return Structure(
        PROTOCOL,
        len(names),
        float(model.mean()),
        float(file.mean()),
        float((model - file).mean()),
        float((model - file)[worst]),
        names[worst],
    )


def _reading(
    pairs: Sequence[Pair], facts: FileFacts, on_line: Callable[[str], None]
) -> Iterator[_Read]:
    for pair in pairs:
        try:
            image, mask, *_ = read_pair(pair)
        except ImageError as error:
            on_line(f"left out: {error}")
            continue
        yield _Read(pair.name, make_views(image, *facts.views), np.asarray(mask))


def _batches(items: Iterator[_Read]) -> Iterator[list[_Read]]:
    for size in itertools.cycle(BATCHES):
        batch = list(itertools.islice(items, size))
        if not batch:
            return
        yield batch
