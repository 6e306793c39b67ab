"""Weights from elsewhere: public encoder weights, and files in the formats found in the wild.

Names are imported when they are first used: which weights come with the package needs no torch.
"""

from typing import TYPE_CHECKING

from dsunet.support.lazy import lazy_names

if TYPE_CHECKING:
    from dsunet.weights.conversion import convert
    from dsunet.weights.encoders import find_encoder, given_encoder, public_encoder
    from dsunet.weights.formats import FORMATS, EncoderFile, ModelFile, read_weights
    from dsunet.weights.hub_cache import fetch
    from dsunet.weights.identify import config_of, custom_config_of
    from dsunet.weights.load import LoadReport, fill_model, load_weights
    from dsunet.weights.positions import resample_positions
    from dsunet.weights.registry import PUBLIC_WEIGHTS, PublicWeights, find_public, public_name

_HOMES = {
    "convert": "conversion",
    "find_encoder": "encoders",
    "given_encoder": "encoders",
    "public_encoder": "encoders",
    "FORMATS": "formats",
    "EncoderFile": "formats",
    "ModelFile": "formats",
    "read_weights": "formats",
    "fetch": "hub_cache",
    "config_of": "identify",
    "custom_config_of": "identify",
    "LoadReport": "load",
    "fill_model": "load",
    "load_weights": "load",
    "resample_positions": "positions",
    "PUBLIC_WEIGHTS": "registry",
    "PublicWeights": "registry",
    "find_public": "registry",
    "public_name": "registry",
}

__all__ = [
    "FORMATS",
    "PUBLIC_WEIGHTS",
    "EncoderFile",
    "LoadReport",
    "ModelFile",
    "PublicWeights",
    "config_of",
    "convert",
    "custom_config_of",
    "fetch",
    "fill_model",
    "find_encoder",
    "find_public",
    "given_encoder",
    "load_weights",
    "public_encoder",
    "public_name",
    "read_weights",
    "resample_positions",
]

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
