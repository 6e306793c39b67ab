"""OpenCV and SciPy, or an error that says how to get them."""

from dsunet.errors import MissingPackageError

try:
    import cv2
    from scipy import ndimage
except ImportError as error:
    raise MissingPackageError(
        "metrics need the packages opencv-python-headless and scipy; pip install 'dsunet[evaluate]'"
    ) from error

__all__ = ["cv2", "ndimage"]
