"""Models of the user's own: networks that train like ours, and functions that map an image."""

from dsunet.custom.create import create_custom, load_custom
from dsunet.custom.function import ImageFunction
from dsunet.custom.network import CustomModel
from dsunet.custom.source import CustomSource

__all__ = ["CustomModel", "CustomSource", "ImageFunction", "create_custom", "load_custom"]
