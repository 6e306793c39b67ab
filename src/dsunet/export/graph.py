"""A network of torch → an ONNX file, by torch's exporter."""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import warnings
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dsunet.errors import ConfigError, CustomModelError, MissingPackageError
from dsunet.export.limits import ExportFormat
from dsunet.network.base import SegmentationModel
from dsunet.network.classes import class_probabilities
from dsunet.weights.exported import INPUTS, KEY, OUTPUTS, FileFacts

__all__ = ["OPSET", "quietly", "require_packages", "write_onnx"]

OPSET = 18
"""Of the operators in the file: what onnxruntime since 1.14 and OpenVINO since 2023 read."""

TRACED = 2
"""Pictures in the traced batch: with one, the exporter makes a constant of the batch's size."""


def require_packages(format: ExportFormat = "onnx") -> None:  # noqa: A002 -- as the flag
    """Raises `MissingPackageError` unless what exporting to a format needs is installed."""
    needed = ["onnx", "onnxscript", "onnxruntime"] + ["openvino"] * (format == "openvino")
    lacking = []
    for name in needed:
        try:
            __import__(name)
        except ImportError:
            lacking.append(name)
    if lacking:
        extras = "export,openvino" if format == "openvino" else "export"
        raise MissingPackageError(
            f"exporting needs {', '.join(lacking)}; pip install 'dsunet[{extras}]'"
        )


class _OneView(nn.Module):
    """A network as the file has it: view → probability and logits."""

    def __init__(self, network: SegmentationModel) -> None:
        super().__init__()
        self.network = network

    def forward(self, sam_image: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.network(sam_image, outputs="fine").fine
        return class_probabilities(logits, self.network.exclusive), logits


class _TwoViews(_OneView):
    """As `_OneView`, of a network that takes two."""

    def forward(  # type: ignore[override]
        self, sam_image: Tensor, dino_image: Tensor
    ) -> tuple[Tensor, Tensor]:
        logits = self.network(sam_image, dino_image, outputs="fine").fine
        return class_probabilities(logits, self.network.exclusive), logits


def write_onnx(
    network: SegmentationModel, facts: FileFacts, path: Path, *, folded: bool = True
) -> None:
    """Writes the file; its batches may have any size.

    Args:
        network: On the CPU, in float32; it is put into evaluation mode.
        facts: Says its views, and whether the size is to be dynamic.
        path: Where; weights of over 2 GB go into `path` with `.data` behind its name.
        folded: Put BatchNorms into the convolutions before them; otherwise every weight stands in
            the file as the network has it, and the runtimes do that when they open it.

    Raises:
        ConfigError: The network does not take views of any size.
        CustomModelError: It has parts that the exporter cannot translate.
    """
    first, second = facts.views
    views = tuple(torch.zeros(TRACED, 3, *size) for size in (first, second) if size)
    free: dict[int, Any] = {0: torch.export.Dim.DYNAMIC}
    if facts.dynamic_size:
        free |= {axis: facts.multiple * torch.export.Dim(f"n{axis}", min=4) for axis in (2, 3)}
    shapes = (free, {0: torch.export.Dim.DYNAMIC})[: len(views)]
    if facts.dynamic_size:
        network = _padded_alike(network)
    whole = (_OneView if second is None else _TwoViews)(network.eval())
    with torch.inference_mode():  # what is wrong without any exporter says so itself
        whole(*views)
    try:
        with quietly(), torch.no_grad():
            # traced here, because torch.onnx tries several ways and tells of the last one alone
            traced = torch.export.export(whole, views, dynamic_shapes=shapes, strict=False)
            program: Any = torch.onnx.export(
                traced,
                dynamo=True,
                input_names=list(INPUTS[: len(views)]),
                output_names=list(OUTPUTS),
                opset_version=OPSET,
                optimize=folded,
                verbose=False,
            )
    except Exception as error:  # the exporter raises many kinds
        reason = _reason(error)
        if facts.dynamic_size:
            raise ConfigError(
                f"`dynamic_size`: {facts.name} does not take views of any size ({reason}); leave "
                "it out"
            ) from error
        raise CustomModelError(
            f"{facts.name} cannot be exported: torch's exporter does not follow it ({reason}); "
            "loops and conditions that depend on the pixels' values are the usual cause"
        ) from error
    if not folded:
        from onnxscript import optimizer

        with quietly():  # what depends on no input, such as sizes of weights
            optimizer.fold_constants_ir(program.model)
            optimizer.remove_unused_nodes(program.model)
    _require_free(program, facts)
    program.model.metadata_props[KEY] = facts.to_json()
    program.model.producer_name = KEY
    program.save(path)


def _padded_alike(network: SegmentationModel) -> SegmentationModel:
    """A copy whose paddings do not depend on the size of the view.

    TensorFlow's "same" padding, which timm's `Conv2dSame` has, is a function of the size. Of views
    whose sides are multiples of 32 every map that is halved has even sides, and it is always the
    same. The weights are shared.
    """
    from timm.layers.conv2d_same import Conv2dSame

    network = copy.deepcopy(network, {id(p): p for p in network.parameters()})
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, Conv2dSame):
                setattr(parent, name, _with_own_padding(child))
    return network


def _with_own_padding(convolution: Any) -> nn.Module:
    """`Conv2dSame` for maps with sides that its strides divide."""
    if max(convolution.dilation) > 1:
        raise ConfigError("`dynamic_size`: this network has dilated convolutions; leave it out")
    own = _PaddedConv(
        convolution.in_channels,
        convolution.out_channels,
        convolution.kernel_size,
        convolution.stride,
        groups=convolution.groups,
        bias=convolution.bias is not None,
    )
    own.weight, own.bias = convolution.weight, convolution.bias
    return own


class _PaddedConv(nn.Conv2d):
    """A convolution that pads by as much as its kernel is larger than its stride."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 -- as torch calls it
        (down, across) = (
            max(0, kernel - stride)
            for kernel, stride in zip(self.kernel_size, self.stride, strict=True)
        )
        sides = (across // 2, across - across // 2, down // 2, down - down // 2)
        return super().forward(F.pad(input, sides))


def _require_free(program: Any, facts: FileFacts) -> None:
    """Raises `ConfigError` if sizes that were to be free have become constants."""
    shape = program.model.graph.inputs[0].shape
    wanted = [0, 2, 3] if facts.dynamic_size else [0]
    fixed = [axis for axis in wanted if isinstance(shape[axis], int)]
    if fixed:
        what = "batch" if 0 in fixed else "view"
        hint = "; leave `dynamic_size` out" if what == "view" else ""
        raise ConfigError(
            f"the exporter makes a constant of the {what}'s size in {facts.name}{hint}"
        )


def _reason(error: BaseException) -> str:
    """The first cause of an exporter's error, in one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines or [type(error).__name__])[0][:200].rstrip(".")


@contextlib.contextmanager
def quietly() -> Any:
    """Without the words of exporters and quantisers about their own insides."""
    loggers = [
        logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "torch.export", "root")
    ]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
