"""The two encoders, their adapters, and what freezing means."""

from dsunet.encoders.adapter import AdaptedBlock, Adapter, without_adapters
from dsunet.encoders.base import Encoder, EncoderReference, in_trunk
from dsunet.encoders.dinov2 import DINOv2Encoder, build_dinov2
from dsunet.encoders.hiera import HieraEncoder, build_hiera
from dsunet.encoders.pyramid import PyramidEncoder, build_pyramid

__all__ = [
    "AdaptedBlock",
    "Adapter",
    "DINOv2Encoder",
    "Encoder",
    "EncoderReference",
    "HieraEncoder",
    "PyramidEncoder",
    "build_dinov2",
    "build_hiera",
    "build_pyramid",
    "in_trunk",
    "without_adapters",
]
