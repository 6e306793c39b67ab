"""Building blocks that know nothing of DSU-Net."""

from dsunet.network.layers.conv import ConvBN, ConvBNReLU
from dsunet.network.layers.receptive_field import ReceptiveFieldBlock
from dsunet.network.layers.resize import resize_bilinear
from dsunet.network.layers.wavelet import HAAR_TAPS, WaveletConv2d

__all__ = [
    "HAAR_TAPS",
    "ConvBN",
    "ConvBNReLU",
    "ReceptiveFieldBlock",
    "WaveletConv2d",
    "resize_bilinear",
]
