"""A float32 file → one with smaller numbers: half-precision ones, or whole ones of eight bits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process
from onnxruntime.transformers.float16 import convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel

from dsunet.errors import ConfigError
from dsunet.export.graph import quietly
from dsunet.weights.exported import KEY, OUTPUTS, FileFacts

__all__ = ["INT8_TYPES", "LINEAR", "to_dynamic_int8", "to_float16", "to_static_int8"]

LINEAR = "MatMul"
"""The operator of linear layers."""

LAYERS = ("Conv", "MatMul", "Gemm")
"""Operators with weights."""

FIRST = 3
"""Layers at the beginning that stay float32 in an int8 file: what they lose, all others get."""

INT8_TYPES = (*LAYERS, "AveragePool", "Concat", "Relu", "Clip")
"""Operators that are computed with whole numbers in a network of convolutions.

Attention's products of matrices, without weights, are not, nor are resizing, which is quicker in
float32, and sums, softmax and sigmoid.
"""

LARGEST = 2**31 - 2**20
"""Bytes of weights that a file holds itself, less some room for the graph."""


def to_float16(source: Path, target: Path, facts: FileFacts) -> None:
    """Writes a file with weights and intermediate values in half precision.

    Inputs and outputs stay float32.

    Args:
        source: A float32 file.
        target: Where to.
        facts: What the new file says about itself.
    """
    with quietly():
        model = convert_float_to_float16(str(source), keep_io_types=True)
        OnnxModel.graph_topological_sort(model.graph)  # its casts of the inputs come last
    del model.graph.value_info[:]  # some of which it leaves at float32
    _save(model, target, facts)


def to_static_int8(
    source: Path, target: Path, facts: FileFacts, views: Sequence[Mapping[str, np.ndarray]]
) -> None:
    """Writes a file whose convolutions and linear layers compute with eight-bit whole numbers.

    Weights are signed, with a scale for each channel; what flows between layers is unsigned, with
    one for each tensor, from its least to its largest value over the calibration. That is what
    x86 processors with VNNI instructions are quickest at. The first layers, and the last before the
    logits, stay float32. Inputs and outputs are float32.

    Args:
        source: A float32 file.
        target: Where to.
        facts: What the new file says about itself.
        views: The calibration: inputs by name, 1×3×H×W float32 each.

    Raises:
        ConfigError: There are too few layers, or the weights are over 2 GB.
    """
    if source.with_name(f"{source.name}.data").exists():
        raise ConfigError(
            f"`precision` is int8, but the weights of {facts.name} are over 2 GB, and most of them "
            "not in linear layers; choose float16"
        )
    prepared = source.with_name("prepared.onnx")
    quantised = source.with_name("quantised.onnx")
    with quietly():
        quant_pre_process(source, prepared, skip_symbolic_shape=True)
    model = onnx.load(prepared)
    left_alone = _left_alone(model)
    layers = [node.name for node in model.graph.node if node.op_type in LAYERS]
    if set(layers) <= set(left_alone):
        raise ConfigError(
            f"`precision` is int8, but the {len(layers)} layers of {facts.name} are all among the "
            f"first {FIRST} and the last, which stay float32; choose float16"
        )
    with quietly():
        quantize_static(
            prepared,
            quantised,
            _Calibration(views),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(INT8_TYPES),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=left_alone,
            calibrate_method=CalibrationMethod.MinMax,
        )
    _save(onnx.load(quantised), target, facts)


def to_dynamic_int8(source: Path, target: Path, facts: FileFacts) -> None:
    """Writes a file whose linear layers compute with eight-bit whole numbers.

    Weights are signed, with a scale for each channel. What comes into a layer is unsigned, with a
    scale that is found anew for every batch, so that nothing is to be calibrated. All else is
    float32.

    Args:
        source: A float32 file; its weights may be over 2 GB.
        target: Where to.
        facts: What the new file says about itself.
    """
    quantised = source.with_name("quantised.onnx")
    with quietly():
        quantize_dynamic(
            source,
            quantised,
            op_types_to_quantize=[LINEAR],
            per_channel=True,
            weight_type=QuantType.QInt8,
            use_external_data_format=source.with_name(f"{source.name}.data").exists(),
        )
    _save(onnx.load(quantised), target, facts)


class _Calibration(CalibrationDataReader):  # type: ignore[misc]
    """Views, one after the other."""

    def __init__(self, views: Sequence[Mapping[str, np.ndarray]]) -> None:
        self._views: Iterator[Mapping[str, np.ndarray]] = iter(views)

    def get_next(self) -> Mapping[str, np.ndarray] | None:
        return next(self._views, None)


def _left_alone(model: Any) -> list[str]:
    """Names of the layers that stay float32: those without weights, the first and the last.

    The last ones are those that the logits come from without another one between.
    """
    weights = {each.name for each in model.graph.initializer}
    layers = [node for node in model.graph.node if node.op_type in LAYERS]
    weighted = [node.name for node in layers if not weights.isdisjoint(node.input)]
    found = [node.name for node in layers if weights.isdisjoint(node.input)] + weighted[:FIRST]
    made_by = {output: node for node in model.graph.node for output in node.output}
    todo, seen = [OUTPUTS[1]], set[str]()
    while todo:
        name = todo.pop()
        if name in seen or name not in made_by:
            continue
        seen.add(name)
        node = made_by[name]
        if node.op_type in LAYERS:
            found.append(node.name)
        else:
            todo += node.input
    return found


def _save(model: Any, path: Path, facts: FileFacts) -> None:
    """Writes a model that says these facts, with its weights beside it if they are over 2 GB."""
    del model.metadata_props[:]
    model.metadata_props.add(key=KEY, value=facts.to_json())
    model.producer_name = KEY
    large = sum(len(each.raw_data) for each in model.graph.initializer) > LARGEST
    onnx.save(
        model,
        path,
        save_as_external_data=large,
        location=f"{path.name}.data" if large else None,
    )
