"""What is timed: a training step, a prediction, a matrix product; and how."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from dsunet.config import LossConfig
from dsunet.data import Sample, collate
from dsunet.data.dataset import Batch
from dsunet.data.synthetic import synthetic_pair
from dsunet.data.views import Views, make_views, mask_view
from dsunet.network.base import SegmentationModel
from dsunet.running.place import Place
from dsunet.running.step import training_loss

__all__ = [
    "FeatureFile",
    "example_batch",
    "example_views",
    "matrix_product",
    "mean_seconds",
    "seconds_of",
    "training_step",
    "wait_for",
]

Sizes = tuple[tuple[int, int], tuple[int, int] | None]

# Generated pictures, of about the size of DUTS' ones; more images than this repeat them.
_PICTURES, _SIDE = 4, 300


def example_views(sizes: Sizes, count: int) -> list[Views]:
    """Views of `count` generated pictures; `sizes` as `SegmentationModel.view_sizes` has them."""
    pictures = [synthetic_pair(i, _SIDE)[0] for i in range(min(count, _PICTURES))]
    views = [make_views(picture, *sizes) for picture in pictures]
    return [views[i % len(views)] for i in range(count)]


def example_batch(sizes: Sizes, count: int, device: torch.device) -> Batch:
    """Views and targets of `count` generated pictures, on a device."""
    masks = [synthetic_pair(i, _SIDE)[1] for i in range(min(count, _PICTURES))]
    targets = [mask_view(mask, sizes[0]) for mask in masks]
    batch = collate(
        [
            Sample(str(i), views.sam, views.dino, targets[i % len(targets)])
            for i, views in enumerate(example_views(sizes, count))
        ]
    )
    dino = batch.dino.to(device) if batch.dino is not None else None
    return batch._replace(sam=batch.sam.to(device), dino=dino, mask=batch.mask.to(device))


class FeatureFile:
    """Made-up features on disk, of four batches, as a feature cache keeps them.

    The file has no name, so nothing is left of it when the process ends, however that happens.

    Args:
        shapes: C, H, W of every map of an image.
        batch_size: Images that one reading gives.
        device: Where to.
    """

    def __init__(
        self, shapes: Sequence[tuple[int, int, int]], batch_size: int, device: torch.device
    ) -> None:
        self.shapes = shapes
        self.batch_size = batch_size
        self.device = device
        values = sum(c * h * w for c, h, w in shapes)
        with tempfile.TemporaryFile() as file:  # it is there as long as it is mapped
            self.values = np.memmap(file, np.float16, "w+", shape=(4 * batch_size, values))
        rng = np.random.default_rng(0)
        for row in self.values:
            row[:] = rng.standard_normal(values, np.float32)
        self.position = 0

    def read(self) -> list[Tensor]:
        """The maps of the next batch, each B×C×H×W float32."""
        rows = (self.position + np.arange(self.batch_size)) % len(self.values)
        self.position += self.batch_size
        batch = torch.from_numpy(self.values[rows]).to(self.device).float()
        parts = torch.split(batch, [c * h * w for c, h, w in self.shapes], dim=1)
        return [
            part.reshape(len(part), *shape) for part, shape in zip(parts, self.shapes, strict=True)
        ]


def training_step(
    network: SegmentationModel,
    batch: Batch,
    place: Place,
    *,
    maps: Callable[[], Sequence[Tensor]] | None = None,
    fused: bool | None = None,
    tidy: Callable[[], None] = lambda: None,
) -> Callable[[], None]:
    """A whole step as in training: forward, loss, backward, AdamW.

    Args:
        network: What is trained.
        batch: What it sees, on its device.
        place: Where all of it is, and the number type.
        maps: Reads DINOv2's maps, in every step, instead of the view that it would see.
        fused: Whether AdamW is one kernel for all tensors.
        tidy: Called after the way there and after the step.
    """
    trained = [p for p in network.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, fused=fused)

    def step() -> None:
        kept = None if maps is None else maps()
        loss = training_loss(
            network, batch.sam, batch.dino, batch.mask, LossConfig(), maps=kept, place=place
        )
        optimizer.zero_grad()
        tidy()
        torch.autograd.backward(loss)
        optimizer.step()
        tidy()

    return step


def matrix_product(side: int, dtype: torch.dtype, device: torch.device) -> Callable[[], object]:
    """The product of two square matrices: 2·side³ FLOPs."""
    a, b = (torch.randn(side, side).to(device, dtype) for _ in range(2))
    return lambda: a @ b


def seconds_of(work: Callable[[], object], device: torch.device) -> float:
    """Seconds that one call takes until the device is done with it."""
    wait_for(device)
    started = time.perf_counter()
    work()
    wait_for(device)
    return time.perf_counter() - started


def mean_seconds(work: Callable[[], object], device: torch.device, seconds: float = 1.0) -> float:
    """Seconds that one call takes, after one that warms up; the mean of as many as fit."""
    work()
    wait_for(device)
    started = time.perf_counter()
    count = 0
    while count == 0 or time.perf_counter() - started < seconds:
        work()
        count += 1
        wait_for(device)
    return (time.perf_counter() - started) / count


def wait_for(device: torch.device) -> None:
    """Returns when a device has done all that it was asked for."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
