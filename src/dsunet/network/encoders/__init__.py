"""The two encoders, their adapters, and what freezing means."""

from dsunet.network.encoders.adapter import AdaptedBlock, Adapter, without_adapters
from dsunet.network.encoders.base import Encoder, EncoderReference, in_trunk
from dsunet.network.encoders.pyramid import (
    BackboneEncoder,
    HieraEncoder,
    build_backbone,
    build_hiera,
)
from dsunet.network.encoders.semantic import SemanticEncoder, build_vit

__all__ = [
    "AdaptedBlock",
    "Adapter",
    "BackboneEncoder",
    "Encoder",
    "EncoderReference",
    "HieraEncoder",
    "SemanticEncoder",
    "build_backbone",
    "build_hiera",
    "build_vit",
    "in_trunk",
    "without_adapters",
]
