"""Colours as their embedded profile means them → sRGB."""

from __future__ import annotations

import io
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms

__all__ = ["profile_trouble", "to_srgb"]

# What a picture needs to be in for a profile's colour space.
_MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}


def to_srgb(colours: Image.Image) -> Image.Image:
    """Colours without alpha in sRGB, by their embedded ICC profile.

    Converted by LittleCMS with relative colorimetric intent and black point compensation, as
    browsers and image editors do. A profile that is broken, or of another kind than the pixels, is
    taken for sRGB, see `profile_trouble`; one that is sRGB but for rounding changes nothing.

    Args:
        colours: Grey (L), RGB or CMYK, with the profile in `info["icc_profile"]` if there is one.

    Returns:
        RGB if there is a profile that changes something, else the picture as it is.
    """
    profile = colours.info.get("icc_profile")
    if not isinstance(profile, bytes) or not profile:
        return colours
    mode, transform, _ = _transform(profile, colours.mode)
    if transform is None:
        return colours
    source = colours if colours.mode == mode else colours.convert(mode)
    converted = ImageCms.applyTransform(source, transform)
    assert converted is not None
    return converted


def profile_trouble(picture: Image.Image) -> str:
    """Why a picture's embedded profile cannot be used; empty if it can, or there is none."""
    profile = picture.info.get("icc_profile")
    if not isinstance(profile, bytes) or not profile or picture.mode == "LAB":
        return ""  # Lab says by itself what it means
    return _transform(profile, _colours_of(picture.mode))[2]


def _colours_of(mode: str) -> str:
    """The mode of a picture's colours alone."""
    return {
        "CMYK": "CMYK",
        "RGB": "RGB",
        "RGBA": "RGB",
        "RGBa": "RGB",
        "P": "RGB",
        "PA": "RGB",
    }.get(mode, "L")


@lru_cache(maxsize=32)
def _transform(profile: bytes, mode: str) -> tuple[str, ImageCms.ImageCmsTransform | None, str]:
    """The mode that pixels need to be in, the way to sRGB, if there is any, and what is wrong."""
    try:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        space = opened.profile.xcolor_space.strip()
        needed = _MODES.get(space, "")
        if needed != mode and not (needed == "RGB" and mode == "L"):
            return mode, None, f"a colour profile of {space}, but the pixels are {mode}"
        transform = ImageCms.buildTransform(
            opened,
            _SRGB,
            needed,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION | ImageCms.Flags.NOCACHE,  # for threads
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        return mode, None, f"a colour profile that cannot be read ({reason})"
    if needed != "CMYK" and _changes_nothing(transform, needed):
        return mode, None, ""
    return needed, transform, ""


_SRGB = ImageCms.createProfile("sRGB")


def _changes_nothing(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Whether it is sRGB to sRGB but for rounding, tried on colours all over the cube."""
    levels = np.arange(0, 256, 17, dtype=np.uint8)
    if mode == "L":
        values = levels[None]
        expected = np.repeat(values[..., None], 3, axis=2)
    else:
        values = expected = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(16, 256, 3)
    converted = ImageCms.applyTransform(Image.fromarray(values), transform)
    assert converted is not None
    return int(np.abs(np.asarray(converted).astype(int) - expected).max()) <= 2
