"""Gradients of depthwise convolutions in bfloat16 on a CPU, the quick way."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

__all__ = ["DepthwiseGradients"]

Pair = tuple[int, int]


class _Arguments(NamedTuple):
    """Of a two-dimensional convolution, in torch's own order."""

    input: Tensor
    weight: Tensor
    bias: Tensor | None = None
    stride: int | Pair = 1
    padding: int | Pair | str = 0
    dilation: int | Pair = 1
    groups: int = 1


class DepthwiseGradients(TorchFunctionMode):
    """A context in which depthwise convolutions get their gradients in float32.

    Under bfloat16 autocast on a CPU alone; elsewhere nothing changes. What is computed on the way
    there stays as it is, bit for bit. On the way back torch's library has a quick bfloat16 kernel
    for 3×3 and stride 1, which is left to it, and for others a reference that takes two to seven
    times as long as the float32 one (`benchmarks/depthwise.py`).
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.conv2d and not torch.compiler.is_compiling():
            given = _Arguments(*args, **kwargs)
            if _is_meant(given):
                return _convolve(given)
        return func(*args, **kwargs)


def _is_meant(given: _Arguments) -> bool:
    channels = given.input.shape[-3] if given.input.dim() == 4 else 0
    return (
        given.input.device.type == "cpu"
        and channels == given.groups > 1
        and given.weight.shape[1] == 1
        and not (given.weight.shape[2:] == (3, 3) and _pair(given.stride) == (1, 1))
        and not isinstance(given.padding, str)
        and torch.is_autocast_enabled("cpu")
        and torch.get_autocast_dtype("cpu") == torch.bfloat16
        and torch.is_grad_enabled()
    )


def _convolve(given: _Arguments) -> Tensor:
    settings = (_pair(given.stride), _pair(given.padding), _pair(given.dilation), given.groups)  # type: ignore[arg-type]
    tensors = given.input, given.weight, given.bias
    with torch.autocast("cpu", enabled=False):
        return cast(Tensor, _Convolution.apply(*tensors, *settings))


def _pair(value: int | Pair) -> Pair:
    return (value, value) if isinstance(value, int) else (value[0], value[-1])


class _Convolution(torch.autograd.Function):
    """bfloat16 on the way there, float32 on the way back."""

    @staticmethod
    def forward(
        ctx: Any,
        images: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        stride: Pair,
        padding: Pair,
        dilation: Pair,
        groups: int,
    ) -> Tensor:
        small = images.bfloat16()
        ctx.save_for_backward(small, weight)
        ctx.settings = (stride, padding, dilation, groups)
        ctx.types = (images.dtype, None if bias is None else bias.dtype)
        return F.conv2d(
            small,
            weight.bfloat16(),
            None if bias is None else bias.bfloat16(),
            stride,
            padding,
            dilation,
            groups,
        )

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        small, weight = ctx.saved_tensors
        stride, padding, dilation, groups = ctx.settings
        input_type, bias_type = ctx.types
        gradient = gradients[0].float().contiguous(memory_format=torch.channels_last)
        of_input, of_weight, _ = torch.ops.aten.convolution_backward(
            gradient,
            small.to(torch.float32, memory_format=torch.channels_last),
            weight.bfloat16().float(),  # what the way there had
            None,
            stride,
            padding,
            dilation,
            False,
            (0, 0),
            groups,
            (ctx.needs_input_grad[0], ctx.needs_input_grad[1], False),
        )
        of_bias = gradient.sum((0, 2, 3)).to(bias_type) if ctx.needs_input_grad[2] else None
        return (
            None if of_input is None else of_input.to(input_type),
            None if of_weight is None else of_weight.to(weight.dtype),
            of_bias,
            *(None,) * 4,
        )
