"""Pixels of any kind → 8-bit RGB, grey maps, and upright pictures."""

from __future__ import annotations

import numpy as np
from PIL import Image

from dsunet.data.colour import to_srgb
from dsunet.data.intensity import stretch
from dsunet.errors import ImageError

__all__ = [
    "ORIENTATION",
    "SIXTEEN_BIT",
    "WITH_ALPHA",
    "as_colours",
    "as_grey",
    "as_rgb",
    "orientation_of",
    "over_white",
    "scale_16_bit",
    "to_rgb",
    "turn",
    "turn_back",
]

SIXTEEN_BIT = {"I;16", "I;16B", "I;16L", "I;16N"}
WITH_ALPHA = {"RGBA", "LA", "PA", "RGBa", "La"}
ORIENTATION = 0x0112


def orientation_of(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; broken EXIF counts as none."""
    try:
        value = image.getexif().get(ORIENTATION, 1)
    except Exception:  # Pillow's EXIF parser raises many kinds
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def turn(image: Image.Image, orientation: int) -> Image.Image:
    """A stored picture as its EXIF orientation says that it is to be seen."""
    return image.transpose(_TURNS[orientation]) if orientation in _TURNS else image


def turn_back(image: Image.Image, orientation: int) -> Image.Image:
    """The inverse of `turn`."""
    return turn(image, {6: 8, 8: 6}.get(orientation, orientation))


def scale_16_bit(values: np.ndarray) -> np.ndarray:
    """0..65535 → 0..255, uint8."""
    return np.round(values.astype(np.float32) * (255 / 65535)).astype(np.uint8)


def to_rgb(image: Image.Image) -> Image.Image:
    """A picture as 8-bit RGB, turned as its EXIF orientation says.

    Embedded colour profiles are followed, see `dsunet.data.colour`; transparent pictures are put on
    white; 16-bit ones are scaled by their full range.

    Raises:
        ImageError: It holds floating-point values, or signed or 32-bit integers, whose range nobody
            knows unless `intensity` says it.
    """
    image.load()  # TIFFs are turned, and forget their orientation, while they load
    return turn(as_rgb(image), orientation_of(image))


def as_rgb(
    image: Image.Image, intensity: str = "full", deep: np.ndarray | None = None
) -> Image.Image:
    """As `to_rgb`, but not turned; further arguments as of `as_colours`."""
    return over_white(*as_colours(image, intensity, deep))


def over_white(colours: Image.Image, alpha: Image.Image | None) -> Image.Image:
    """RGB colours with their opacity (8-bit grey, or `None`) on white: what a network sees."""
    if alpha is None:
        return colours
    picture = colours.copy()
    picture.putalpha(alpha)
    white = Image.new("RGBA", picture.size, "white")
    return Image.alpha_composite(white, picture).convert("RGB")


def as_colours(
    image: Image.Image, intensity: str = "full", deep: np.ndarray | None = None
) -> tuple[Image.Image, Image.Image | None]:
    """A picture's colours as 8-bit RGB, in sRGB by its profile, and apart from them its opacity.

    Colours stay as they are stored also where nothing is seen of them; nothing is turned.

    Args:
        image: The picture.
        intensity: Which of its values are black and white, see `dsunet.config.ModelConfig`.
        deep: Its values with 16 bits, H×W×C uint16, where Pillow has 8 of them.

    Returns:
        The colours, without a profile, and the opacity, 8-bit grey; `None` if it is opaque.

    Raises:
        ImageError: As of `to_rgb`.
    """
    alpha = None
    told = intensity != "full"
    if image.mode in SIXTEEN_BIT:
        values, clear = np.asarray(image), image.info.get("transparency")
        counts = None
        if isinstance(clear, int):  # one grey that PNG calls transparent
            counts = values != clear
            alpha = Image.fromarray(counts.view(np.uint8) * np.uint8(255))
        grey = stretch(values, intensity, counts) if told else scale_16_bit(values)
        image = _with_profile_of(image, Image.fromarray(grey))
        told = False
    if image.mode in ("F", "I"):
        if not told:
            kind = "floating-point values" if image.mode == "F" else "signed or 32-bit integers"
            raise ImageError(
                f"the picture holds {kind}, whose range is unknown; tell it (`intensity` "
                "percentile, or LOW,HIGH), or save it with 8 or 16 bits"
            )
        image = _with_profile_of(image, Image.fromarray(stretch(np.asarray(image), intensity)))
        told = False
    if image.mode in WITH_ALPHA or "transparency" in image.info:
        with_alpha = image.convert("RGBA")
        alpha = with_alpha.getchannel("A")
        is_grey = image.mode in ("L", "LA", "La")
        colours = with_alpha.getchannel(0) if is_grey else with_alpha.convert("RGB")
        image = _with_profile_of(image, colours)
    elif image.mode not in ("L", "RGB", "CMYK"):
        image = image.convert("L" if image.mode == "1" else "RGB")
    if told:
        image = _stretched(image, intensity, alpha, deep)
    colours = _with_profile_of(None, to_srgb(image).convert("RGB"))
    return colours, alpha if alpha is not None and alpha.getextrema()[0] != 255 else None


def _stretched(
    colours: Image.Image, intensity: str, alpha: Image.Image | None, deep: np.ndarray | None
) -> Image.Image:
    """Colours without alpha, stretched by the values of what is seen of them."""
    if colours.mode == "CMYK":
        colours = _with_profile_of(None, to_srgb(colours).convert("RGB"))
    values = np.asarray(colours)
    if deep is not None:
        values = deep[..., :3] if deep.shape[2] > 2 else deep[..., 0]
    counts = None if alpha is None else np.asarray(alpha) > 0
    return _with_profile_of(colours, Image.fromarray(stretch(values, intensity, counts)))


def _with_profile_of(source: Image.Image | None, picture: Image.Image) -> Image.Image:
    """A picture that has no information beside its pixels but the profile of another."""
    profile = None if source is None else source.info.get("icc_profile")
    picture = picture.copy() if picture.info else picture
    picture.info = {} if profile is None else {"icc_profile": profile}
    return picture


def _scale_floats(values: np.ndarray) -> np.ndarray:
    """0..1, or 0..255, → 0..255, uint8."""
    largest = values.max(initial=0)
    if not np.isfinite(values).all() or values.min(initial=0) < 0 or largest > 255:
        raise ImageError("floating-point values need to be in 0..1 or 0..255")
    return np.round(values * (255 if largest <= 1 else 1)).astype(np.uint8)


def as_grey(image: Image.Image) -> np.ndarray:
    """The grey values of a picture: H×W uint8. 16 bits are scaled to 8, and so is 0..1."""
    if image.mode == "F":
        return _scale_floats(np.asarray(image))
    if image.mode in SIXTEEN_BIT:
        return scale_16_bit(np.asarray(image))
    return np.asarray(image.convert("L"))
