"""An ONNX file → OpenVINO's format, by its own converter."""

from __future__ import annotations

from pathlib import Path

from dsunet.errors import ExportError
from dsunet.export.graph import quietly
from dsunet.weights.exported import KEY, FileFacts

__all__ = ["to_openvino"]


def to_openvino(source: Path, target: Path, facts: FileFacts) -> None:
    """Writes `target` (`.xml`) and its weights beside it (`.bin`).

    Args:
        source: The ONNX file; of a float16 model that in float32, whose weights are stored in 16
            bits here, and computed with in 32.
        target: Where.
        facts: What the file says about itself, in its runtime information.

    Raises:
        ExportError: The converter does not take the file.
    """
    import openvino

    try:
        with quietly():
            model = openvino.convert_model(source)
            model.set_rt_info(facts.to_json(), [KEY])
            openvino.save_model(model, target, compress_to_fp16=facts.precision == "float16")
    except Exception as error:  # OpenVINO's errors have no common base
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()
        raise ExportError(f"OpenVINO does not convert {facts.name}: {reason[:200]}") from error
