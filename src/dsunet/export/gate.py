"""What a file has to keep to, to be there at all."""

from __future__ import annotations

from dataclasses import dataclass

from dsunet.export.limits import MEAN_LIMITS, TOLERANCE
from dsunet.export.structure import Structure
from dsunet.export.verify import Difference
from dsunet.weights.exported import FileFacts

__all__ = ["Gate", "LayerError", "refusal"]


@dataclass(frozen=True)
class LayerError:
    """Where a file loses most of what its float32 original says."""

    kind: str
    """The operator's name, as `Conv`."""
    node: str
    added: float
    """By how much more than its inputs its output is off: of the norm of what it should be."""


@dataclass(frozen=True)
class Gate:
    """One number that is held against its limit."""

    of: str
    """What the number is."""
    limit: float
    found: float
    picture: str
    """Which differs most."""

    @classmethod
    def of_file(
        cls, precision: str, apart: Difference, structure: Structure | None, max_drop: float
    ) -> Gate:
        """That of a file of some precision, with or without S."""
        if precision == "float32":
            return cls("largest difference of a pixel", TOLERANCE, apart.largest, apart.picture)
        if structure is not None:
            return cls("drop of S", max_drop, structure.drop, structure.picture)
        limit = MEAN_LIMITS[precision]
        return cls(
            "largest mean difference of a picture", limit, apart.largest_mean, apart.mean_picture
        )

    @property
    def passed(self) -> bool:
        """Whether the number is within its limit; what is no number is not."""
        return self.found <= self.limit


def refusal(
    gate: Gate,
    facts: FileFacts,
    apart: Difference,
    structure: Structure | None,
    layer: LayerError | None = None,
) -> str:
    """Why there is no file, in one line.

    Args:
        gate: What has not been kept to.
        facts: What the file says about itself.
        apart: How far file and network are apart, pixel by pixel.
        structure: Their S, if it was measured.
        layer: Where the file loses most, of float16 and int8.
    """
    what = f"the {facts.precision} file of {facts.name} is not what it was made of: "
    if facts.precision == "float32":
        size = "×".join(map(str, apart.size))
        return (
            f"{what}at one pixel of {apart.picture} (in a batch of {apart.batch}, view {size}) the "
            f"probability differs by {apart.largest:.2g}, and at most {gate.limit:g} is let "
            "through; no file is written. Try another version of torch or onnxscript"
        )
    if structure is not None:
        what += (
            f"on {structure.pairs} pairs S is {structure.file:.4f} and the network's "
            f"{structure.model:.4f}, a drop of {structure.drop:.4f}, and at most {gate.limit:g} is "
            f"let through; {gate.picture} differs most (by {structure.largest_drop:.3f})"
        )
    else:
        what += (
            f"the probability of {gate.picture}, which differs most, is off by {gate.found:.2g} in "
            f"the mean, and at most {gate.limit:g} is let through"
        )
    if layer is not None:
        what += f"; of its layers {layer.kind} ({layer.node}) adds most to it"
    remedy = (
        "Choose float32"
        if facts.precision == "float16"
        else "Give pictures like those it is for as `calibration_data`, or choose float16"
    )
    return f"{what}; no file is written. {remedy}"
