"""The two encoders, their adapters, and what freezing means."""

from dsunet.network.encoders.adapter import AdaptedBlock, Adapter, without_adapters
from dsunet.network.encoders.base import Encoder, EncoderReference, in_trunk
from dsunet.network.encoders.pyramid import HieraEncoder, PyramidEncoder, build_hiera, build_pyramid
from dsunet.network.encoders.semantic import DINOv2Encoder, build_dinov2

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
