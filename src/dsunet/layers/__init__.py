"""Building blocks that know nothing of DSU-Net."""

from dsunet.layers.conv import ConvBN, ConvBNReLU
from dsunet.layers.receptive_field import ReceptiveFieldBlock
from dsunet.layers.resize import resize_bilinear
from dsunet.layers.wavelet import HAAR_TAPS, WaveletConv2d

__all__ = [
    "HAAR_TAPS",
    "ConvBN",
    "ConvBNReLU",
    "ReceptiveFieldBlock",
    "WaveletConv2d",
    "resize_bilinear",
]
