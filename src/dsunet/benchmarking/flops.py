"""Counting floating-point operations."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch.utils import flop_counter

from dsunet.network.base import SegmentationModel

__all__ = ["count_flops", "flops_of"]


def count_flops(work: Callable[[], object]) -> int:
    """Floating-point operations of one call: those of its convolutions and matrix products.

    Multiplication and addition count as two. What is computed twice, under activation checkpointing
    or by attention on its way back, counts twice. A compiled network is run uncompiled.
    """
    counter = flop_counter.FlopCounterMode(display=False, custom_mapping=_own_counts())
    with torch.compiler.set_stance("force_eager"), counter:
        work()
    return int(counter.get_total_flops())


def flops_of(network: SegmentationModel) -> int:
    """Floating-point operations of predicting one image; on the meta device nothing is computed."""
    device = next((p.device for p in network.parameters()), torch.device("cpu"))
    first, second = network.view_sizes
    image = torch.zeros(1, 3, *first, device=device)
    other = None if second is None else torch.zeros(1, 3, *second, device=device)
    network.eval()
    with torch.no_grad():
        return count_flops(lambda: network(image, other, outputs="fine"))


def _own_counts() -> dict[Any, Any]:
    """Counts that torch has wrong, or in some versions not at all."""
    forward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward
    attention = {forward: _attention_forward, backward: _attention_backward}
    known = flop_counter.flop_registry
    lacking = {op: count for op, count in attention.items() if op not in known}
    return {torch.ops.aten.convolution_backward: _convolution_backward, **lacking}


def _convolution_backward(gradient: Any, x: Any, weight: Any, *rest: Any, **_: Any) -> int:
    """For input and weight each what the way there took.

    torch's own count takes every channel with every other, whatever the groups: a thousand times
    too much for the weights of a depthwise convolution.
    """
    _, _, _, _, transposed, _, _, wanted = rest[:8]
    positions = math.prod((x if transposed else gradient)[2:])
    return (
        2 * int(gradient[0] * positions * math.prod(weight)) * (bool(wanted[0]) + bool(wanted[1]))
    )


def _attention_forward(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    """B·heads·N·M·2 for each feature of query and value; shapes B×heads×N×E."""
    batch, heads, n, width = query
    return 2 * int(batch * heads * n * key[-2]) * int(width + value[-1])


def _attention_backward(_: Any, query: Any, key: Any, value: Any, *__: Any, **___: Any) -> int:
    """Weights again, their gradient, and those of query, key and value: five products."""
    batch, heads, n, width = query
    return 2 * int(batch * heads * n * key[-2]) * int(3 * width + 2 * value[-1])
