"""From files to tensors: pairing, decoding, views of an image, data sets."""

from dsunet.data.dataset import EpochSampler, PairDataset, Sample, collate
from dsunet.data.images import read_image, read_mask
from dsunet.data.pairs import Pair, find_pairs, select_pairs, split_pairs
from dsunet.data.views import Views, image_view, make_views, mask_view

__all__ = [
    "EpochSampler",
    "Pair",
    "PairDataset",
    "Sample",
    "Views",
    "collate",
    "find_pairs",
    "image_view",
    "make_views",
    "mask_view",
    "read_image",
    "read_mask",
    "select_pairs",
    "split_pairs",
]
