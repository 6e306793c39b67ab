"""DINOv2's maps from a feature store instead of from DINOv2.

DINOv2 is frozen and has no adapters, so for one image, flip and size its maps never change, and by
FLOPs it is 78 % of a forward pass. Maps are kept in the smallest form that the fusion can go on
from (`DSUNet.reduced_semantics`), and are always rounded through the store's type, so that it makes
no difference whether a map was read or has just been computed.
"""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from dsunet.base import SegmentationModel
from dsunet.config import DataConfig, as_size
from dsunet.data.dataset import Batch
from dsunet.data.feature_store import (
    FLIPS,
    FeatureKind,
    FeatureStore,
    Place,
    content_key,
    flip_number,
)
from dsunet.data.pairs import Pair, read_pair
from dsunet.data.split import Split, data_name
from dsunet.data.views import image_view
from dsunet.errors import DataError, OutputError
from dsunet.known import cache_folder
from dsunet.model import DSUNet
from dsunet.processes import stay_with_parent
from dsunet.weights.formats import fingerprint

__all__ = [
    "FeatureCache",
    "build_cache",
    "cache_root",
    "disk_needed",
    "find_stores",
    "gigabytes",
    "obstacle",
    "open_cache",
]

logger = logging.getLogger(__name__)


def cache_root(where: str) -> Path:
    """The folder of all stores: what `auto` stands for, or the folder itself."""
    return cache_folder() / "features" if where == "auto" else Path(where)


def find_stores(where: str) -> list[FeatureStore]:
    """The stores in a folder, by name.

    Raises:
        OutputError: One cannot be read.
    """
    return [FeatureStore(about.parent) for about in sorted(cache_root(where).glob("*/about.json"))]


def obstacle(model: SegmentationModel, data: DataConfig) -> str | None:
    """Why the maps of a training cannot be stored, if they cannot."""
    if not isinstance(model, DSUNet):
        return "a network of your own says of none of its parts that it gives the same every time"
    if model.dinov2 is None:
        return "this model has no DINOv2"
    if model.dinov2.trainable:
        return "this model trains its DINOv2, so its maps change with every step"
    for name in ("crop", "colour"):
        if getattr(data, name) > 0:
            return f"with --{name} an image looks different every time"
    return None


def kind_of(model: DSUNet, precision: torch.dtype, dtype: str) -> FeatureKind:
    """What the maps of a model are.

    Raises:
        ValueError: The model has no config.
    """
    config, dinov2 = model.config, model.dinov2
    if config is None or dinov2 is None:
        raise ValueError("the model needs a config and a DINOv2")
    weights = dinov2.source.fingerprint if dinov2.source is not None else None
    return FeatureKind(
        encoder=config.dinov2,
        weights=weights or fingerprint(dinov2.trunk.state_dict()),
        size=as_size(config.dino_size),
        depths=dinov2.depths,
        norm=dinov2.norm,
        shapes=tuple(model.semantic_shapes()),
        interpolate=config.interpolate,
        precision=str(precision).removeprefix("torch."),
        dtype=dtype,
    )


@dataclass
class FeatureCache:
    """A store, and what of it some training needs.

    Attributes:
        store: Where the maps are.
        training: Numbers of the training images in the store, -1 for an unreadable one.
        validation: Numbers of the validation images, likewise.
        needed: Every image and flip that can come up.
        preview: At what size training images may be decoded, see `read_pair`.
        unreadable: Why images are left out, one line each.
        spare: The trunk that `leave_out` has taken out of the model.
    """

    store: FeatureStore
    training: list[int]
    validation: list[int]
    needed: list[Place]
    preview: int | None = None
    unreadable: list[str] = field(default_factory=list)
    spare: nn.Module | None = None

    def leave_out(self, model: DSUNet) -> bool:
        """Takes DINOv2's trunk out of a model if every map is there; says whether it did.

        A trunk that is in no other file stays: files of the model have to carry it.
        """
        dinov2 = model.dinov2
        if dinov2 is None or dinov2.source is None:
            return False
        if not all(map(self.store.has, self.needed)):
            return False
        self.spare = dinov2.leave_out()
        return True

    def missing(self) -> list[Place]:
        """What is needed and not there yet, or broken."""
        return [place for place in self.needed if self.store.read(place) is None]

    def complete(self, model: DSUNet, batch: Batch) -> list[Tensor]:
        """The maps of a batch, each B×C×H×W float32, on the device of its views.

        Those that are not in the store are computed and written to it.

        Raises:
            DataError: A value does not fit the store's type.
            OSError: They cannot be written.
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
        self, maps: tuple[Tensor, ...] | None, place: Place | None
    ) -> tuple[Tensor, ...] | None:
        """A loader's process may have looked before the maps were written."""
        if maps is not None or place is None:
            return maps
        found = self.store.read(place)
        return None if found is None else tuple(map(torch.from_numpy, found))

    def compute(
        self, model: DSUNet, views: Tensor, places: Sequence[Place | None]
    ) -> list[tuple[Tensor, ...]]:
        """Maps of some views (B×3×h×w), in the store's type; they are written to it."""
        dtype = getattr(torch, self.store.kind.dtype)
        if self.spare is not None and model.dinov2 is not None:  # a map was broken
            model.dinov2.put_back(self.spare.to(views.device))
            self.spare = None
        with torch.no_grad():
            computed = [maps.float() for maps in model.reduced_semantics(views)]
        largest = max(float(maps.abs().max()) for maps in computed)
        if not largest <= torch.finfo(dtype).max:
            raise DataError(
                f"DINOv2's maps have values up to {largest:g}, which {self.store.kind.dtype} "
                "cannot hold; use --cache-type float32, or --feature-cache off"
            )
        rows = list(zip(*[maps.to(dtype) for maps in computed], strict=True))
        for row, place in zip(rows, places, strict=True):
            if place is not None:
                self.store.write(place, [maps.cpu().numpy() for maps in row])
        return rows


def disk_needed(model: DSUNet, data: DataConfig, split: Split, dtype: str) -> int:
    """Bytes that the maps of a data set take, in all flips that can come up."""
    images = len(split.training) * len(_flips(data)) + len(split.validation)
    values = sum(c * h * w for c, h, w in model.semantic_shapes())
    return images * values * (4 if dtype == "float32" else 2)


def open_cache(
    where: str,
    model: DSUNet,
    data: DataConfig,
    split: Split,
    precision: torch.dtype,
    *,
    dtype: str = "float16",
    budget: float = 50.0,
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
        budget: The most that the maps may take of the disk, in GB of 10⁹ bytes.
        say: Called with a line about what is there and how much disk it takes.

    Raises:
        OutputError: The maps would take more than the budget or than the disk has, or the folder
            cannot be used.
    """
    flips = _flips(data)
    size = disk_needed(model, data, split, dtype)
    if size > budget * 1e9:
        raise OutputError(
            f"the feature cache of {len(split.training) + len(split.validation):,} images, with "
            f"{len(flips)} flips of each training image in {dtype}, would take {gigabytes(size)}, "
            f"more than the {budget:g} GB that --cache-budget allows; raise it, or use "
            "--feature-cache off"
        )
    config, kind = model.config, kind_of(model, precision, dtype)
    assert config is not None
    folder = cache_root(where) / f"{_file_name(data_name(data))}-{kind.name}"
    store = FeatureStore.open(folder, kind)
    preview = max(*as_size(config.sam_size), *kind.size) if data.draft else None
    keys, unreadable = _keys(split.training, preview)
    others, failures = _keys(split.validation, None)
    keys, unreadable = [*keys, *others], [*unreadable, *failures]
    try:
        number_of = store.add(key for key in keys if key is not None)
    except OSError as error:
        raise OutputError(
            f"the feature cache {folder} cannot be written to ({error.strerror or error}); choose "
            "another folder"
        ) from error
    numbers = [-1 if key is None else number_of[key] for key in keys]
    training, validation = numbers[: len(split.training)], numbers[len(split.training) :]
    needed = {(number, flip): None for number in training for flip in flips}
    needed |= {(number, 0): None for number in validation}
    places = [place for place in needed if place[0] >= 0]
    cache = FeatureCache(store, training, validation, places, preview, unreadable)
    there = sum(store.has(place) for place in cache.needed)
    to_write = (len(cache.needed) - there) * kind.record_bytes
    free = shutil.disk_usage(folder).free
    if to_write > free:
        raise OutputError(
            f"the feature cache needs {gigabytes(to_write)} more, but the disk of {folder} has "
            f"{gigabytes(free)} left; make room, choose another folder, or use "
            "--feature-cache off"
        )
    say(
        f"feature cache: {folder} has {there:,} of {len(cache.needed):,} maps "
        f"({len(flips)} flips a training image); all take {gigabytes(size)} as {dtype}"
    )
    return cache


def build_cache(
    cache: FeatureCache,
    model: DSUNet,
    split: Split,
    device: torch.device,
    precision: torch.dtype,
    *,
    batch_size: int = 4,
    workers: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[int, list[str]]:
    """Computes what is missing in a store; interrupted, it goes on where it was.

    Returns:
        How many maps were added, and why images failed, one line each.
    """
    places = set(cache.missing())
    source_of = dict(zip(cache.training, ((p, cache.preview) for p in split.training), strict=True))
    source_of |= dict(zip(cache.validation, ((p, None) for p in split.validation), strict=True))
    wanted: dict[int, list[int]] = {}
    for number, flip in sorted(places):
        wanted.setdefault(number, []).append(flip)
    images = [(*source_of[number], number, flips) for number, flips in wanted.items()]
    loader = DataLoader(
        _ImageFlips(images, cache.store.kind.size),
        batch_size=None,
        num_workers=workers,
        worker_init_fn=stay_with_parent,
    )
    autocast = precision != torch.float32
    done, failures = 0, [*cache.unreadable]
    for views, found, failure in loader:
        if failure:
            failures.append(failure)
            continue
        for start in range(0, len(found), batch_size):
            part = slice(start, start + batch_size)
            with torch.autocast(device.type, precision, enabled=autocast):
                cache.compute(model, views[part].to(device), [tuple(p) for p in found[part]])
            done += len(found[part])
            if progress is not None:
                progress(done, len(places))
    return done, failures


class _ImageFlips(Dataset[tuple[Tensor, list[Place], str]]):
    """The wanted flips of one image at a time: views, places, and why it failed if it did."""

    def __init__(
        self, images: Sequence[tuple[Pair, int | None, int, list[int]]], size: tuple[int, int]
    ) -> None:
        self.images = images
        self.size = size

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, list[Place], str]:
        pair, preview, number, flips = self.images[index]
        try:
            view = image_view(read_pair(pair, preview).image, self.size)
        except DataError as error:
            return torch.empty(0), [], str(error)
        views = [view.flip(_AXES[flip]) for flip in flips]
        return torch.stack(views), [(number, flip) for flip in flips], ""


_AXES: list[list[int]] = [[], [-1], [-2], [-1, -2]]
assert [flip_number(axes) for axes in _AXES] == list(range(FLIPS))


def _keys(pairs: Sequence[Pair], preview: int | None) -> tuple[list[bytes | None], list[str]]:
    """The keys of some images, `None` for those that cannot be read, and the reasons."""
    keys: list[bytes | None] = []
    reasons = []
    for pair in pairs:
        try:
            keys.append(content_key(pair, preview))
        except (DataError, OSError) as error:
            keys.append(None)
            reasons.append(str(error))
    return keys, reasons


def _flips(data: DataConfig) -> list[int]:
    """The numbers of the flips that can come up in training."""
    never = [
        axis
        for axis, chance in ((-1, data.horizontal_flip), (-2, data.vertical_flip))
        if chance == 0
    ]
    always = [
        axis
        for axis, chance in ((-1, data.horizontal_flip), (-2, data.vertical_flip))
        if chance == 1
    ]
    return [
        flip
        for flip, axes in enumerate(_AXES)
        if not set(axes) & set(never) and set(always) <= set(axes)
    ]


def _file_name(name: str) -> str:
    """A data set's name with letters, digits and a few signs alone."""
    return re.sub(r"[^A-Za-z0-9._+-]+", "-", name).strip("-.")[:60] or "data"


def gigabytes(size: float) -> str:
    """A number of bytes in GB or MB (10⁹ or 10⁶ bytes)."""
    return f"{size / 1e9:.2f} GB" if size >= 1e7 else f"{size / 1e6:.2f} MB"
