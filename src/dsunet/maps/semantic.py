"""DINOv2's maps from a feature store instead of from DINOv2.

DINOv2 is frozen and has no adapters, so for one image, flip and size its maps never change, and by
FLOPs it is 78 % of a forward pass. Maps are kept in the smallest form that the fusion can go on
from (`DSUNet.reduced_semantics`), and are always rounded through the store's type, so that it makes
no difference whether a map was read or has just been computed.
"""

from __future__ import annotations

import logging
import math
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from dsunet.config import DataConfig, as_size
from dsunet.data.dataset import Batch, Slot
from dsunet.data.pairs import Pair, read_pair
from dsunet.data.sources import Stamp, stamp_of
from dsunet.data.split import Split, data_name
from dsunet.data.views import image_view
from dsunet.errors import ConfigError, DataError, OutputError
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
from dsunet.network.fingerprint import fingerprint
from dsunet.network.model import DSUNet
from dsunet.support.processes import stay_with_parent
from dsunet.weights.known import cache_folder

__all__ = [
    "FeatureCache",
    "build_cache",
    "cache_root",
    "check_budget",
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


def find_stores(where: str) -> tuple[list[FeatureStore], list[str]]:
    """The stores in a folder, by name, or the one that it is; and why others cannot be read."""
    root = cache_root(where)
    own = root / "about.json"
    stores, reasons = [], []
    for about in [own] if own.exists() else sorted(root.glob("*/about.json")):
        try:
            stores.append(FeatureStore(about.parent))
        except OutputError as error:
            reasons.append(str(error))
    return stores, reasons


def obstacle(model: SegmentationModel, data: DataConfig) -> str | None:
    """Why the maps of a training cannot be stored, if they cannot."""
    if not isinstance(model, DSUNet):
        return "a network of your own says of none of its parts that it gives the same every time"
    if model.semantic is None:
        return "this model has no DINOv2"
    if model.semantic.trainable:
        return "this model trains its DINOv2, so its maps change with every step"
    for name in ("crop", "colour"):
        if getattr(data, name) > 0:
            return f"with --{name} an image looks different every time"
    return None


def kind_of(model: DSUNet, precision: torch.dtype, dtype: str) -> FeatureKind:
    """What the maps of a model are.

    Raises:
        ConfigError: The model has no config.
    """
    config, semantic = model.config, model.semantic
    if config is None or semantic is None:
        raise ConfigError("the model needs a config and a DINOv2")
    weights = semantic.source.fingerprint if semantic.source is not None else None
    return FeatureKind(
        encoder=config.semantic,
        weights=weights or fingerprint(semantic.trunk.state_dict()),
        size=as_size(config.dino_size),
        depths=semantic.depths,
        norm=semantic.norm,
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
        training: Which training images are which in the store.
        validation: Which validation images are.
        needed: Every image and flip that can come up.
        preview: At what size training images may be decoded, see `read_pair`.
        unreadable: Why images are left out, one line each.
        say: Called with a line if maps cannot be written any more; without it, that is an error.
        spare: The trunk that `leave_out` has taken out of the model.
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

    def leave_out(self, model: DSUNet) -> bool:
        """Takes DINOv2's trunk out of a model if every map is there; says whether it did.

        A trunk that is in no other file stays: files of the model have to carry it.
        """
        semantic = model.semantic
        if semantic is None or semantic.source is None:
            return False
        if not all(map(self.store.has, self.needed)):
            return False
        self.spare = semantic.leave_out()
        return True

    def missing(self) -> list[Slot]:
        """What is needed and not there yet, or broken."""
        return [place for place in self.needed if self.store.read(place) is None]

    def complete(self, model: DSUNet, batch: Batch) -> list[Tensor]:
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
        self, model: DSUNet, views: Tensor, places: Sequence[Slot | None]
    ) -> list[tuple[Tensor, ...]]:
        """Maps of some views (B×3×h×w), in the store's type; they are written to it.

        Raises:
            DataError: A value does not fit the store's type.
            OSError: They cannot be written, and there is nobody to `say` it to.
        """
        dtype = getattr(torch, self.store.kind.dtype)
        if self.spare is not None and model.semantic is not None:  # a map was broken
            model.semantic.put_back(self.spare.to(views.device))
            self.spare = None
        with torch.no_grad():
            computed = [maps.float() for maps in model.reduced_semantics(views)]
        largest = float(torch.stack([maps.abs().max() for maps in computed]).max())
        if not math.isfinite(largest):
            raise DataError(
                f"DINOv2's maps hold values that are no finite numbers ({largest}); look at its "
                "weights (dsunet weights verify), or use --precision float32"
            )
        if largest > torch.finfo(dtype).max:
            raise DataError(
                f"DINOv2's maps have values up to {largest:g}, which {self.store.kind.dtype} "
                "cannot hold; use --cache-type float32, or --feature-cache off"
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


def disk_needed(model: DSUNet, data: DataConfig, split: Split, dtype: str) -> int:
    """Bytes that the maps of a data set take, in all flips that can come up."""
    images = len(split.training) * len(_flips(data)) + len(split.validation)
    return images * record_bytes(model.semantic_shapes(), dtype)


def check_budget(size: int, budget: float, what: str) -> None:
    """Raises `OutputError` if maps of so many bytes are more than the budget (GB) allows."""
    if size > budget * 1e9:
        raise OutputError(
            f"the feature cache of {what} would take {gigabytes(size)}, more than the {budget:g} "
            "GB that --cache-budget allows; raise it, or use --feature-cache off"
        )


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
    count = len(split.training) + len(split.validation)
    what = f"{count:,} images, with {len(flips)} flips of each training image in {dtype},"
    check_budget(size, budget, what)
    config, kind = model.config, kind_of(model, precision, dtype)
    assert config is not None
    folder = cache_root(where) / f"{_file_name(data_name(data))}-{kind.name}"
    store = FeatureStore.open(folder, kind)
    preview = max(*as_size(config.sam_size), *kind.size) if data.draft else None
    known, unreadable = _look_at(split.training, preview)
    others, failures = _look_at(split.validation, None)
    unreadable += failures
    try:
        number_of = store.add(key for key, _ in [*known, *others] if key is not None)
    except OSError as error:
        raise OutputError(
            f"the feature cache {folder} cannot be written to ({error.strerror or error}); choose "
            "another folder"
        ) from error
    training, validation = (
        StoredImages(
            store,
            [-1 if key is None else number_of[key] for key, _ in images],
            [stamp for _, stamp in images],
        )
        for images in (known, others)
    )
    needed = {(number, flip): None for number in training.numbers for flip in flips}
    needed |= {(number, 0): None for number in validation.numbers}
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
            try:
                with torch.autocast(device.type, precision, enabled=autocast):
                    cache.compute(model, views[part].to(device), [tuple(p) for p in found[part]])
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


class _ImageFlips(Dataset[tuple[Tensor, list[Slot], str]]):
    """The wanted flips of one image at a time: views, places, and why it failed if it did."""

    def __init__(self, images: Sequence[_Wanted], size: tuple[int, int]) -> None:
        self.images = images
        self.size = size

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, list[Slot], str]:
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


def _look_at(
    pairs: Sequence[Pair], preview: int | None
) -> tuple[list[tuple[bytes | None, Stamp | None]], list[str]]:
    """Keys and stamps of some images, `None` for those that cannot be read, and the reasons."""
    found: list[tuple[bytes | None, Stamp | None]] = []
    reasons = []
    for pair in pairs:
        try:
            stamp = stamp_of(pair.image)  # first: what is written later shows
            found.append((content_key(pair, preview), stamp))
        except (DataError, OSError) as error:
            found.append((None, None))
            reasons.append(str(error))
    return found, reasons


def _flips(data: DataConfig) -> list[int]:
    """The numbers of the flips that can come up in training."""
    chances = {-1: data.horizontal_flip, -2: data.vertical_flip}
    return [
        flip
        for flip, axes in enumerate(_AXES)
        if all(p > 0 if axis in axes else p < 1 for axis, p in chances.items())
    ]


def _file_name(name: str) -> str:
    """A data set's name with letters, digits and a few signs alone."""
    return re.sub(r"[^A-Za-z0-9._+-]+", "-", name).strip("-.")[:60] or "data"


def gigabytes(size: float) -> str:
    """A number of bytes in GB or MB (10⁹ or 10⁶ bytes)."""
    return f"{size / 1e9:.2f} GB" if size >= 1e7 else f"{size / 1e6:.2f} MB"
