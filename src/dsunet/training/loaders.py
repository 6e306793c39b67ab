"""The batches of a training: data sets, their order, and the processes that read them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

from torch.utils.data import DataLoader

from dsunet.config import DataConfig, TrainConfig
from dsunet.data import EpochSampler, PairDataset
from dsunet.data.dataset import Batch
from dsunet.data.split import Split
from dsunet.data.transform import Transform
from dsunet.maps.lessons import Lessons
from dsunet.maps.semantic import FeatureCache
from dsunet.network.base import SegmentationModel
from dsunet.running.loaders import pair_loader
from dsunet.support.ranks import ALONE, Ranks

__all__ = ["Loaders", "Orders", "make_loaders"]


class Orders(NamedTuple):
    """In which order images come, and whose they are."""

    training: EpochSampler
    """Which a resumed run goes on in."""
    measured: EpochSampler | None = None
    """Of the validation images; `None` without any."""


@dataclass(frozen=True)
class Loaders:
    """What a trainer is fed with."""

    training: DataLoader[Batch]
    orders: Orders
    validation: DataLoader[Batch] | None
    """One image a batch; `None` without validation pairs."""
    pictures: PairDataset | None
    """The validation pairs; `None` without any."""


def make_loaders(
    network: SegmentationModel,
    split: Split,
    unlabelled: Sequence[Path],
    data: DataConfig,
    recipe: TrainConfig,
    *,
    cache: FeatureCache | None = None,
    lessons: Lessons | None = None,
    ranks: Ranks = ALONE,
    pin_memory: bool = False,
    interrupted: Callable[[], bool] | None = None,
) -> Loaders:
    """Data sets and loaders of a training.

    Args:
        network: Gives the sizes of the views.
        split: The pairs.
        unlabelled: Images without masks, for the training.
        data: How images are changed, and how many processes read them.
        recipe: Gives seed and batch size (a number).
        cache: DINOv2's maps, if they are stored.
        lessons: A teacher's maps of the training images.
        ranks: Which process this is, of those that share an epoch.
        pin_memory: Hand out batches in memory that a GPU copies from at once.
        interrupted: Says whether to stop waiting for a batch that does not come.
    """
    assert isinstance(recipe.batch_size, int)
    sizes = network.view_sizes
    training = _training_set(network, split, unlabelled, data, recipe, cache, lessons)
    order = EpochSampler(len(training), seed=recipe.seed, ranks=ranks, batch=recipe.batch_size)
    load = partial(
        pair_loader,
        workers=data.workers,
        keep_workers=True,
        pin_memory=pin_memory,
        sharing=ranks.on_machine,
        interrupted=interrupted,
    )
    train_loader = load(training, recipe.batch_size // ranks.world, order)
    if not split.validation:
        return Loaders(train_loader, Orders(order), None, None)
    stored = cache.validation if cache is not None else None
    validation = PairDataset(
        split.validation, *sizes, keep_truth=True, stored=stored, tiling=data.tiling
    )
    # one image a batch, so that the measures are those of prediction to the last digit
    measured = EpochSampler(len(validation), shuffle=False, ranks=ranks)
    orders = Orders(order, measured)
    return Loaders(train_loader, orders, load(validation, 1, measured), validation)


def _training_set(
    network: SegmentationModel,
    split: Split,
    unlabelled: Sequence[Path],
    data: DataConfig,
    recipe: TrainConfig,
    cache: FeatureCache | None,
    lessons: Lessons | None,
) -> PairDataset:
    return PairDataset(
        split.training,
        *network.view_sizes,
        flips=(data.horizontal_flip, data.vertical_flip),
        crop=data.crop,
        colour=data.colour,
        changes=data.changes,
        draft=data.draft,
        seed=recipe.seed,
        stored=cache.training if cache is not None else None,
        unlabelled=unlabelled,
        lessons=lessons,
        intensity=network.intensity,
        transform=None if data.transform is None else Transform(data.transform),
        tiling=data.tiling,
        tile_crops=data.tile_crops,
    )
