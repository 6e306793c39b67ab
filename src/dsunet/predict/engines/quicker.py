"""Copies of a network that predict more quickly and are good for nothing else."""

from __future__ import annotations

import copy
import importlib.util
import itertools
import os
import shutil
import warnings
from collections.abc import Callable, Iterator
from typing import TypeVar

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from dsunet.errors import ConfigError, CustomModelError, DeviceError
from dsunet.network.base import SegmentationModel
from dsunet.network.encoders import Adapter
from dsunet.network.fusion import ChannelModulation

__all__ = ["compile_network", "fold_batchnorm", "quantise_encoders", "run_compiled", "shared_copy"]

_T = TypeVar("_T")

# What torch says of the quantisation that it has; see `quantise_encoders`.
_DEPRECATIONS: tuple[tuple[str, type[Warning]], ...] = (
    (r"torch\.ao\.quantization is deprecated and will be removed", DeprecationWarning),
    (r"torch\.quantize_per_tensor, torch\.quantize_per_channel and other quantized", UserWarning),
)


def shared_copy(model: SegmentationModel, purpose: str) -> SegmentationModel:
    """A copy of a network's structure on the same tensors, for prediction alone.

    Modules of it can be replaced without any change to the original, and no weight is copied. It
    refuses to be trained and to be saved.

    Args:
        model: In evaluation mode.
        purpose: What the copy is for, for messages.

    Raises:
        CustomModelError: A network of the user's own cannot be copied.
    """
    tensors = itertools.chain(model.parameters(), model.buffers())
    try:
        twin = copy.deepcopy(model, {id(tensor): tensor for tensor in tensors})
    except Exception as error:  # whatever a network of the user's own holds
        raise CustomModelError(
            f"the network cannot be copied, as {purpose} needs ({type(error).__name__}: {error}); "
            f"leave {purpose} out"
        ) from error
    twin.only_predicts = purpose
    return twin


def fold_batchnorm(model: nn.Module) -> int:
    """Puts BatchNorms into the convolutions before them, in place: for a `shared_copy`.

    In evaluation mode BatchNorm is a factor and an offset per channel, which a convolution's
    weights and bias can hold. Results differ in the last digits.

    Folded is what a plain `torch.nn.Sequential`, such as `ConvBN`, holds one directly behind the
    other, and the pair in `ChannelModulation`: a bilinear resize in between lets factors and
    offsets pass.

    Returns:
        How many were folded.
    """
    pairs = list(_foldable(model))
    for owner, first, second in pairs:
        folded = fuse_conv_bn_eval(getattr(owner, first), getattr(owner, second))
        setattr(owner, first, folded.requires_grad_(False))
        setattr(owner, second, nn.Identity())
    return len(pairs)


def _foldable(model: nn.Module) -> Iterator[tuple[nn.Module, str, str]]:
    """Modules with the names of a convolution in it and of the BatchNorm that follows."""
    for module in model.modules():
        if isinstance(module, ChannelModulation):
            yield module, "pointwise", "bn"
        elif type(module).forward is nn.Sequential.forward:
            # named_children would leave out what stands at two places, such as one ReLU for all
            for (first, conv), (second, bn) in itertools.pairwise(module._modules.items()):
                plain = type(conv) is nn.Conv2d and type(bn) is nn.BatchNorm2d
                if plain and _has_fixed_statistics(bn) and not (_hooks(conv) or _hooks(bn)):
                    yield module, first, second


def _has_fixed_statistics(bn: nn.Module | None) -> bool:
    return isinstance(bn, nn.BatchNorm2d) and bn.running_mean is not None and not bn.training


def _hooks(module: nn.Module | None) -> bool:
    return module is not None and bool(module._forward_hooks or module._forward_pre_hooks)


def quantise_encoders(model: SegmentationModel, device: torch.device, dtype: torch.dtype) -> int:
    """Gives the encoders' linear layers 8-bit weights, in place: for a `shared_copy`.

    Weights are rounded once, a scale per output channel; activations at every call, a scale per
    tensor; sums are exact. Adapters, convolutions, norms and attention itself stay as they are.

    Returns:
        How many layers were replaced.

    Raises:
        DeviceError: It is no CPU that computes in float32, or this torch cannot do it.
        ConfigError: The network has no encoders of dsunet's.
    """
    if device.type != "cpu" or dtype != torch.float32:
        number = str(dtype).removeprefix("torch.")
        raise DeviceError(
            f"int8 is for float32 on a CPU, but the device is {device} with {number}; leave int8 "
            "out, or use `device` cpu and `precision` float32"
        )
    if not model.encoders:
        raise ConfigError("int8 is for networks with dsunet's encoders, which this one has not")
    # torch.ao has been about to be removed since 2.10; torchao, which it names in its place, is
    # slower than float32 on CPUs unless it is compiled, as tried with torchao 0.18. Only this
    # function would have to change.
    try:
        from torch.ao.quantization import per_channel_dynamic_qconfig, quantize_dynamic
    except ImportError as error:
        raise DeviceError(
            f"torch {torch.__version__} has no dynamic quantisation any more; leave int8 out"
        ) from error
    count = 0
    for encoder in model.encoders.values():
        linear = dict(_linear_layers(encoder, ""))
        with warnings.catch_warnings():
            for message, category in _DEPRECATIONS:
                warnings.filterwarnings("ignore", message, category)
            quantize_dynamic(  # type: ignore[no-untyped-call]
                encoder, dict.fromkeys(linear, per_channel_dynamic_qconfig), inplace=True
            )
        count += len(linear)
    return count


def _linear_layers(module: nn.Module, prefix: str) -> Iterator[tuple[str, nn.Linear]]:
    """Linear layers by name, those of adapters left out."""
    for name, child in module.named_children():
        if type(child) is nn.Linear:
            yield f"{prefix}{name}", child
        elif not isinstance(child, Adapter):
            yield from _linear_layers(child, f"{prefix}{name}.")


def compile_network(model: SegmentationModel, device: torch.device) -> None:
    """Has `torch.compile` make the network's code at its first call, in place: a `shared_copy`.

    Raises:
        DeviceError: What it needs is not there: a C++ compiler, for GPUs Triton.
    """
    if device.type == "cuda" and importlib.util.find_spec("triton") is None:
        raise DeviceError(_cannot_compile("there is no package triton, which it needs for GPUs"))
    compilers = [os.environ["CXX"]] if os.environ.get("CXX") else ["g++", "clang++", "cl"]
    if device.type == "cpu" and not any(map(shutil.which, compilers)):
        raise DeviceError(_cannot_compile(f"there is no C++ compiler: {' or '.join(compilers)}"))
    # a number of threads that stands in the code would not be there after a fork
    options = {"cpp.dynamic_threads": True} if device.type == "cpu" else None
    model.compile(options=options)


def run_compiled(call: Callable[[], _T]) -> _T:
    """What a call gives that runs a network after `compile_network`.

    Raises:
        DeviceError: It cannot be compiled here after all.
    """
    from torch._dynamo.exc import TorchDynamoException
    from torch._inductor.exc import InductorError

    try:
        return call()
    except (TorchDynamoException, InductorError) as error:
        raise DeviceError(_cannot_compile(str(error).strip().splitlines()[0])) from error


def _cannot_compile(reason: str) -> str:
    return f"torch.compile does not work here ({reason}); set that right, or leave `compile` out"
