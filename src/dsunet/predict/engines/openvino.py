"""Exported files, run by OpenVINO: those of its own format, and ONNX files."""

from __future__ import annotations

from typing import Any

import numpy as np

from dsunet.errors import CheckpointError
from dsunet.predict.engines.exported import ExportedFile, threads_to_use
from dsunet.weights.exported import KEY, OUTPUTS, FileFacts, read_facts

__all__ = ["OpenvinoFile"]


class OpenvinoFile(ExportedFile):
    """A file of ours that ends in `.xml` (with its `.bin` beside it) or in `.onnx`, opened.

    It computes in float32, and int8 where the file has it; not in what OpenVINO thinks best here.
    """

    runtime = "openvino"
    extra = "dsunet[openvino]"

    def _open(self) -> tuple[Any, FileFacts]:
        core = self._package.Core()
        try:
            model = core.read_model(self.path)
        except RuntimeError as error:
            text = (str(error).strip().splitlines() or [""])[-1].strip().rstrip(".")
            raise CheckpointError(
                f"{self.path} cannot be opened: {text[:200]}; export the model again"
            ) from error
        facts = read_facts(self._metadata(model), self.path)
        self.require_inputs([given.any_name for given in model.inputs], facts)
        hints = {
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": threads_to_use(),
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
        }
        return core.compile_model(model, "CPU", hints), facts

    def _metadata(self, model: Any) -> dict[str, str]:
        if self.path.suffix.lower() == ".onnx":  # of which OpenVINO does not hand them on
            from dsunet.predict.engines.onnx import OnnxFile

            return {KEY: OnnxFile(self.path).facts.to_json()}
        return {KEY: str(model.get_rt_info(KEY).value)} if model.has_rt_info(KEY) else {}

    def _run(self, given: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        found = self._opened(given)
        probability, logits = (found[name] for name in OUTPUTS)
        return probability, logits
