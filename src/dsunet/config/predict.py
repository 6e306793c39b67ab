"""What to write of predicted images."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Options"]


@dataclass(frozen=True)
class Options:
    """What to write of every image, and how."""

    save: tuple[str, ...] = ("probability",)
    """Of `dsunet.predict.KINDS`: grey probability map, black-and-white mask, overlay, cut-out; of a
    model of several classes probability maps in a folder for each, numbers of classes (`labels`),
    overlay. One kind goes straight into the output folder, several go into a subfolder each."""
    threshold: float | None = None
    """From which probability a pixel belongs to the object, for binary, overlay and
    `crop_to_object`; `None` is the model's, see `usual_threshold`. A cut-out, whose edges are soft
    down to 0 without it, keeps nothing of what is below. For probability maps alone it means
    nothing, and is refused."""
    benchmark_normalization: bool = False
    """Stretch every probability map to its full range, see `dsunet.running.inference.quantise`."""
    ignore_orientation: bool = False
    """Take images as they are stored, whatever their EXIF orientation says."""
    draft: bool = False
    """Decode JPEGs at the smallest of 1/1, 1/2, 1/4, 1/8 that still has the pixels of the model's
    views: quicker for large photographs, and maps change a little. Not for overlay and cutout."""
    format: str = "png"
    """Of the files: png, webp (without loss) or jpg (for overlays, and for cut-outs with a
    background)."""
    background: str | None = None
    """What cut-outs are put on: a colour by its name or as #rrggbb; `None` or transparent leave
    them transparent."""
    crop_to_object: bool = False
    """Crop every output to the box of the pixels from `threshold` on; where there are none, the
    output is as large as the image, and the report says so."""
    keep_exif: bool = False
    """Put the image's EXIF (date, camera, author) into the outputs, without place, maker's notes
    and preview; TIFFs' is not kept."""
    keep_gps: bool = False
    """Keep the place, too, where the picture was taken; with `keep_exif`."""
    refine: bool | None = None
    """Let edges follow the image's, fill what is half-hearted in the middle of an object, and leave
    crumbs out; see `dsunet.predict.edges`. Maps are no probabilities then. `None` does it for
    cut-outs alone. Not with `draft`."""

    abstain: bool = False
    """Take a picture whose score, see `dsunet.metrics.detection.image_score`, is below
    `image_threshold` for one without an object: its map is 0 everywhere."""
    image_threshold: float | None = None
    """For `abstain`; `None` is the one that the model was calibrated to."""
    usual_threshold: float = 0.5
    """What `threshold` is where nobody says: 0.5, or what the model was calibrated to."""
    classes: tuple[str, ...] = ()
    """Names of the model's classes, which the model says; none of a model of one map."""

    def parts(self, kind: str) -> tuple[str, ...]:
        """The folders that one kind of output is divided into: one for each class's probability."""
        return self.classes if kind == "probability" and self.classes else ("",)

    def refines(self, kind: str) -> bool:
        """Whether edges of one kind of output are refined."""
        return kind == "cutout" if self.refine is None else self.refine

    @property
    def object_from(self) -> float:
        """From which probability a pixel belongs to the object: `threshold`, or the usual one."""
        return self.usual_threshold if self.threshold is None else self.threshold
