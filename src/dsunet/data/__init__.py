"""From files to tensors: pairing, decoding, views of an image, data sets.

Names are imported when they are first used: decoding and checking files needs no torch.
"""

from typing import TYPE_CHECKING

from dsunet.support.lazy import lazy_names

if TYPE_CHECKING:
    from dsunet.data.checks.look import check_data as check_data
    from dsunet.data.dataset import EpochSampler as EpochSampler
    from dsunet.data.dataset import PairDataset as PairDataset
    from dsunet.data.dataset import Sample as Sample
    from dsunet.data.dataset import collate as collate
    from dsunet.data.images import read_image as read_image
    from dsunet.data.images import read_mask as read_mask
    from dsunet.data.pairing import find_pairs as find_pairs
    from dsunet.data.pairs import Pair as Pair
    from dsunet.data.pairs import select_pairs as select_pairs
    from dsunet.data.pairs import split_pairs as split_pairs
    from dsunet.data.views import Views as Views
    from dsunet.data.views import centre_crop as centre_crop
    from dsunet.data.views import image_view as image_view
    from dsunet.data.views import make_views as make_views
    from dsunet.data.views import mask_view as mask_view

__all__, __getattr__, __dir__ = lazy_names(
    __name__,
    {
        "checks.look": ["check_data"],
        "dataset": ["EpochSampler", "PairDataset", "Sample", "collate"],
        "images": ["read_image", "read_mask"],
        "pairing": ["find_pairs"],
        "pairs": ["Pair", "select_pairs", "split_pairs"],
        "views": ["Views", "centre_crop", "image_view", "make_views", "mask_view"],
    },
)
