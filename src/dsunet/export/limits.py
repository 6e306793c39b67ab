"""Which numbers an exported file may have inside, and how far it may be from its network then."""

from __future__ import annotations

from typing import Literal, get_args

from dsunet.errors import ConfigError, perhaps

__all__ = [
    "MAX_DROP",
    "MEAN_LIMITS",
    "PRECISIONS",
    "TOLERANCE",
    "ExportFormat",
    "ExportPrecision",
    "check_precision",
]

ExportFormat = Literal["onnx", "openvino"]

ExportPrecision = Literal["float32", "float16", "int8"]

PRECISIONS: tuple[str, ...] = get_args(ExportPrecision)
"""Number types that files have inside."""

TOLERANCE = 1e-4
"""The most that a float32 file's probability may differ from the network's, at any pixel."""

MAX_DROP = 0.002
"""The most that S may drop in a float16 or int8 file, on pictures with masks."""

MEAN_LIMITS = {"float16": 0.005, "int8": 0.05}
"""Without masks: the most that a picture's probability may differ, as the mean over its pixels."""


def check_precision(name: str) -> None:
    """Raises `ConfigError` unless files can have such numbers."""
    if name not in PRECISIONS:
        hint = perhaps(name, PRECISIONS)
        raise ConfigError(
            f"`precision` is {name!r}, but needs one of {', '.join(PRECISIONS)}{hint}"
        )
