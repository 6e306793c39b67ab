"""A process for every variant, so that each has a peak of memory of its own.

All of them wait while one takes a step: that way variants take turns, and what else the machine is
doing falls on all of them alike.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from typing import Any, cast

import torch
from torch import nn

from dsunet.benchmarking.flops import count_flops
from dsunet.benchmarking.memory import peak_bytes
from dsunet.benchmarking.networks import network_of
from dsunet.benchmarking.steps import (
    FeatureFile,
    example_batch,
    example_views,
    matrix_product,
    seconds_of,
    training_step,
)
from dsunet.config import Variant
from dsunet.errors import DsunetError
from dsunet.predict import Segmenter
from dsunet.running.memory import WORTH, give_back, keep_freed
from dsunet.running.place import Place, choose_device
from dsunet.support.processes import process_context, stay_with_parent

__all__ = ["Child", "ChildError", "Matrices"]


class ChildError(DsunetError):
    """A variant could not be measured; the message says why, in one line."""


@dataclass(frozen=True)
class Matrices:
    """Products of square matrices, as a measure of what the device can do."""

    side: int
    dtypes: tuple[str, ...]
    """Such as `float32`; each is asked for by its name."""
    device: str


class Child:
    """A process that has made itself ready to take steps, and takes them when it is asked to.

    Args:
        task: What to do.
        deadline: Until when, on the clock of `time.monotonic`, everything has to be done.
    """

    def __init__(self, task: Variant | Matrices, deadline: float | None = None) -> None:
        context = process_context(__name__)
        self.connection, theirs = context.Pipe()
        self.deadline = deadline
        self.process = context.Process(  # type: ignore[attr-defined]
            target=_serve, args=(theirs, task)
        )
        self.process.start()
        theirs.close()

    def ask(self, request: str) -> Any:
        """What the process answers, once it is done.

        Raises:
            ChildError: It failed, was killed or is out of time.
        """
        self.send(request)
        return self.answer()

    def send(self, request: str) -> None:
        """Asks without waiting; `answer` waits."""
        try:
            self.connection.send(request)
        except OSError:  # it has ended; `answer` finds out why
            return

    def answer(self) -> Any:
        """As `ask`, of what was sent before."""
        left = None if self.deadline is None else max(0.0, self.deadline - time.monotonic())
        try:
            if not self.connection.poll(left):
                raise ChildError("out of time")
            kind, value = self.connection.recv()
        except (EOFError, ConnectionError):
            raise ChildError(self._end()) from None
        if kind == "failed":
            raise ChildError(value)
        return value

    def _end(self) -> str:
        self.process.join(10)
        code = self.process.exitcode
        if code == -signal.SIGKILL:
            return "its process was killed, most likely because memory ran out" + _SMALLER
        return f"its process ended by itself (exit code {code})"

    def close(self) -> None:
        """Ends the process."""
        self.connection.close()
        self.process.terminate()
        self.process.join(10)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


_SMALLER = "; try a smaller `batch_size`"


def _serve(connection: Connection, task: Variant | Matrices) -> None:
    """In the process: gets ready, says so, and does what is asked for until nobody asks."""
    stay_with_parent()
    try:
        answers = _multiply(task) if isinstance(task, Matrices) else _ready(task)
        connection.send(("done", None))
        while True:
            connection.send(("done", answers[connection.recv()]()))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return
    except Exception as error:
        connection.send(("failed", _explained(error)))


def _multiply(task: Matrices) -> Mapping[str, Callable[[], Any]]:
    device = choose_device(task.device)
    products = {
        name: matrix_product(task.side, getattr(torch, name), device) for name in task.dtypes
    }
    return {
        name: lambda product=product: seconds_of(product, device)  # type: ignore[misc]
        for name, product in products.items()
    }


def _ready(variant: Variant) -> Mapping[str, Callable[[], Any]]:
    work, device = (_train if variant.task == "train" else _predict)(variant)
    return {
        "time": lambda: seconds_of(work, device),
        "peak": lambda: peak_bytes(device),
        "flops": lambda: count_flops(work),
    }


def _train(variant: Variant) -> tuple[Callable[[], object], torch.device]:
    place = Place.chosen(variant.device, variant.precision)
    device = place.device
    torch.backends.cudnn.benchmark = True  # as training does
    model = place.settle(network_of(variant)).train()
    if variant.channels_last:
        model = model.to(memory_format=torch.channels_last)
    batch = example_batch(model.view_sizes, variant.batch_size, device)
    if variant.compile:
        model.compile()
    maps = None
    if variant.feature_cache:
        maps = FeatureFile(model.semantic_shapes(), variant.batch_size, device).read
        batch = batch._replace(dino=None)
    if variant.naive:
        return training_step(model, batch, place, maps=maps), device
    # as training does
    worth = keep_freed(device) if variant.keep_memory else WORTH
    step = training_step(
        model,
        batch,
        place,
        maps=maps,
        fused=device.type == "cuda" or None,
        tidy=partial(give_back, worth) if device.type == "cpu" else lambda: None,
    )
    return step, device


def _predict(variant: Variant) -> tuple[Callable[[], object], torch.device]:
    options: dict[str, Any] = dict.fromkeys(variant.options, True)
    segmenter = Segmenter(network_of(variant), variant.device, variant.precision, **options)
    segmenter.original = None  # of a copy; nobody needs it here
    network = cast(nn.Module, segmenter.model)
    if variant.channels_last:
        network.to(memory_format=torch.channels_last)
    if variant.compile:
        network.compile()
    if variant.naive:
        network.register_forward_pre_hook(_all_outputs, with_kwargs=True)
    views = example_views((segmenter.sam_size, segmenter.dino_size), variant.batch_size)
    return lambda: segmenter.probabilities(views), torch.device(segmenter.device)


def _all_outputs(_: object, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    return args, {**kwargs, "outputs": "all"}


def _explained(error: Exception) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in text:
        return f"out of memory{_SMALLER}"
    if isinstance(error, DsunetError | ValueError):
        return text
    return f"{type(error).__name__}: {text[:300]}"
