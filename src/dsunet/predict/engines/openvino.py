"""Exported files, run by OpenVINO: those of its own format, and ONNX files."""

from __future__ import annotations

import functools
import os
from typing import Any

import numpy as np

from dsunet.errors import CheckpointError
from dsunet.predict.engines.exported import ExportedFile, threads_to_use
from dsunet.predict.engines.onnx import OnnxFile
from dsunet.weights.exported import KEY, OUTPUTS, SUFFIX, FileFacts, read_facts

__all__ = ["OpenvinoFile"]


class OpenvinoFile(ExportedFile):
    """A file of ours that ends in `.xml` (with its `.bin` beside it) or in `.onnx`, opened.

    It computes in float32, and int8 where the file has it; not in what OpenVINO thinks best here.
    """

    runtime = "openvino"
    extra = "dsunet[openvino]"

    def _open(self) -> tuple[Any, FileFacts]:
        core = _core(os.getpid())
        try:
            model = core.read_model(self.path)
        except RuntimeError as error:
            text = (str(error).strip().splitlines() or [""])[-1].strip().rstrip(".")
            raise CheckpointError(
                f"{self.path} cannot be opened: {text[:200]}; export the model again"
            ) from error
        facts = self._facts(model)
        self.require_inputs([given.any_name for given in model.inputs], facts)
        hints = {
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": threads_to_use(),
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
        }
        return core.compile_model(model, "CPU", hints), facts

    def _facts(self, model: Any) -> FileFacts:
        if self.path.suffix.lower() == SUFFIX:  # whose metadata OpenVINO does not hand on
            return OnnxFile(self.path).facts
        about = {KEY: str(model.get_rt_info(KEY).value)} if model.has_rt_info(KEY) else {}
        return read_facts(about, self.path)

    def _run(self, given: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        found = self._opened(given)
        probability, logits = (found[name] for name in OUTPUTS)
        return probability, logits


@functools.cache
def _core(process: int) -> Any:
    """OpenVINO's one `Core` of a process, which stays as long as the process does.

    Its CPU plugin gives the thread another stack for signals, and takes that away when a `Core`
    ends. Where two of them overlap, the second to end leaves the thread with the first one's, which
    is gone: the next signal with a handler, Ctrl-C for one, would be the process's end.
    """
    import openvino

    return openvino.Core()
