"""OpenCV and SciPy, or an error that says how to get them."""

from functools import cache
from typing import Any

from dsunet.errors import MissingPackageError

try:
    import cv2
except ImportError as error:
    raise MissingPackageError(
        "metrics need the packages opencv-python-headless and scipy; pip install 'dsunet[evaluate]'"
    ) from error

__all__ = ["cv2", "ndimage"]


@cache
def ndimage() -> Any:
    """SciPy's functions for images; importing them takes as long as measuring fifty maps.

    Raises:
        MissingPackageError: SciPy is not installed.
    """
    try:
        from scipy import ndimage as module
    except ImportError as error:
        raise MissingPackageError(
            "the weighted F-measure needs the package scipy; pip install 'dsunet[evaluate]'"
        ) from error
    return module
