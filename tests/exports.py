"""Exporting the same network once: torch's exporter takes the better part of a minute for it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import onnx

from dsunet.export.graph import write_onnx
from dsunet.network.base import SegmentationModel
from dsunet.weights.exported import KEY, FileFacts


def kept_in(folder: Path) -> Callable[[SegmentationModel, FileFacts, Path], None]:
    """`write_onnx` that looks in `folder` first, and keeps there what it had to make."""

    def write(network: SegmentationModel, facts: FileFacts, path: Path) -> None:
        digest = hashlib.sha256(repr((type(network), facts.views, facts.dynamic_size)).encode())
        for name, tensor in network.state_dict().items():
            digest.update(name.encode() + tensor.numpy().tobytes())
        kept = folder / f"{digest.hexdigest()}.onnx"
        if not kept.is_file():
            write_onnx(network, facts, kept)
        content = onnx.load(kept)
        for each in content.metadata_props:
            if each.key == KEY:
                each.value = facts.to_json()
        onnx.save(content, path)

    return write
