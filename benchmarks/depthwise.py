"""What gradients of depthwise convolutions cost in bfloat16, as torch has them and as we do.

    python benchmarks/depthwise.py --output benchmarks/depthwise.json

Every kind of depthwise convolution of `dsunet-lite` at a view of 256 pixels, a batch of 16, on the
CPU: milliseconds of the way back in float32, in torch's own bfloat16 and with `DepthwiseGradients`.
Then whole steps of training (the way there, the loss, the way back, AdamW) in these three ways, in
turns, and the steps' parts. Random values; the smallest time of several.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import dsunet
from dsunet.config import LossConfig
from dsunet.running.depthwise import DepthwiseGradients
from dsunet.running.inference import lay_out
from dsunet.running.place import Place
from dsunet.running.step import loss_of
from dsunet.support.files import write_json
from measuring import circumstances

CPU = torch.device("cpu")
WAYS: dict[str, tuple[torch.dtype, bool]] = {
    "float32": (torch.float32, False),
    "bfloat16": (torch.bfloat16, False),
    "bfloat16, gradients in float32": (torch.bfloat16, True),
}
Kind = tuple[int, int, int, int]  # channels, side of the output, kernel, stride


@contextlib.contextmanager
def computing(way: str) -> Any:
    """A context that computes this way."""
    precision, ours = WAYS[way]
    with (
        Place(CPU, precision).autocast(),
        DepthwiseGradients() if ours else contextlib.nullcontext(),
    ):
        yield


def depthwise_kinds(model: nn.Module, view: Tensor) -> dict[Kind, tuple[nn.Module, Tensor, int]]:
    """Each kind once, with a layer, what enters it, and how many of the kind there are."""
    kinds: dict[Kind, tuple[nn.Module, Tensor, int]] = {}

    def see(layer: nn.Module, given: tuple[Tensor], out: Tensor) -> None:
        assert isinstance(layer, nn.Conv2d)
        kind = (layer.in_channels, out.shape[-1], layer.kernel_size[0], layer.stride[0])
        count = kinds[kind][2] if kind in kinds else 0
        kinds[kind] = (layer, given[0].detach(), count + 1)

    hooks = [
        layer.register_forward_hook(see)
        for layer in model.modules()
        if isinstance(layer, nn.Conv2d) and layer.groups == layer.in_channels > 1
    ]
    with torch.no_grad():
        model(view)
    for hook in hooks:
        hook.remove()
    return kinds


def milliseconds(layer: nn.Module, entering: Tensor, way: str, times: int = 5) -> float:
    """The quickest of several ways back, after one for nothing."""
    return round(1000 * min([way_back(layer, entering, way) for _ in range(times + 1)][1:]), 1)


def way_back(layer: nn.Module, given: Tensor, way: str) -> float:
    """Seconds of a layer's way back."""
    precision = WAYS[way][0]
    entering = given.to(precision).requires_grad_()
    with computing(way):
        out = layer(entering)
    gradient = torch.randn_like(out)
    start = time.perf_counter()
    torch.autograd.backward(out, gradient)
    return time.perf_counter() - start


def step(
    model: nn.Module, optimizer: torch.optim.Optimizer, views: Tensor, way: str
) -> list[float]:
    """Seconds of the way there, the loss, the way back and the optimiser's step."""
    masks = (views[:, :1] > 0).float()
    times = [time.perf_counter()]
    with computing(way):
        outputs = model(views)
    logits = type(outputs)(*(map_.float() for map_ in outputs))
    times.append(time.perf_counter())
    loss = loss_of(logits, masks, LossConfig(bce="boundary_weighted"))
    times.append(time.perf_counter())
    torch.autograd.backward(loss)
    times.append(time.perf_counter())
    optimizer.step()
    optimizer.zero_grad()
    times.append(time.perf_counter())
    return [after - before for before, after in itertools.pairwise(times)]


def main() -> None:
    """Measures, prints the steps and writes the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--view", type=int, default=256)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--steps", type=int, default=5)
    given = parser.parse_args()

    torch.manual_seed(0)
    model = lay_out(dsunet.create_model("dsunet-lite", weights=None), CPU).train()
    views = torch.randn(given.batch_size, 3, given.view, given.view)
    views = views.contiguous(memory_format=torch.channels_last)
    layers = [
        {
            "channels": kind[0],
            "side": kind[1],
            "kernel": kind[2],
            "stride": kind[3],
            "layers": count,
            "milliseconds": {way: milliseconds(layer, entering, way) for way in WAYS},
        }
        for kind, (layer, entering, count) in depthwise_kinds(model, views).items()
    ]
    optimizer = torch.optim.AdamW(model.parameters(), 1e-6)
    taken: dict[str, list[list[float]]] = {way: [] for way in WAYS}
    for _ in range(given.steps + 1):
        for way in WAYS:
            taken[way].append(step(model, optimizer, views, way))
    steps = {}
    for way, all_ in taken.items():
        shortest = min(all_[1:], key=sum)
        names = ("way there", "loss", "way back", "optimiser")
        parts = dict(zip(names, (round(seconds, 3) for seconds in shortest), strict=True))
        steps[way] = {"seconds": round(sum(shortest), 3), **parts}
    write_json(
        given.output,
        {
            **circumstances(),
            "view": given.view,
            "batch": given.batch_size,
            "layers": layers,
            "steps": steps,
        },
    )
    for way, found in steps.items():
        print(way, found)


if __name__ == "__main__":
    main()
