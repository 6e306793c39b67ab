"""What to write of predicted images."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Options"]


@dataclass(frozen=True)
class Options:
    """What to write of every image, and how."""

    save: tuple[str, ...] = ("probability",)
    """Of `dsunet.predict.KINDS`: grey probability map, black-and-white mask, overlay, cut-out. One
    kind goes straight into the output folder, several go into a subfolder each."""
    threshold: float = 0.5
    """From which probability a pixel belongs to the object, for binary and overlay."""
    benchmark_normalization: bool = False
    """Stretch every probability map to its full range, see `dsunet.running.inference.quantise`."""
    ignore_orientation: bool = False
    """Take images as they are stored, whatever their EXIF orientation says."""
    draft: bool = False
    """Decode JPEGs at the smallest of 1/1, 1/2, 1/4, 1/8 that still has the pixels of the model's
    views: quicker for large photographs, and maps change a little. Not for overlay and cutout."""
