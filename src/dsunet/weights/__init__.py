"""Weights from elsewhere: public encoder weights, and files in the formats found in the wild."""

from dsunet.weights.conversion import convert
from dsunet.weights.encoders import find_encoder, given_encoder, public_encoder
from dsunet.weights.formats import FORMATS, EncoderFile, ModelFile, read_weights
from dsunet.weights.hub_cache import fetch
from dsunet.weights.identify import config_of, custom_config_of
from dsunet.weights.load import LoadReport, fill_model, load_weights
from dsunet.weights.positions import resample_positions
from dsunet.weights.registry import PUBLIC_WEIGHTS, PublicWeights, find_public, public_name

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
