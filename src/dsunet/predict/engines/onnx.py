"""ONNX files, run by onnxruntime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from dsunet.errors import CheckpointError
from dsunet.predict.engines.exported import ExportedFile, threads_to_use
from dsunet.weights.exported import OUTPUTS, FileFacts, read_facts

__all__ = ["OnnxFile"]


class OnnxFile(ExportedFile):
    """An ONNX file of ours, opened; arguments and errors as of `ExportedFile`."""

    runtime = "onnxruntime"
    extra = "onnxruntime"

    def _open(self) -> tuple[Any, FileFacts]:
        options = self._package.SessionOptions()
        options.log_severity_level = 4  # errors come as exceptions
        options.intra_op_num_threads = threads_to_use()
        options.enable_mem_pattern = False  # it would keep memory for every size of a batch
        try:
            session = self._package.InferenceSession(
                self.path, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's errors have no common base
            raise CheckpointError(
                f"{self.path} cannot be opened: {_reason(error, self.path)}"
            ) from error
        facts = read_facts(session.get_modelmeta().custom_metadata_map, self.path)
        self.require_inputs([given.name for given in session.get_inputs()], facts)
        return session, facts

    def _run(self, given: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        probability, logits = self._opened.run(OUTPUTS, given)
        return probability, logits


def _reason(error: Exception, path: Path) -> str:
    """What onnxruntime says, without its own words around it, in one line."""
    text = " ".join(str(error).split())
    if "external" in text.lower():
        return f"its weights are not whole beside it ({path.name}.data); export the model again"
    text = text.split(" : ")[-1].rstrip(".")
    return f"{text[:200]}; export the model again"
