"""What can be written of a segmented image: a new output is an entry of this table."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image

from dsunet.config import Options
from dsunet.predict.pictures import Segmentation

__all__ = ["KINDS", "OUTPUTS"]


def _probability(result: Segmentation, options: Options) -> Image.Image:
    return Image.fromarray(result.map(benchmark_normalization=options.benchmark_normalization))


def _binary(result: Segmentation, options: Options) -> Image.Image:
    return Image.fromarray(result.binary(options.threshold).astype(np.uint8) * 255)


def _overlay(result: Segmentation, options: Options) -> Image.Image:
    return result.overlay(options.threshold)


def _cutout(result: Segmentation, options: Options) -> Image.Image:
    return result.cutout()


OUTPUTS: dict[str, Callable[[Segmentation, Options], Image.Image]] = {
    "probability": _probability,
    "binary": _binary,
    "overlay": _overlay,
    "cutout": _cutout,
}
"""By the names that `dsunet predict --save` takes: what makes the picture to write."""

KINDS = tuple(OUTPUTS)
