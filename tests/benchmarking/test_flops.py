"""Floating-point operations, by hand."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch.utils import flop_counter

from dsunet.benchmarking.flops import count_flops


def test_flops_of_a_linear_layer() -> None:
    layer, x = torch.nn.Linear(5, 7), torch.randn(3, 5)
    assert count_flops(lambda: layer(x)) == 2 * 3 * 5 * 7
    # on the way back the gradient of the weights, and of the input if it is wanted
    assert count_flops(lambda: layer(x).sum().backward()) == 2 * (2 * 3 * 5 * 7)
    x.requires_grad_()
    assert count_flops(lambda: layer(x).sum().backward()) == 3 * (2 * 3 * 5 * 7)


def test_flops_of_a_convolution() -> None:
    convolution = torch.nn.Conv2d(4, 6, 3, padding=1, groups=2)
    x = torch.randn(2, 4, 8, 10)
    forward = 2 * (2 * 8 * 10) * 6 * (4 // 2) * 9
    assert count_flops(lambda: convolution(x)) == forward
    assert count_flops(lambda: convolution(x).sum().backward()) == 2 * forward
    transposed = torch.nn.ConvTranspose2d(4, 6, 3, groups=2)
    there = count_flops(lambda: transposed(x))
    assert there == 2 * (2 * 8 * 10) * 4 * (6 // 2) * 9
    assert count_flops(lambda: transposed(x).sum().backward()) == 2 * there
    x.requires_grad_()
    assert count_flops(lambda: convolution(x).sum().backward()) == 3 * forward
    with torch.inference_mode():
        assert count_flops(lambda: convolution(x.detach())) == forward


@pytest.mark.parametrize("known", [True, False])
def test_flops_of_attention(known: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether torch's counter knows the CPU's fused attention, or ours has to."""
    if not known:
        registry = {
            op: count
            for op, count in flop_counter.flop_registry.items()
            if "flash_attention_for_cpu" not in str(op)
        }
        monkeypatch.setattr(flop_counter, "flop_registry", registry)
    query, key, value = (torch.randn(2, 3, n, 8, requires_grad=True) for n in (20, 30, 30))
    product = 2 * (2 * 3) * 20 * 30 * 8
    forward = lambda: F.scaled_dot_product_attention(query, key, value)  # noqa: E731
    assert count_flops(forward) == 2 * product
    assert count_flops(lambda: forward().sum().backward()) == 7 * product
    with torch.inference_mode():
        assert count_flops(forward) == 2 * product
