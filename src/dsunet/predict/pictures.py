"""What comes back: the picture with the map of its object."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageColor

from dsunet.data.pixels import over_white
from dsunet.errors import ConfigError
from dsunet.metrics.detection import score_of_map
from dsunet.predict.edges import refined
from dsunet.predict.foreground import foreground
from dsunet.running.maps import quantise
from dsunet.visualize import cutout, overlay
from dsunet.visualize.overlay import opacity

__all__ = ["Segmentation", "parse_colour"]


@dataclass(frozen=True)
class Segmentation:
    """One image and where its object is."""

    image: Image.Image
    """RGB, turned as its EXIF orientation says; colours of what is transparent as they are stored.
    """
    probability: np.ndarray
    """H×W float32 in 0..1, at the image's own size."""
    alpha: np.ndarray | None = None
    """The image's own opacity, H×W uint8; `None` if it is opaque everywhere."""
    view: tuple[int, int] | None = None
    """Height and width of the view that the map was made of; `None` if it is the whole image."""
    is_refined: bool = False
    """Whether `refined` made it: the map is how much of a pixel is object, and cut-outs have the
    object's colours along its edge."""
    threshold: float = 0.5
    """From which probability a pixel is object where nothing else is said: 0.5, or what the model
    was calibrated to."""
    image_threshold: float | None = None
    """From which `score` there is an object; `None` unless the model was calibrated to tell."""

    @property
    def score(self) -> float:
        """How sure the map is that there is an object in the image, 0 to 1, see `image_score`."""
        return score_of_map(quantise(self.probability))

    @property
    def has_object(self) -> bool:
        """Whether there is an object: the score reaches `image_threshold`.

        Without one, whether a pixel reaches `threshold`.
        """
        if self.image_threshold is None:
            return bool(self.probability.max(initial=0) >= self.threshold)
        return self.score >= self.image_threshold

    def abstaining(self, image_threshold: float | None = None) -> Segmentation:
        """The same; with a map that is 0 everywhere if the score is below the threshold for it.

        Args:
            image_threshold: The score; by default the one that the model was calibrated to.

        Raises:
            ConfigError: There is none.
        """
        least = self.image_threshold if image_threshold is None else image_threshold
        if least is None:
            raise ConfigError(
                "the model was not calibrated to tell images without an object; give "
                "`image_threshold`, or calibrate it (dsunet calibrate)"
            )
        if self.score >= least:
            return self
        return replace(self, probability=np.zeros_like(self.probability), image_threshold=least)

    def refined(self) -> Segmentation:
        """The same with an edge that follows the image's, without crumbs and half-hearted places.

        The map is no probability any more, but how much of a pixel is object; see
        `dsunet.predict.edges`.
        """
        edges = refined(self.probability, self.image, self.view)
        return replace(self, probability=edges, is_refined=True)

    def binary(self, threshold: float | None = None) -> np.ndarray:
        """The object: H×W bool, true from `threshold` on, by default the model's."""
        return self.probability >= (self.threshold if threshold is None else threshold)

    def map(self, *, benchmark_normalization: bool = False) -> np.ndarray:
        """The probability as H×W uint8, see `dsunet.running.inference.quantise`."""
        return quantise(self.probability, benchmark_normalization=benchmark_normalization)

    def box(self, threshold: float | None = None) -> tuple[int, int, int, int] | None:
        """The smallest box around the object, `None` if no pixel reaches the threshold.

        Returns:
            Left, top, right and bottom in pixels, the last two exclusive.
        """
        found = self.binary(threshold)
        rows, columns = np.flatnonzero(found.any(axis=1)), np.flatnonzero(found.any(axis=0))
        if not len(rows):
            return None
        return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1

    def overlay(self, threshold: float | None = None, *, crop: bool = False) -> Image.Image:
        """The image, on white where it is transparent, with the object tinted and outlined: RGB.

        Args:
            threshold: From which probability a pixel belongs to the object; by default the
                model's.
            crop: To the object's `box`, if there is one.
        """
        least = self.threshold if threshold is None else threshold
        alpha = None if self.alpha is None else Image.fromarray(self.alpha)
        picture = over_white(self.image, alpha)
        return self._cropped(overlay(picture, self.probability, least), least, crop)

    def cutout(
        self,
        threshold: float | None = None,
        background: str | None = None,
        *,
        crop: bool = False,
    ) -> Image.Image:
        """The image without its background.

        Args:
            threshold: Below this probability nothing is left; by default edges are soft down to 0.
            background: A colour by its name or as #rrggbb; `None` or "transparent" for none.
            crop: To the object's `box` at the threshold, or at the model's, if there is one.

        Returns:
            On a colour RGB. Else RGBA, whose alpha is the probability times the image's own
            opacity; where it is 0 the colour is black, so that nothing hidden is left.

        Raises:
            ConfigError: `background` is no colour.
        """
        colour = parse_colour(background)
        image = self.image
        if self.is_refined:  # an image's own opacity has its own colours already
            share = opacity(self.probability)
            if self.alpha is not None:
                share[self.alpha < 255] = 255
            image = foreground(image.convert("RGB"), share)
        made = cutout(image, self.probability, self.alpha, threshold, colour)
        return self._cropped(made, threshold, crop)

    def _cropped(self, picture: Image.Image, threshold: float | None, crop: bool) -> Image.Image:
        box = self.box(threshold) if crop else None
        return picture.crop(box) if box else picture


def parse_colour(text: str | None) -> tuple[int, int, int] | None:
    """A colour's red, green and blue in 0..255; `None` of `None` and "transparent".

    Raises:
        ConfigError: It is no colour, or one that is not opaque.
    """
    if text is None or text.strip().lower() == "transparent":
        return None
    try:
        values = ImageColor.getrgb(text.strip())
    except ValueError:
        values = (0, 0, 0, 0)
    if len(values) != 3:
        raise ConfigError(
            f"`background` is {text!r}, but needs a colour such as white or #ffffff (in a shell "
            "in quotes), or transparent"
        )
    return values[0], values[1], values[2]
