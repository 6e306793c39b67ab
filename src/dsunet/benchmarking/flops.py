"""Counting floating-point operations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils import flop_counter

__all__ = ["count_flops"]


def count_flops(work: Callable[[], object]) -> int:
    """Floating-point operations of one call: those of its convolutions and matrix products.

    Multiplication and addition count as two. What is computed twice, under activation checkpointing
    or by attention on its way back, counts twice. A compiled network is run uncompiled.
    """
    counter = flop_counter.FlopCounterMode(display=False, custom_mapping=_attention_on_cpus())
    with torch.compiler.set_stance("force_eager"), counter:
        work()
    return int(counter.get_total_flops())


def _attention_on_cpus() -> dict[Any, Any]:
    """Fused attention of CPUs, which the counters of some versions of torch do not know."""
    forward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward
    mapping = {forward: _attention_forward, backward: _attention_backward}
    return {op: count for op, count in mapping.items() if op not in flop_counter.flop_registry}


def _attention_forward(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    """B·heads·N·M·2 for each feature of query and value; shapes B×heads×N×E."""
    batch, heads, n, width = query
    return 2 * int(batch * heads * n * key[-2]) * int(width + value[-1])


def _attention_backward(_: Any, query: Any, key: Any, value: Any, *__: Any, **___: Any) -> int:
    """Weights again, their gradient, and those of query, key and value: five products."""
    batch, heads, n, width = query
    return 2 * int(batch * heads * n * key[-2]) * int(3 * width + 2 * value[-1])
