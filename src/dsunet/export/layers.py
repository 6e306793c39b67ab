"""Which kind of layer a file with smaller numbers is furthest off at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

from dsunet.export.gate import LayerError
from dsunet.export.graph import quietly

__all__ = ["furthest_off"]

CLIPPING = ("Relu", "Clip")
"""Operators that count as the end of the layer before them."""


def furthest_off(source: Path, target: Path, view: Mapping[str, np.ndarray]) -> LayerError | None:
    """The operator whose output is further off than its inputs, by more than any other's.

    Args:
        source: The float32 file.
        target: The one made of it.
        view: The inputs of one picture by name, each 1×3×H×W float32.

    Returns:
        `None` if none is.
    """
    model = onnx.load(source)
    own = {name for node in model.graph.node for name in node.output if name}
    other = {name for node in onnx.load(target).graph.node for name in node.output}
    names = sorted(own & other)
    expected, actual = (_values(path, names, view) for path in (source, target))
    off: dict[str, float] = {}
    made_by: dict[str, tuple[LayerError, float]] = {}
    for node in model.graph.node:
        before = max((off.get(name, 0.0) for name in node.input), default=0.0)
        layer = LayerError(node.op_type, node.name, 0.0)
        if node.op_type in CLIPPING and node.input[0] in made_by:
            layer, before = made_by[node.input[0]]
        for name in node.output:
            if name in expected and name in actual:
                off[name] = _apart(expected[name], actual[name])
                layer = replace(layer, added=max(layer.added, off[name] - before))
            else:  # folded into its neighbour
                off[name] = before
            made_by[name] = layer, before
    found = [layer for layer, _ in made_by.values() if layer.added > 0]
    return max(found, key=lambda one: one.added, default=None)


def _apart(should: np.ndarray, is_: np.ndarray) -> float:
    distance = float(np.linalg.norm(should.ravel() - is_.ravel().astype(np.float64)))
    if not np.isfinite(distance):
        return np.inf
    return distance / max(float(np.linalg.norm(should)), 1e-12)


def _values(path: Path, names: list[str], view: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The values of some tensors of real numbers in a file, by name."""
    model = onnx.load(path, load_external_data=False)
    ready = {output.name for output in model.graph.output}
    model.graph.output.extend(onnx.ValueInfoProto(name=n) for n in names if n not in ready)
    watched = path.with_name(f"watched-{path.name}")
    onnx.save(model, watched)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        with quietly():
            session = onnxruntime.InferenceSession(
                watched, options, providers=["CPUExecutionProvider"]
            )
            values = dict(zip(names, session.run(names, dict(view)), strict=True))
    finally:
        watched.unlink()
    return {
        name: value for name, value in values.items() if np.issubdtype(value.dtype, np.floating)
    }
