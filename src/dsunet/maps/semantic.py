"""DINOv2's maps from a feature store instead of from DINOv2.

DINOv2 is frozen and has no adapters, so for one image, flip and size its maps never change, and by
FLOPs it is 78 % of a forward pass. Maps are kept in the smallest form that the fusion can go on
from (`DSUNet.reduced_semantics`), and are always rounded through the store's type, so that it makes
no difference whether a map was read or has just been computed.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from dsunet.config import DataConfig, TrainConfig
from dsunet.data.dataset import Batch, Slot
from dsunet.data.pairs import Pair, read_pair
from dsunet.data.sources import content_stamp
from dsunet.data.split import Split, data_name
from dsunet.data.views import image_view
from dsunet.errors import DataError, OutputError
from dsunet.maps.opening import Budget, Group, Seen, Use, cache_root, gigabytes, open_images
from dsunet.maps.store import (
    FLIPS,
    FeatureKind,
    FeatureStore,
    StoredImages,
    content_key,
    flip_number,
    record_bytes,
)
from dsunet.network.base import SegmentationModel
from dsunet.running.loaders import make_loader
from dsunet.running.place import Place

__all__ = [
    "SEMANTIC_MAPS",
    "FeatureCache",
    "build_cache",
    "disk_needed",
    "obstacle",
    "open_cache",
]

logger = logging.getLogger(__name__)


# In messages.
SEMANTIC_MAPS = Use(
    maps="the feature cache",
    need="the feature cache needs",
    folder="the feature cache",
    elsewhere="choose another folder",
    less="use `feature_cache` off",
    room="make room, choose another folder, or use `feature_cache` off",
)


def obstacle(model: SegmentationModel, data: DataConfig) -> str | None:
    """Why the maps of a training cannot be stored, if they cannot."""
    if reason := model.semantic_obstacle():
        return reason
    for name in ("crop", "colour"):
        if getattr(data, name) > 0:
            return f"with `{name}` an image looks different every time"
    changes = (("transform", data.transform), ("augment", data.changes), ("tile", data.tiling))
    for name, given in changes:
        if given:
            return f"with `{name}` an image looks different every time"
    return None


def kind_of(model: SegmentationModel, precision: torch.dtype, dtype: str) -> FeatureKind:
    """What the maps of a model are.

    Raises:
        ConfigError: The model has no config.
    """
    precision_name = str(precision).removeprefix("torch.")
    return FeatureKind(**model.semantics()._asdict(), precision=precision_name, dtype=dtype)


@dataclass
class FeatureCache:
    """A store, and what of it some training needs.

    Attributes:
        store: Where the maps are.
        training: Which training images are which in the store.
        validation: Which validation images are.
        needed: Every image and flip that can come up.
        preview: At what size training images may be decoded, see `read_pair`.
        unreadable: Why images are left out, one line each.
        say: Called with a line if maps cannot be written any more; without it, that is an error.
        spare: The trunk that `take_out` has taken out of the model.
    """

    store: FeatureStore
    training: StoredImages
    validation: StoredImages
    needed: list[Slot]
    preview: int | None = None
    unreadable: list[str] = field(default_factory=list)
    say: Callable[[str], None] | None = None
    spare: nn.Module | None = None
    _stopped: bool = False

    def take_out(self, model: SegmentationModel) -> bool:
        """Takes DINOv2's trunk out of a model if every map is there; says whether it did.

        A trunk that is in no other file stays: files of the model have to carry it.
        """
        if not all(map(self.store.has, self.needed)):
            return False
        self.spare = model.take_out_semantics()
        return self.spare is not None

    def missing(self) -> list[Slot]:
        """What is needed and not there yet, or broken."""
        return [place for place in self.needed if self.store.read(place) is None]

    def complete(self, model: SegmentationModel, batch: Batch) -> list[Tensor]:
        """The maps of a batch, each B×C×H×W float32, on the device of its views.

        Those that are not in the store are computed and written to it.

        Raises:
            DataError: A value does not fit the store's type.
        """
        rows = [
            self._read_again(each, place)
            for each, place in zip(batch.maps, batch.places, strict=True)
        ]
        absent = [i for i, row in enumerate(rows) if row is None]
        if absent:
            assert batch.dino is not None
            lacking = [i for i, maps in enumerate(batch.maps) if maps is None]
            views = batch.dino[[lacking.index(i) for i in absent]]
            places = [batch.places[i] for i in absent]
            for i, row in zip(absent, self.compute(model, views, places), strict=True):
                rows[i] = row
        device = batch.sam.device
        per_map = zip(*[row for row in rows if row is not None], strict=True)
        return [torch.stack([m.to(device) for m in maps]).float() for maps in per_map]

    def _read_again(
        self, maps: tuple[Tensor, ...] | None, place: Slot | None
    ) -> tuple[Tensor, ...] | None:
        """A loader's process may have looked before the maps were written."""
        if maps is not None or place is None:
            return maps
        found = self.store.read(place)
        return None if found is None else tuple(map(torch.from_numpy, found))

    def compute(
        self, model: SegmentationModel, views: Tensor, places: Sequence[Slot | None]
    ) -> list[tuple[Tensor, ...]]:
        """Maps of some views (B×3×h×w), in the store's type; they are written to it.

        Raises:
            DataError: A value does not fit the store's type.
            OSError: They cannot be written, and there is nobody to `say` it to.
        """
        dtype = getattr(torch, self.store.kind.dtype)
        if self.spare is not None:  # a map was broken
            model.put_back_semantics(self.spare.to(views.device))
            self.spare = None
        with torch.no_grad():
            computed = [maps.float() for maps in model.reduced_semantics(views)]
        largest = float(torch.stack([maps.abs().max() for maps in computed]).max())
        if not math.isfinite(largest):
            raise DataError(
                f"DINOv2's maps hold values that are no finite numbers ({largest}); look at its "
                "weights (dsunet weights verify), or use `precision` float32"
            )
        if largest > torch.finfo(dtype).max:
            raise DataError(
                f"DINOv2's maps have values up to {largest:g}, which {self.store.kind.dtype} "
                "cannot hold; use `cache_type` float32, or `feature_cache` off"
            )
        rows = list(zip(*[maps.to(dtype) for maps in computed], strict=True))
        for row, place in zip(rows, places, strict=True):
            if place is not None and not self._stopped:
                self._write(place, [maps.cpu().numpy() for maps in row])
        return rows

    def _write(self, place: Slot, maps: Sequence[np.ndarray]) -> None:
        try:
            self.store.write(place, maps)
        except OSError as error:
            if self.say is None:
                raise
            self._stopped = True
            self.say(
                f"the feature cache cannot be written any more ({error.strerror}: "
                f"{error.filename}); going on without writing"
            )


def disk_needed(model: SegmentationModel, data: DataConfig, split: Split, dtype: str) -> int:
    """Bytes that the maps of a data set take, in all flips that can come up."""
    images = len(split.training) * len(_flips(data)) + len(split.validation)
    return images * record_bytes(model.semantic_shapes(), dtype)


def open_cache(
    where: str,
    model: SegmentationModel,
    data: DataConfig,
    split: Split,
    precision: torch.dtype,
    *,
    dtype: str = "float16",
    budget: Budget | None = None,
    say: Callable[[str], None] = logger.info,
) -> FeatureCache:
    """Opens the store of a data set and a model's DINOv2, and makes room for every image.

    Args:
        where: `auto`, or the folder in which stores are kept; each has a subfolder of its own.
        model: A model without `obstacle`.
        data: Gives the store its name and says which flips can come up.
        split: The images.
        precision: What DINOv2 computes in.
        dtype: `float16` or `float32`.
        budget: The most that the maps may take of the disk; `TrainConfig`'s by default.
        say: Called with a line about what is there and how much disk it takes.

    Raises:
        OutputError: The maps would take more than the budget or than the disk has, or the folder
            cannot be used.
    """
    flips = _flips(data)
    count = len(split.training) + len(split.validation)
    kind = kind_of(model, precision, dtype)
    preview = max(*model.view_sizes[0], *kind.size) if data.draft else None
    unreadable: list[str] = []
    opened = open_images(
        SEMANTIC_MAPS,
        cache_root(where),
        data_name(data),
        kind,
        (
            Group(len(split.training), _look_at(split.training, preview, unreadable), flips),
            Group(len(split.validation), _look_at(split.validation, None, unreadable)),
        ),
        budget or Budget(TrainConfig.cache_budget),
        f"{count:,} images, with {len(flips)} flips of each training image in {dtype},",
    )
    say(
        f"feature cache: {opened.store.folder} has {opened.there:,} of {len(opened.needed):,} maps "
        f"({len(flips)} flips a training image); all take "
        f"{gigabytes(disk_needed(model, data, split, dtype))} as {dtype}"
    )
    training, validation = opened.groups
    return FeatureCache(opened.store, training, validation, opened.needed, preview, unreadable)


def build_cache(
    cache: FeatureCache,
    model: SegmentationModel,
    split: Split,
    place: Place,
    *,
    batch_size: int = 4,
    workers: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[int, list[str]]:
    """Computes what is missing in a store; interrupted, it goes on where it was.

    Returns:
        How many maps were added, and why images failed, one line each.

    Raises:
        OutputError: The maps cannot be written.
    """
    places = cache.missing()
    wanted: dict[int, list[int]] = {}
    for number, flip in places:
        wanted.setdefault(number, []).append(flip)
    images = []
    for stored, pairs, preview in (
        (cache.training, split.training, cache.preview),
        (cache.validation, split.validation, None),
    ):
        for index, (number, pair) in enumerate(zip(stored.numbers, pairs, strict=True)):
            if flips := wanted.pop(number, []):
                images.append(_Wanted(pair, preview, stored, index, flips))
    loader = make_loader(
        _ImageFlips(images, cache.store.kind.size), None, _as_it_is, workers=workers
    )
    done, failures = 0, [*cache.unreadable]
    for views, found, failure in loader:
        if failure:
            failures.append(failure)
            continue
        for start in range(0, len(found), batch_size):
            part = slice(start, start + batch_size)
            try:
                with place.autocast():
                    cache.compute(model, views[part].to(place.device), found[part])
            except OSError as error:
                raise OutputError(
                    f"{error.filename} cannot be written ({error.strerror}); what was written "
                    "before is whole: make room, and run it again"
                ) from error
            done += len(found[part])
            if progress is not None:
                progress(done, len(places))
    return done, failures


@dataclass(frozen=True)
class _Wanted:
    """An image whose maps are missing in some flips."""

    pair: Pair
    preview: int | None
    stored: StoredImages
    index: int
    flips: list[int]


_Flips = tuple[Tensor, list[Slot], str]


def _as_it_is(flips: _Flips) -> _Flips:
    """An image at a time is handed on, not put beside others."""
    return flips


class _ImageFlips(Dataset[_Flips]):
    """The wanted flips of one image at a time: views, places, and why it failed if it did."""

    def __init__(self, images: Sequence[_Wanted], size: tuple[int, int]) -> None:
        self.images = images
        self.size = size

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> _Flips:
        image = self.images[index]
        try:
            view = image_view(read_pair(image.pair, image.preview).image, self.size)
            places = [
                place
                for flip in image.flips
                if (place := image.stored.place(image.index, image.pair.image, _AXES[flip]))
            ]
        except DataError as error:
            return torch.empty(0), [], str(error)
        return torch.stack([view.flip(_AXES[flip]) for flip in image.flips]), places, ""


_AXES: list[list[int]] = [[], [-1], [-2], [-1, -2]]
assert [flip_number(axes) for axes in _AXES] == list(range(FLIPS))


def _look_at(pairs: Sequence[Pair], preview: int | None, unreadable: list[str]) -> Iterator[Seen]:
    """Keys and stamps of some images; adds to `unreadable` why others cannot be read."""
    for pair in pairs:
        try:
            stamp = content_stamp(pair.image)  # first: what is written later shows
            seen: Seen = (content_key(pair, preview), stamp)
        except (DataError, OSError) as error:
            unreadable.append(str(error))
            seen = (None, None)
        yield seen


def _flips(data: DataConfig) -> list[int]:
    """The numbers of the flips that can come up in training."""
    chances = {-1: data.horizontal_flip, -2: data.vertical_flip}
    return [
        flip
        for flip, axes in enumerate(_AXES)
        if all(p > 0 if axis in axes else p < 1 for axis, p in chances.items())
    ]
