"""What can be written of a segmented image: a new output is an entry of this table."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

from dsunet.config import Options, require_one_class
from dsunet.errors import ConfigError, perhaps
from dsunet.predict.encoding import FORMATS, Kept, encode
from dsunet.predict.pictures import Segmentation, parse_colour
from dsunet.visualize.classes import index_picture

__all__ = ["KINDS", "OUTPUTS", "check_classes", "check_options", "made"]


def _probability(result: Segmentation, options: Options) -> Image.Image:
    return Image.fromarray(result.map(benchmark_normalization=options.benchmark_normalization))


def _binary(result: Segmentation, options: Options) -> Image.Image:
    return Image.fromarray(result.binary(options.object_from).view(np.uint8) * np.uint8(255))


def _overlay(result: Segmentation, options: Options) -> Image.Image:
    return result.overlay(options.object_from)


def _cutout(result: Segmentation, options: Options) -> Image.Image:
    return result.cutout(options.threshold, options.background)


def _labels(result: Segmentation, options: Options) -> Image.Image:
    return index_picture(result.labels_from(options.threshold), len(result.classes))


OUTPUTS: dict[str, Callable[[Segmentation, Options], Image.Image]] = {
    "probability": _probability,
    "binary": _binary,
    "overlay": _overlay,
    "cutout": _cutout,
    "labels": _labels,
}
"""By the names that `dsunet predict --save` takes: what makes the picture to write."""

KINDS = tuple(kind for kind in OUTPUTS if kind != "labels")
"""Those of a model of one map; `labels` is of several classes."""


def made(
    kind: str,
    result: Segmentation,
    options: Options,
    box: tuple[int, int, int, int] | None = None,
    kept: Kept = Kept(),  # noqa: B008 -- never changed
    part: str = "",
) -> bytes:
    """The file of one kind of output.

    Args:
        kind: Of `KINDS`.
        result: What was found in the image.
        options: What to write; `crop_to_object` is the caller's, who gives the box.
        box: What to crop to: left, top, right, bottom in pixels.
        kept: What to tell of the image's file.
        part: Of `Options.parts`: the class that is meant, if one is.
    """
    picture = OUTPUTS[kind](result.of(part) if part else result, options)
    return encode(picture.crop(box) if box else picture, options.format, kept)


def check_classes(options: Options, classes: Sequence[str], exclusive: bool) -> None:
    """Refuses options that are for models of one map, or of several classes, where it is another.

    Args:
        options: What to write.
        classes: The model's, none of a model of one map.
        exclusive: Whether a pixel has one of them at most.

    Raises:
        ConfigError: Such are among them.
    """
    if not classes:
        if "labels" in options.save:
            raise ConfigError(
                "labels are numbers of classes, and this model gives one map; `save` binary"
            )
        return
    for asked, what, instead in (
        ("binary" in options.save, "`save` binary", "`save` labels"),
        ("cutout" in options.save, "`save` cutout", "`save` labels or overlay"),
        (options.refine, "`refine`", "leave it out"),
        (options.crop_to_object, "`crop_to_object`", "leave it out"),
        (options.abstain, "`abstain`", "leave it out"),
        (options.benchmark_normalization, "`benchmark_normalization`", "leave it out"),
    ):
        if asked:
            require_one_class(classes, what, instead)
    if options.threshold is not None and exclusive:
        raise ConfigError(
            f"`threshold` is {options.threshold}, but the classes of this model exclude each other "
            "(exclusive), so that the most probable one counts; leave it out"
        )


def check_options(options: Options) -> None:
    """Refuses options that make no sense, or would do nothing.

    Raises:
        ConfigError: Such are among them.
    """
    for name in ("threshold", "image_threshold"):
        value = getattr(options, name)
        if value is not None and not 0 <= value <= 1:
            raise ConfigError(f"`{name}` is {value}, but needs 0 to 1")
    if options.image_threshold is not None and not options.abstain:
        raise ConfigError("`image_threshold` is for `abstain`: give that, too, or leave it out")
    if options.format not in FORMATS:
        raise ConfigError(
            f"`format` is {options.format!r}, but needs {', '.join(FORMATS)}"
            + perhaps(options.format, FORMATS)
        )
    colour, kinds = parse_colour(options.background), set(options.save)
    if options.threshold is not None and kinds == {"probability"} and not options.crop_to_object:
        raise ConfigError(
            "`threshold` does nothing for probability maps, which keep every value; `save` binary, "
            "overlay or cutout, or leave `threshold` out"
        )
    if options.background is not None and "cutout" not in kinds:
        raise ConfigError("`background` is for cut-outs alone; `save` cutout, or leave it out")
    if options.keep_gps and not options.keep_exif:
        raise ConfigError("`keep_gps` keeps the place in EXIF; give `keep_exif` too")
    if "labels" in kinds and options.format != "png":
        raise ConfigError(
            f"`format` is {options.format}, but labels are numbers with a palette, which png has; "
            "leave it out"
        )
    if options.format != "jpg":
        return
    if lossy := sorted(kinds & {"probability", "binary"}):
        raise ConfigError(
            f"`format` is jpg, which changes values, but {' and '.join(lossy)} need each as it is; "
            "write png or webp"
        )
    if "cutout" in kinds and colour is None:
        raise ConfigError(
            "`format` is jpg, which has no transparency; give cut-outs a `background` such as "
            "white, or write png or webp"
        )
