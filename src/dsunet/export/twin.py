"""The ONNX file of weights that come with the package: it refers to the weights file beside it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from dsunet.errors import ExportError
from dsunet.export.graph import require_packages, write_onnx
from dsunet.export.run import facts_of
from dsunet.export.verify import check_file
from dsunet.export.working import working_folder
from dsunet.support.files import replace_durably
from dsunet.weights import shipped
from dsunet.weights.models import load

__all__ = ["write_twin"]

WITHIN = "network."  # before the names of the network's tensors in the graph

_TYPES = {"F16": "FLOAT16", "F32": "FLOAT"}  # safetensors' names, and onnx's


def write_twin(name: str) -> Path:
    """Writes `dsunet.weights.shipped.exported_of(name)`, from the weights file there.

    The file holds the graph alone. Its weights are external data in ONNX's sense, which lie in the
    weights file, in 16 bits as there, so that nothing is stored twice and both say the same.

    Args:
        name: One of `dsunet.weights.shipped.SHIPPED`.

    Returns:
        The file.

    Raises:
        ExportError: A tensor of the graph is not in the weights file.
        MissingPackageError: What exporting needs is not installed.
    """
    require_packages()
    import onnx

    weights, target = shipped.weights_of(name), shipped.exported_of(name)
    network = load(name).eval()
    facts = facts_of(network, weights, None, dynamic_size=True, precision="float32")
    with working_folder(target.parent) as folder:
        made = folder / target.name
        write_onnx(network, facts, made, folded=False)
        content = onnx.load(made)
        _refer(content.graph, weights)
        shutil.copyfile(weights, made.parent / weights.name)  # where the check looks for it
        made.write_bytes(content.SerializeToString())
        check_file(made)
        replace_durably(made, target)
    return target


def _refer(graph: Any, weights: Path) -> None:
    """Puts places in the weights file where the graph has values of it."""
    import onnx

    there, start = _header(weights)
    casts = []
    for tensor in graph.initializer:
        if not tensor.name.startswith(WITHIN):
            continue
        entry = there.get(tensor.name.removeprefix(WITHIN))
        if entry is None or list(tensor.dims) != entry["shape"]:
            raise ExportError(f"{tensor.name} is not in {weights}, or has another shape there")
        first, last = entry["data_offsets"]
        name, tensor_type = tensor.name, getattr(onnx.TensorProto, _TYPES[entry["dtype"]])
        if tensor_type == onnx.TensorProto.FLOAT16:
            tensor.name = f"{name}.half"
            casts.append(onnx.helper.make_node("Cast", [tensor.name], [name], to=1))
        tensor.data_type = tensor_type
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        for key, value in (
            ("location", weights.name),
            ("offset", start + first),
            ("length", last - first),
        ):
            tensor.external_data.add(key=key, value=str(value))
    nodes = [*casts, *graph.node]
    for node in nodes:
        node.ClearField("metadata_props")  # where in the network's code it is from
    del graph.node[:], graph.value_info[:]
    graph.node.extend(nodes)


def _header(weights: Path) -> tuple[dict[str, Any], int]:
    """What a .safetensors file says of its tensors, and where their values begin."""
    with open(weights, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        return json.loads(file.read(length)), 8 + length
