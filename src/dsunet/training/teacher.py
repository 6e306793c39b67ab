"""The teacher of a distillation: what it is, and its maps of the training images."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dsunet.base import SegmentationModel
from dsunet.config import DistillConfig, TrainConfig
from dsunet.custom import CustomSource, ImageFunction
from dsunet.data.dataset import PairDataset
from dsunet.data.feature_store import FeatureKind, FeatureStore, StoredImages, content_key
from dsunet.data.lessons import Lessons, MapFolder, StoredMaps
from dsunet.data.pairs import Pair, list_folder
from dsunet.data.sources import Source, open_source, stamp_of
from dsunet.data.views import Views, make_views
from dsunet.errors import DataError, OutputError
from dsunet.feature_cache import gigabytes
from dsunet.imports import is_import_path, resolve
from dsunet.inference import lay_out
from dsunet.known import cache_folder
from dsunet.model import DSUNet, load
from dsunet.processes import stay_with_parent
from dsunet.training.distillation import Distillation
from dsunet.weights.formats import fingerprint

__all__ = ["Teaching", "check_teacher", "open_teacher"]

_BATCH = 4
_SECONDS_BETWEEN_LINES = 30.0


@dataclass(frozen=True)
class Teaching:
    """A teacher, ready to be learned from."""

    name: str
    """Of its file or folder."""
    lessons: Lessons
    distillation: Distillation
    """The loss's part, with heads for the student's levels."""


def check_teacher(config: DistillConfig, folder: Path) -> None:
    """Finds out early whether the teacher is there, and none of the run's own files.

    Args:
        config: Names the teacher.
        folder: The run's folder.

    Raises:
        ValueError: It lies in the run's folder, or settings do not go together.
        DataError: There is no such file or folder.
    """
    if _is_named(config):
        return
    teacher = Path(config.teacher)
    if not teacher.exists():
        raise DataError(
            f"there is no teacher {teacher}; give a weights file, a run's folder, or a folder of "
            "maps as dsunet predict writes them"
        )
    if folder.resolve() in (teacher.resolve(), *teacher.resolve().parents):
        raise ValueError(
            f"the teacher {teacher} is in the run's own folder {folder}, which its student is "
            "written to; choose another --output"
        )
    if _map_folder(teacher) is None:
        return
    own = ("teacher_model", "teacher_hiera_weights", "teacher_dinov2_weights")
    if given := [name for name in own if getattr(config, name) is not None]:
        raise ValueError(
            f"{given[0]} is for a teacher's weights, but {teacher} is a folder of maps"
        )
    if config.feature_weight > 0:
        raise ValueError(
            f"feature_weight is {config.feature_weight}, but {teacher} is a folder of maps, which "
            "has no feature maps; give the teacher's weights, or leave it out"
        )


def _is_named(config: DistillConfig) -> bool:
    """Whether the teacher is a network of the user's own that has its weights by itself."""
    return is_import_path(config.teacher) and not Path(config.teacher).exists()


def _map_folder(teacher: Path) -> Path | None:
    """The folder of maps that is meant; `None` for weights."""
    if not teacher.is_dir():
        return None
    for folder in (teacher, teacher / "probability"):  # of several kinds, as predict writes them
        if folder.is_dir():
            images, others = list_folder(folder)
            names = {file.name for file in others}
            if names & {"best.safetensors", "last.safetensors"}:
                return None
            if images or any(name.endswith(".npy") for name in names):
                return folder
    raise DataError(
        f"{teacher} is no teacher: there are neither weights (best.safetensors) nor maps (.png, "
        ".npy) in it"
    )


def open_teacher(
    config: DistillConfig,
    student: SegmentationModel,
    pairs: Sequence[Pair],
    unlabelled: Sequence[Source],
    recipe: TrainConfig,
    output_weights: tuple[float, float, float],
    device: torch.device,
    precision: torch.dtype,
    say: Callable[[str], None],
    *,
    workers: int = 0,
) -> Teaching:
    """Has the teacher's maps of all images ready, and computes those that are not there yet.

    Interrupted, it goes on where it was; what is in the cache serves every student of that teacher.

    Args:
        config: The teacher, and what is learned from it.
        student: The network in training.
        pairs: The training pairs.
        unlabelled: The images without masks.
        recipe: Gives seed, cache's budget and number type.
        output_weights: Weights of the coarse, middle and fine output.
        device: Where to compute.
        precision: What the teacher computes in.
        say: Called with lines of progress.
        workers: Processes that read images for the teacher.

    Raises:
        DsunetError: Maps are missing or cannot be made or kept; each error says why.
        ValueError: Settings do not fit the teacher or the student.
    """
    sources = [*(pair.image for pair in pairs), *unlabelled]
    images = PairDataset(pairs, (1, 1), None, unlabelled=unlabelled)
    folder = None if _is_named(config) else _map_folder(Path(config.teacher))
    if folder is not None:
        maps = MapFolder(folder, sources)
        _check_proportions(maps, images)
        say(f"teacher: {len(sources):,} maps in {folder}")
        own = Distillation(config, output_weights, identity=maps.identity)
        return Teaching(folder.name, Lessons(maps), own)
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        # the student and its steps draw the same numbers with a teacher and without
        torch.manual_seed(recipe.seed)
        model = _load(config)
        levels = _levels(config, student, model)
        identity = _identity(model)
        channels = [(own.channels, theirs.channels) for own, theirs in levels]
        distillation = Distillation(config, output_weights, channels, identity)
    name = _name(config)
    shapes = [_grid(model), *((theirs.channels, *theirs.grid) for _, theirs in levels)]
    kind = FeatureKind(
        encoder=f"teacher {name}",
        weights=identity,
        size=model.view_sizes[0],
        depths=config.feature_levels if levels else (),
        norm=False,
        shapes=tuple(shapes),
        interpolate="",
        precision=str(precision).removeprefix("torch."),
        dtype=recipe.cache_type,
    )
    stored = _open_store(config, kind, pairs, unlabelled, recipe.cache_budget)
    lessons = Lessons(StoredMaps(stored, sources), tuple(own.grid for own, _ in levels))
    missing = [i for i in range(len(sources)) if stored.store.read((stored.numbers[i], 0)) is None]
    say(
        f"teacher: {stored.store.folder} has {len(sources) - len(missing):,} of "
        f"{len(sources):,} maps; all take {gigabytes(len(sources) * kind.record_bytes)}"
    )
    if missing:
        model = lay_out(model.eval().to(device), device)
        with torch.autocast(device.type, precision, enabled=precision != torch.float32):
            _compute(model, stored, missing, images, device, workers, say)
    return Teaching(name, lessons, distillation)


def _check_proportions(maps: MapFolder, images: PairDataset) -> None:
    """Reads every map once, before a minute is spent."""
    wrong = []
    for index in range(len(images)):
        try:
            maps.maps(index, images.read(index)[1].size)
        except DataError as error:
            wrong.append(str(error))
    if wrong:
        more = f" ({len(wrong)} maps cannot be used)" if len(wrong) > 1 else ""
        raise DataError(f"{wrong[0]}{more}")


def _load(config: DistillConfig) -> SegmentationModel:
    made: object
    if _is_named(config):
        made = CustomSource(config.teacher, resolve(config.teacher)).make()
    elif config.teacher_model is not None:
        made = load(config.teacher, model=config.teacher_model)
    else:
        made = load(
            config.teacher,
            hiera_weights=config.teacher_hiera_weights,
            dinov2_weights=config.teacher_dinov2_weights,
        )
    if isinstance(made, ImageFunction):
        raise ValueError(
            f"{config.teacher} is a function of an image; let dsunet predict --model write its maps"
            ", and give their folder as --teacher"
        )
    assert isinstance(made, SegmentationModel)
    return made.eval()


def _name(config: DistillConfig) -> str:
    if _is_named(config):
        return config.teacher
    return Path(config.teacher).resolve().name


@dataclass(frozen=True)
class _Level:
    """A level of a model, with four of them."""

    channels: int
    grid: tuple[int, int]


def _levels(
    config: DistillConfig, student: SegmentationModel, teacher: SegmentationModel
) -> list[tuple[_Level, _Level]]:
    """The levels to learn from, of student and teacher."""
    if not config.feature_weight:
        return []
    for role, model in (("student", student), ("teacher", teacher)):
        if not isinstance(model, DSUNet):
            raise ValueError(
                f"feature_weight is {config.feature_weight}, but the {role} is a network of your "
                "own, whose feature maps nobody knows; leave it out"
            )
    return [
        (_level(student, number - 1), _level(teacher, number - 1))
        for number in config.feature_levels
    ]


def _level(model: SegmentationModel, rank: int) -> _Level:
    assert isinstance(model, DSUNet)
    height, width = model.view_sizes[0]
    stride = model.hiera.strides[rank]
    return _Level(model.hiera.channels[rank], (height // stride, width // stride))


def _grid(model: SegmentationModel) -> tuple[int, int, int]:
    """Shape of the logits that are kept: of our models those before their last resize."""
    height, width = model.view_sizes[0]
    stride = model.hiera.strides[0] if isinstance(model, DSUNet) else 1
    return 1, height // stride, width // stride


def _identity(model: SegmentationModel) -> str:
    """A sum over settings and weights."""
    about = json.dumps(model.config.to_dict() if model.config else None, sort_keys=True)
    total = hashlib.sha256(f"{about}\n{fingerprint(model.state_dict())}".encode())
    return f"sha256:{total.hexdigest()}"


def _open_store(
    config: DistillConfig,
    kind: FeatureKind,
    pairs: Sequence[Pair],
    unlabelled: Sequence[Source],
    budget: float,
) -> StoredImages:
    """The store of a teacher, with room for every image."""
    count = len(pairs) + len(unlabelled)
    size = count * kind.record_bytes
    if size > budget * 1e9:
        raise OutputError(
            f"the teacher's maps of {count:,} images would take {gigabytes(size)}, more than the "
            f"{budget:g} GB that --cache-budget allows; raise it, or learn from fewer "
            "--feature-levels"
        )
    own = config.teacher_cache.lower() == "auto"
    root = cache_folder() / "features" if own else Path(config.teacher_cache)
    name = re.sub(r"[^A-Za-z0-9._+-]+", "-", kind.encoder).strip("-.")[:60]
    store = FeatureStore.open(root / f"{name}-{kind.name}", kind)
    stamps, keys = [], []
    for source, pair in [*((pair.image, pair) for pair in pairs), *((s, None) for s in unlabelled)]:
        stamps.append(stamp_of(source))  # first: what is written later shows
        keys.append(_key(source) if pair is None else content_key(pair))
    try:
        number_of = store.add(keys)
    except OSError as error:
        raise OutputError(
            f"the teacher's cache {store.folder} cannot be written to ({error.strerror or error}); "
            "choose another --teacher-cache"
        ) from error
    absent = sum(not store.has((number_of[key], 0)) for key in keys) * kind.record_bytes
    if absent > (free := shutil.disk_usage(store.folder).free):
        raise OutputError(
            f"the teacher's maps need {gigabytes(absent)} more, but the disk of {store.folder} has "
            f"{gigabytes(free)} left; make room, or choose another --teacher-cache"
        )
    return StoredImages(store, [number_of[key] for key in keys], [*stamps])


def _key(image: Source) -> bytes:
    """As `content_key` of a pair whose image is taken upright."""
    with open_source(image) as file:
        return hashlib.sha256(file.read()).digest()


class _Missing(Dataset[tuple[int, Views | None, str]]):
    """Number and views of each image that the teacher has not seen, and why it cannot be read."""

    def __init__(
        self,
        images: PairDataset,
        numbers: Sequence[int],
        sizes: tuple[tuple[int, int], tuple[int, int] | None],
    ) -> None:
        self.images = images
        self.numbers = numbers
        self.sizes = sizes

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, item: int) -> tuple[int, Views | None, str]:
        number = self.numbers[item]
        try:
            return number, make_views(self.images.read(number)[1], *self.sizes), ""
        except DataError as error:
            return number, None, str(error)


def _together(rows: Sequence[tuple[int, Views | None, str]]) -> tuple[list[int], Views]:
    """Views side by side.

    Raises:
        DataError: An image cannot be read.
    """
    if reason := next((reason for _, _, reason in rows if reason), None):
        raise DataError(reason)
    views = [view for _, view, _ in rows if view is not None]
    dinos = [view.dino for view in views if view.dino is not None]
    dino = torch.stack(dinos) if dinos else None
    return [row[0] for row in rows], Views(torch.stack([v.sam for v in views]), dino, views[0].size)


@torch.no_grad()
def _compute(
    model: SegmentationModel,
    stored: StoredImages,
    missing: Sequence[int],
    images: PairDataset,
    device: torch.device,
    workers: int,
    say: Callable[[str], None],
) -> None:
    """Computes and writes the maps of some images."""
    loader = DataLoader(
        _Missing(images, missing, model.view_sizes),
        _BATCH,
        num_workers=workers,
        collate_fn=list,
        worker_init_fn=stay_with_parent,
    )
    started = told = time.monotonic()
    done = 0
    for rows in loader:
        numbers, views = _together(rows)
        dino = None if views.dino is None else views.dino.to(device)
        maps = _maps(model, views.sam.to(device), dino, stored.store.kind)
        for row, number in enumerate(numbers):
            _write(stored, number, [each[row] for each in maps])
        done += len(numbers)
        now = time.monotonic()
        if now - told > _SECONDS_BETWEEN_LINES or done == len(missing):
            left = (now - started) / done * (len(missing) - done)
            say(f"teacher: {done:,} of {len(missing):,} images, {left / 60:.1f} min left")
            told = now


def _maps(
    model: SegmentationModel, sam: Tensor, dino: Tensor | None, kind: FeatureKind
) -> list[np.ndarray]:
    """Logits and feature maps of some images, each B×C×h×w float32.

    Raises:
        DataError: A value does not fit the store's type.
    """
    if isinstance(model, DSUNet):
        levels = model.fused_levels(sam, dino)
        # at the first level's size, so that the last resize has nothing to do
        size = (levels[0].shape[-2], levels[0].shape[-1])
        logits = model.decoder(levels, size, "fine").fine
        maps = [logits, *(levels[depth - 1] for depth in kind.depths)]
    else:
        maps = [model(sam, dino, outputs="fine").fine]
    largest = max(float(each.abs().max()) for each in maps)
    if not largest <= float(np.finfo(kind.dtype).max):  # nor NaN
        raise DataError(
            f"the teacher's maps have values up to {largest:g}, which {kind.dtype} cannot hold; "
            "use --cache-type float32, or look at its weights"
        )
    return [each.float().cpu().numpy() for each in maps]


def _write(stored: StoredImages, number: int, maps: Sequence[np.ndarray]) -> None:
    try:
        stored.store.write((stored.numbers[number], 0), maps)
    except OSError as error:
        raise OutputError(
            f"{error.filename} cannot be written ({error.strerror}); what was written before is "
            "whole: make room, and run it again"
        ) from error
