"""The batch size that fits into the memory that is free."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from dsunet.config import RECIPE_BATCH, LossConfig, TrainConfig
from dsunet.errors import DsunetError, TrainingError
from dsunet.network.base import SegmentationModel
from dsunet.running.memory import free_memory
from dsunet.running.place import Place
from dsunet.running.step import training_loss

__all__ = ["Need", "choose_batch_size", "fit", "memory_of_a_step"]

# Python with torch, timm, Lightning and the kernels of a step loaded, as measured on Linux.
_PROCESS = 1.0e9
# What the C library's heap takes for the tensors of a step, whose sizes leave gaps, as measured.
_GAPS = 1.25
# Share of the free memory that is filled; the rest is for loaders and for what others need.
_SHARE = 0.9
_MEASURED_BATCH = 2


@dataclass(frozen=True)
class Need:
    """Memory that training takes, in bytes: `fixed`, and `per_image` of a batch."""

    fixed: float
    per_image: float

    def of(self, batch: int) -> float:
        """What a batch of this size takes in all."""
        return self.fixed + batch * self.per_image


def choose_batch_size(
    network: SegmentationModel,
    recipe: TrainConfig,
    loss: LossConfig,
    place: Place,
    pairs: int,
    say: Callable[[str], None],
) -> TrainConfig:
    """The recipe with numbers for `batch_size="auto"`, see `fit`; says which and why.

    Args:
        network: What is trained; on a GPU a step is run, after which it is as before.
        recipe: Its `batch_size` is `auto`.
        loss: The loss.
        place: Where to train.
        pairs: How many pairs there are to train on.
        say: Called with the line.

    Raises:
        TrainingError: Nothing fits, or it cannot be found out.
    """
    need = memory_of_a_step(network, loss, place)
    if recipe.multi_scale:  # the largest views
        need = replace(need, per_image=need.per_image * (1 + recipe.multi_scale) ** 2)
    # processes on one machine's CPU share its memory
    free = free_memory(place.device) / (recipe.devices if place.device.type == "cpu" else 1)
    chosen, line = fit(need, free, pairs, recipe)
    say(line)
    return chosen


def fit(need: Need, free: float, pairs: int, recipe: TrainConfig) -> tuple[TrainConfig, str]:
    """The largest of 8, 4, 2 and 1 images for each device that fits, and a line that says why.

    `accumulate` makes up for it, so that the paper's 8 images make a step on all devices together,
    unless it is above 1 already.

    Args:
        need: What training takes.
        free: Bytes that it may take.
        pairs: How many pairs there are to train on; a batch is not larger.
        recipe: The recipe.

    Raises:
        TrainingError: Not even one image fits.
    """
    given, devices = recipe.accumulate > 1, recipe.devices * recipe.num_nodes
    target = max(1, RECIPE_BATCH // (devices * (recipe.accumulate if given else 1)))
    sizes = [size for size in (8, 4, 2, 1) if size <= target]
    allowed = [size for size in sizes if size <= max(1, pairs // devices)]
    batch = next((size for size in allowed if need.of(size) <= _SHARE * free), None)
    if batch is None:
        rather = "" if recipe.activation_checkpointing else ", or `activation_checkpointing`"
        raise TrainingError(
            f"not even a batch of 1 fits: it would take about {_gigabytes(need.of(1))}, "
            f"{_gigabytes(free)} are free; use a smaller `sam_size`{rather}"
        )
    accumulate = recipe.accumulate if given else max(1, target // batch)
    made_up = "" if given or accumulate == 1 else f", accumulated {_times(accumulate)}"
    made_up += f" for the recipe's {RECIPE_BATCH} images a step" if made_up else ""
    if batch == sizes[0]:
        why = f"it takes about {_gigabytes(need.of(batch))}, {_gigabytes(free)} are free"
    elif batch == allowed[0]:
        why = f"there are only {pairs} training pairs"
    else:
        above = allowed[allowed.index(batch) - 1]
        why = (
            f"a batch of {above} would take about {_gigabytes(need.of(above))}, "
            f"{_gigabytes(free)} are free"
        )
    each = f", {batch} on each of {devices} devices" if devices > 1 else ""
    line = f"batch size {batch * devices}{each}{made_up}: {why}"
    return replace(recipe, batch_size=batch * devices, accumulate=accumulate), line


def memory_of_a_step(network: SegmentationModel, loss: LossConfig, place: Place) -> Need:
    """Memory that training a network takes, optimiser included.

    On a GPU a step is run. Elsewhere one is calculated: tensors without values go through a copy
    of the network, and their sizes are summed up.

    Raises:
        TrainingError: The network cannot be run without values.
    """
    tensors = [*network.parameters(), *network.buffers()]
    weights = sum(t.nbytes for t in tensors)
    moments = 2 * sum(p.nbytes for p in network.parameters() if p.requires_grad)
    if place.device.type == "cuda":
        before, peak, batch = _run_a_step(network.to(place.device), loss, place)
        return Need(before + moments, (peak - before) / batch)
    gradients = moments / 2
    try:
        peak = _calculate_a_step(network, loss, place.precision)
    except DsunetError:
        raise
    except Exception as error:  # networks of somebody's own may need values to go on
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise TrainingError(
            f"`batch_size` auto cannot calculate what this network needs ({reason[0]}); give a "
            "number"
        ) from error
    return Need(_PROCESS + weights + moments + gradients, _GAPS * peak / _MEASURED_BATCH)


class _LiveTensors(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the bytes of the tensors that are made and still there."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = 0
        self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        given = {_key(t) for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)}
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor) and (key := _key(tensor)) not in self._known | given:
                storage = tensor.untyped_storage()
                self._known.add(key)
                self.now += storage.nbytes()
                self.peak = max(self.peak, self.now)
                weakref.finalize(storage, self._forget, key, storage.nbytes())
        return out

    def _forget(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size


def _key(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _calculate_a_step(network: SegmentationModel, loss: LossConfig, precision: torch.dtype) -> int:
    """Bytes of all tensors at the height of a forward and backward pass."""
    without_values = FakeTensorMode()
    tensors = [*network.parameters(), *network.buffers()]
    memo: dict[int, Any] = {id(t): without_values.from_tensor(t) for t in tensors}
    ghost = copy.deepcopy(network, memo)
    with without_values, _LiveTensors() as live:
        _forward_and_backward(ghost, loss, Place(torch.device("cpu"), precision), _MEASURED_BATCH)
    peak: int = live.peak
    return peak


def _run_a_step(
    network: SegmentationModel, loss: LossConfig, place: Place
) -> tuple[float, float, int]:
    """Allocated bytes before a step and at its height, and how many images it had."""
    device = place.device
    statistics = {name: buffer.clone() for name, buffer in network.named_buffers()}
    before = torch.cuda.memory_allocated(device)
    for batch in (_MEASURED_BATCH, 1):
        torch.cuda.reset_peak_memory_stats(device)
        try:
            with torch.random.fork_rng([device]):
                _forward_and_backward(network, loss, place, batch)
            break
        except torch.OutOfMemoryError:
            if batch == 1:
                break  # the height that was reached says how much is lacking at least
        finally:
            network.zero_grad(set_to_none=True)
            with torch.no_grad():
                for name, buffer in network.named_buffers():
                    buffer.copy_(statistics[name])
    peak = torch.cuda.max_memory_allocated(device)
    torch.cuda.empty_cache()
    return before, peak, batch


def _forward_and_backward(
    network: SegmentationModel, loss: LossConfig, place: Place, batch: int
) -> None:
    size, second = network.view_sizes
    device = place.device
    sam = torch.zeros(batch, 3, *size, device=device)
    target = torch.zeros(batch, max(1, len(network.classes)), *size, device=device)
    dino, maps = None, None
    if network.absent_parameters:
        maps = [torch.zeros(batch, *s, device=device) for s in network.semantic_shapes()]
    elif second is not None:
        dino = torch.zeros(batch, 3, *second, device=device)
    total = training_loss(
        network, sam, dino, target, loss, maps=maps, place=place, exclusive=network.exclusive
    )
    torch.autograd.backward(total)


def _gigabytes(size: float) -> str:
    return f"{size / 1e9:.1f} GB"


def _times(count: int) -> str:
    return {2: "twice", 4: "four times", 8: "eight times"}.get(count, f"{count} times")
