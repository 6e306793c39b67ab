"""Depthwise convolutions under bfloat16 on a CPU: the same way there, gradients in float32."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from timm.layers import create_conv2d
from torch import Tensor, nn

from dsunet.running.depthwise import DepthwiseGradients
from dsunet.running.place import Place

BFLOAT16 = Place(torch.device("cpu"), torch.bfloat16)
LAYERS: dict[str, Callable[[], nn.Module]] = {
    "5x5": lambda: nn.Conv2d(4, 4, 5, padding=1, groups=4),
    "5x5 by 2": lambda: nn.Conv2d(4, 4, 5, stride=2, padding=2, groups=4, bias=False),
    "oblong": lambda: nn.Conv2d(4, 4, (1, 5), stride=(1, 2), padding=(0, 2), groups=4),
    "dilated": lambda: nn.Conv2d(4, 4, 3, padding=2, dilation=2, stride=2, groups=4, bias=False),
    "two each": lambda: nn.Conv2d(4, 8, 5, padding=1, groups=4),
    "same": lambda: create_conv2d(4, 4, 3, stride=2, padding="same", depthwise=True),
}


def run(layer: nn.Module, image: Tensor, *, quick: bool) -> tuple[Tensor, list[Tensor | None]]:
    image = image.clone().requires_grad_()
    layer.zero_grad()
    with BFLOAT16.autocast():
        if quick:
            with DepthwiseGradients():
                out = layer(image)
        else:
            out = layer(image)
    weight = torch.linspace(-1, 1, out.numel()).reshape(out.shape).sin()
    torch.autograd.backward((out.float() * weight).sum())
    return out.detach(), [image.grad, *(p.grad for p in layer.parameters())]


@pytest.mark.parametrize("name", LAYERS)
def test_the_way_there_is_the_same_and_the_gradients_are_those_of_float32(name: str) -> None:
    torch.manual_seed(0)
    layer = LAYERS[name]()
    image = torch.randn(2, 4, 11, 12)
    plain, usual = run(layer, image, quick=False)
    there, found = run(layer, image, quick=True)
    assert there.dtype == torch.bfloat16
    assert torch.equal(there, plain)

    # the exact gradients, of the values that the way there has rounded to
    exact = LAYERS[name]().double()
    with torch.no_grad():
        for copied, its in zip(exact.parameters(), layer.parameters(), strict=True):
            copied.copy_(its.bfloat16())
    rounded = image.bfloat16().double().requires_grad_()
    out: Tensor = exact(rounded)
    # of a type of its own, as the way back gets it
    weight = torch.linspace(-1, 1, out.numel()).reshape(out.shape).sin().bfloat16().double()
    torch.autograd.backward((out * weight).sum())
    wanted = [rounded.grad, *(p.grad for p in exact.parameters())]
    for mine, right, before in zip(found, wanted, usual, strict=True):
        assert mine is not None
        assert right is not None
        assert before is not None
        assert mine.dtype == before.dtype == torch.float32
        torch.testing.assert_close(mine.double(), right, atol=1e-4, rtol=1e-5)


def test_what_is_not_meant_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other convolutions, other types, no gradient: torch's own, bit for bit."""
    from dsunet.running import depthwise

    def fail(*_: object) -> Tensor:
        raise AssertionError("it is not meant")

    image = torch.randn(2, 4, 8, 8, requires_grad=True)
    whole, grouped = nn.Conv2d(4, 4, 3), nn.Conv2d(4, 8, 3, groups=2)
    apart, small = nn.Conv2d(4, 4, 5, groups=4), nn.Conv2d(4, 4, 3, groups=4)
    monkeypatch.setattr(depthwise, "_convolve", fail)
    with DepthwiseGradients():
        assert torch.equal(apart(image), F.conv2d(image, apart.weight, apart.bias, groups=4))
        with BFLOAT16.autocast():
            whole(image)
            grouped(image)
            small(image)  # torch has a quick way back for 3×3
            with torch.no_grad():
                apart(image)
            with pytest.raises(AssertionError, match="not meant"):
                apart(image)


def test_only_what_needs_a_gradient_gets_one() -> None:
    layer = nn.Conv2d(4, 4, 5, groups=4)
    layer.weight.requires_grad = False
    with BFLOAT16.autocast(), DepthwiseGradients():
        out = layer(torch.randn(1, 4, 8, 8))
    torch.autograd.backward(out.float().sum())
    assert layer.weight.grad is None
    assert layer.bias is not None
    assert layer.bias.grad is not None
