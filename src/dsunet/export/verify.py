"""Whether an exported file says the same as the network that it was made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dsunet.data.views import image_view
from dsunet.errors import ExportError
from dsunet.export.material import Case
from dsunet.network.base import SegmentationModel
from dsunet.network.classes import class_probabilities
from dsunet.weights.exported import FileFacts

__all__ = ["BATCHES", "Difference", "check_file", "compare"]

BATCHES = (1, 2, 3, 5)
"""Sizes of the batches that are compared."""


@dataclass(frozen=True)
class Difference:
    """How far file and network are apart, of all pictures in all batches."""

    largest: float
    """Of one pixel's probability."""
    largest_mean: float
    """Of a picture's mean over its pixels."""
    picture: str
    """Where the largest is."""
    batch: int
    """In a batch of so many pictures."""
    size: tuple[int, int]
    """At a view of this height and width."""
    mean_picture: str
    """Which picture's mean is the largest."""


def check_file(path: Path) -> None:
    """Runs onnx's full check: operators, types and shapes.

    Raises:
        ExportError: The file does not pass.
    """
    import onnx

    try:
        onnx.checker.check_model(str(path), full_check=True)
    except Exception as error:  # it raises several kinds
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
        raise ExportError(f"the exported file does not pass onnx's check: {reason}") from error


@torch.inference_mode()
def compare(
    network: SegmentationModel, session: Any, facts: FileFacts, cases: Sequence[Case]
) -> Difference:
    """The largest differences in probability between a network and a file made of it.

    Args:
        network: In float32 on the CPU, in evaluation mode.
        session: The file: views as arrays → probability, B×1×H×W.
        facts: What it says about itself.
        cases: The pictures; they are repeated to fill the batches.
    """
    found: list[Difference] = []
    first, second = facts.views
    sizes = [first]
    if facts.dynamic_size:  # smaller, and of other proportions
        m = facts.multiple
        sizes.append((max(128, first[0] // 2 // m * m), max(160, first[1] * 3 // 4 // m * m)))
    for size in sizes:
        pictures = [case.picture for case in cases]
        views = [torch.stack([image_view(picture, size) for picture in pictures])]
        if second is not None:
            views.append(torch.stack([image_view(picture, second) for picture in pictures]))
        # one by one: for the network a batch's size makes no difference
        expected = np.concatenate(
            [
                class_probabilities(
                    network(*(v[i : i + 1] for v in views), outputs="fine").fine, network.exclusive
                ).numpy()
                for i in range(len(cases))
            ]
        )
        for batch in BATCHES:
            numbers = [i % len(cases) for i in range(max(batch, len(cases) // batch * batch))]
            for start in range(0, len(numbers), batch):
                chosen = numbers[start : start + batch]
                given = [view[chosen] for view in views]
                apart = np.abs(expected[chosen] - session(*(view.numpy() for view in given)))
                distance, means = apart.max(axis=(1, 2, 3)), apart.mean(axis=(1, 2, 3))
                found += [
                    Difference(float(d), float(m), cases[i].name, batch, size, cases[i].name)
                    for d, m, i in zip(distance, means, chosen, strict=True)
                ]
    worst = max(found, key=lambda one: _order(one.largest))
    mean = max(found, key=lambda one: _order(one.largest_mean))
    return replace(worst, largest_mean=mean.largest_mean, mean_picture=mean.picture)


def _order(value: float) -> float:
    """What is no number comes last."""
    return np.inf if np.isnan(value) else value
