"""From files to tensors: pairing, decoding, views of an image, data sets.

Names are imported when they are first used: decoding and checking files needs no torch.
"""

from typing import TYPE_CHECKING

from dsunet.support.lazy import lazy_names

if TYPE_CHECKING:
    from dsunet.data.checks.look import check_data
    from dsunet.data.dataset import EpochSampler, PairDataset, Sample, collate
    from dsunet.data.images import read_image, read_mask
    from dsunet.data.pairs import Pair, find_pairs, select_pairs, split_pairs
    from dsunet.data.views import Views, centre_crop, image_view, make_views, mask_view

_HOMES = {
    "EpochSampler": "dataset",
    "Pair": "pairs",
    "PairDataset": "dataset",
    "Sample": "dataset",
    "Views": "views",
    "centre_crop": "views",
    "check_data": "checks.look",
    "collate": "dataset",
    "find_pairs": "pairs",
    "image_view": "views",
    "make_views": "views",
    "mask_view": "views",
    "read_image": "images",
    "read_mask": "images",
    "select_pairs": "pairs",
    "split_pairs": "pairs",
}

__all__ = [
    "EpochSampler",
    "Pair",
    "PairDataset",
    "Sample",
    "Views",
    "centre_crop",
    "check_data",
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

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
