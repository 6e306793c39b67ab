"""What comes back: the picture with the map of its object."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageColor

from dsunet.config import require_one_class
from dsunet.data.pixels import over_white
from dsunet.errors import ConfigError, few
from dsunet.metrics.detection import score_of_map
from dsunet.predict.edges import refined
from dsunet.predict.foreground import foreground
from dsunet.running.class_maps import class_index
from dsunet.running.maps import quantise
from dsunet.visualize import cutout, overlay
from dsunet.visualize.classes import class_overlay
from dsunet.visualize.overlay import opacity

__all__ = ["Segmentation", "parse_colour"]


@dataclass(frozen=True)
class Segmentation:
    """One image and where its object is."""

    image: Image.Image
    """RGB, turned as its EXIF orientation says; colours of what is transparent as they are stored.
    """
    probability: np.ndarray
    """H×W float32 in 0..1, at the image's own size; of several classes C×H×W, one for each."""
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
    classes: tuple[str, ...] = ()
    """Names of the classes, of a model of several; what is about one object is refused then, and
    `labels` and `of` are there instead."""
    exclusive: bool = False
    """Whether a pixel has one of these at most, which their probabilities are of then."""

    @property
    def labels(self) -> np.ndarray:
        """The class of every pixel: H×W uint8, 0 for background and 1 to C for the classes.

        See `dsunet.running.class_maps.class_index`; without classes 1 is the object.
        """
        return self.labels_from()

    def labels_from(self, threshold: float | None = None) -> np.ndarray:
        """The same; of classes that do not exclude each other, and of one object, from a threshold.

        Args:
            threshold: The probability; by default the model's.
        """
        if not self.classes:
            return self.binary(threshold).astype(np.uint8)
        least = self.threshold if threshold is None else threshold
        return class_index(self.probability, self.exclusive, least)

    def of(self, name: str) -> Segmentation:
        """What was found of one class, as of a model of one map.

        Raises:
            ConfigError: There is no such class.
        """
        if name not in self.classes:
            known = few(list(self.classes), 20) if self.classes else "none, as it has one map"
            raise ConfigError(f"there is no class {name!r}; the model's are {known}")
        own = self.probability[self.classes.index(name)]
        return replace(self, probability=own, classes=(), exclusive=False)

    def _require_one(self, what: str) -> None:
        require_one_class(self.classes, what, "take `labels`, or one class by `of`")

    @property
    def score(self) -> float:
        """How sure the map is that there is an object in the image, 0 to 1, see `image_score`."""
        self._require_one("`score`")
        return score_of_map(quantise(self.probability))

    @property
    def has_object(self) -> bool:
        """Whether there is an object: the score reaches `image_threshold`.

        Without one, whether a pixel reaches `threshold`.
        """
        self._require_one("`has_object`")
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
        self._require_one("`abstaining`")
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
        self._require_one("`refined`")
        edges = refined(self.probability, self.image, self.view)
        return replace(self, probability=edges, is_refined=True)

    def binary(self, threshold: float | None = None) -> np.ndarray:
        """The object: H×W bool, true from `threshold` on, by default the model's."""
        self._require_one("`binary`")
        return self.probability >= (self.threshold if threshold is None else threshold)

    def map(self, *, benchmark_normalization: bool = False) -> np.ndarray:
        """The probability as H×W uint8, see `dsunet.running.inference.quantise`."""
        self._require_one("`map`")
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

        Returns:
            Of several classes, each in its colour, with a legend in a strip below.
        """
        least = self.threshold if threshold is None else threshold
        alpha = None if self.alpha is None else Image.fromarray(self.alpha)
        picture = over_white(self.image, alpha)
        if self.classes:
            if crop:
                self._require_one("`crop`")
            return class_overlay(picture, self.labels_from(threshold), self.classes)
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
        self._require_one("`cutout`")
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
