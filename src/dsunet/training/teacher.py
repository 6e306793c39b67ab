"""The teacher of a distillation: what it is, and its maps of the training images."""

from __future__ import annotations

import hashlib
import json
import socket
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from dsunet.config import DistillConfig, TrainConfig, require_one_class
from dsunet.config.renamed import as_on_disk
from dsunet.data.dataset import PairDataset
from dsunet.data.pairs import Pair, list_folder
from dsunet.data.sources import Source
from dsunet.errors import ConfigError, DataError, OutputError
from dsunet.maps.lessons import Lessons, MapFolder, StoredMaps
from dsunet.maps.opening import Budget, cache_root, gigabytes
from dsunet.maps.store import FeatureKind, StoredImages
from dsunet.maps.teacher import compute_maps, logits_shape, open_store
from dsunet.network.base import SegmentationModel
from dsunet.network.fingerprint import fingerprint
from dsunet.network.source import CustomSource
from dsunet.running.place import Place
from dsunet.support.imports import is_import_path, resolve
from dsunet.support.processes import available_cores
from dsunet.training.distillation import Distillation
from dsunet.weights.models import load

__all__ = ["Teaching", "check_teacher", "open_teacher"]


@dataclass(frozen=True)
class Teaching:
    """A teacher, ready to be learned from."""

    name: str
    """Of its file or folder."""
    lessons: Lessons
    distillation: Distillation
    """The loss's part, with heads for the student's levels."""

    def facts(self, config: DistillConfig, unlabelled: int) -> dict[str, Any]:
        """What the student's weights files say of it."""
        return {
            "name": self.name,
            "identity": self.distillation.identity,
            "teacher_weight": config.teacher_weight,
            "truth_weight": config.truth_weight,
            "temperature": config.temperature,
            "feature_weight": config.feature_weight,
            "unlabelled_images": unlabelled,
        }


def check_teacher(config: DistillConfig, folder: Path) -> None:
    """Finds out early whether the teacher is there, and none of the run's own files.

    Args:
        config: Names the teacher.
        folder: The run's folder.

    Raises:
        ConfigError: It lies in the run's folder, or settings do not go together.
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
        raise ConfigError(
            f"the teacher {teacher} is in the run's own folder {folder}, which its student is "
            "written to; choose another `output`"
        )
    if _map_folder(teacher) is None:
        return
    own = ("teacher_model", "teacher_pyramid_weights", "teacher_semantic_weights")
    if given := [name for name in own if getattr(config, name) is not None]:
        raise ConfigError(
            f"{given[0]} is for a teacher's weights, but {teacher} is a folder of maps"
        )
    if config.feature_weight > 0:
        raise ConfigError(
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
    place: Place,
    say: Callable[[str], None],
    *,
    budget: Budget | None = None,
    workers: int = 0,
    computes: bool = True,
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
        place: Where and in what to compute.
        say: Called with lines of progress.
        budget: The most that the maps may take of the disk; the recipe's by default.
        workers: Processes that read images for the teacher.
        computes: Whether to compute maps; another process has done so otherwise.

    Raises:
        DsunetError: Maps are missing or cannot be made or kept; each error says why.
        ConfigError: Settings do not fit the teacher or the student.
    """
    seen = student.intensity
    images = PairDataset(pairs, (1, 1), None, unlabelled=unlabelled, intensity=seen)
    folder = None if _is_named(config) else _map_folder(Path(config.teacher))
    if folder is not None:
        return _given_maps(config, folder, images, output_weights, say)
    device = place.device
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        # the student and its steps draw the same numbers with a teacher and without
        torch.manual_seed(recipe.seed)
        model = _load(config)
        levels = _levels(config, student, model)
        channels = [(own[0], theirs[0]) for own, theirs in levels]
        distillation = Distillation(config, output_weights, channels, _identity(model))
    shapes = (logits_shape(model), *(theirs for _, theirs in levels))
    depths = config.feature_levels if levels else ()
    kind = _kind_of(model, distillation.identity, depths, shapes, place, recipe.cache_type)
    root = cache_root(config.teacher_cache)
    most = budget or Budget(recipe.cache_budget)
    stored = open_store(root, kind, pairs, unlabelled, most, seen)
    _complete(model, stored, images, place, workers, say, computes)
    lessons = Lessons(StoredMaps(stored, _sources(images)), tuple(own[1:] for own, _ in levels))
    return Teaching(_name(config), lessons, distillation)


def _given_maps(
    config: DistillConfig,
    folder: Path,
    images: PairDataset,
    output_weights: tuple[float, float, float],
    say: Callable[[str], None],
) -> Teaching:
    """A teacher whose maps somebody has written."""
    sources = _sources(images)
    maps = MapFolder(folder, sources)
    _check_proportions(maps, images)
    say(f"teacher: {len(sources):,} maps in {folder}")
    own = Distillation(config, output_weights, identity=maps.identity)
    return Teaching(folder.name, Lessons(maps), own)


def _sources(images: PairDataset) -> list[Source]:
    return [*(pair.image for pair in images.pairs), *images.unlabelled]


def _kind_of(
    model: SegmentationModel,
    identity: str,
    depths: tuple[int, ...],
    shapes: tuple[tuple[int, int, int], ...],
    place: Place,
    dtype: str,
) -> FeatureKind:
    return FeatureKind(
        encoder=f"teacher {model.config.name if model.config else ''}",
        weights=identity,
        size=model.view_sizes[0],
        depths=depths,
        norm=False,
        shapes=shapes,
        interpolate="",
        precision=place.precision_name,
        dtype=dtype,
    )


def _complete(
    model: SegmentationModel,
    stored: StoredImages,
    images: PairDataset,
    place: Place,
    workers: int,
    say: Callable[[str], None],
    computes: bool,
) -> None:
    """Computes the maps that are not in the store yet.

    Raises:
        OutputError: There are some, and another process should have computed them.
    """
    store, count = stored.store, len(images)
    missing = [i for i in range(count) if store.read((stored.numbers[i], 0)) is None]
    say(
        f"teacher: {store.folder} has {count - len(missing):,} of {count:,} maps; all take "
        f"{gigabytes(count * store.kind.record_bytes)}"
    )
    if missing and not computes:
        raise OutputError(
            f"{store.folder} on {socket.gethostname()} lacks {len(missing):,} maps that the first "
            "process has; give a `teacher_cache` on a file system that all machines share"
        )
    if missing:
        model = place.settle(model.eval())
        with place.autocast():
            compute_maps(model, stored, missing, images, place.device, workers, say)


def _check_proportions(maps: MapFolder, images: PairDataset) -> None:
    """Reads every map once, before a minute is spent."""
    with ThreadPoolExecutor(min(8, available_cores())) as pool:
        looks = pool.map(partial(_trouble, maps, images), range(len(images)))
        wrong = [trouble for trouble in looks if trouble]
    if wrong:
        more = f" ({len(wrong)} maps cannot be used)" if len(wrong) > 1 else ""
        raise DataError(f"{wrong[0]}{more}")


def _trouble(maps: MapFolder, images: PairDataset, index: int) -> str:
    """Why a map cannot be used; empty if it can."""
    try:
        maps.maps(index, images.read(index)[1].size)
    except DataError as error:
        return str(error)
    return ""


def _load(config: DistillConfig) -> SegmentationModel:
    made: SegmentationModel | None
    if _is_named(config):
        made = CustomSource(config.teacher, resolve(config.teacher)).network_or_none()
    elif config.teacher_model is not None:
        made = load(config.teacher, model=config.teacher_model)
    else:
        made = load(
            config.teacher,
            pyramid_weights=config.teacher_pyramid_weights,
            semantic_weights=config.teacher_semantic_weights,
        )
    if made is None:
        raise ConfigError(
            f"{config.teacher} is a function of an image; let dsunet predict --model write its maps"
            ", and give their folder as `teacher`"
        )
    require_one_class(made.classes, "a teacher", "distil from a model of one map")
    return made.eval()


def _name(config: DistillConfig) -> str:
    if _is_named(config):
        return config.teacher
    return Path(config.teacher).resolve().name


_Shape = tuple[int, int, int]  # channels, height and width of a level


def _levels(
    config: DistillConfig, student: SegmentationModel, teacher: SegmentationModel
) -> list[tuple[_Shape, _Shape]]:
    """The levels to learn from, of student and teacher."""
    if not config.feature_weight:
        return []
    for role, model in (("student", student), ("teacher", teacher)):
        if not model.level_shapes:
            raise ConfigError(
                f"feature_weight is {config.feature_weight}, but the {role} is a network of your "
                "own, whose feature maps nobody knows; leave it out"
            )
    return [
        (student.level_shapes[number - 1], teacher.level_shapes[number - 1])
        for number in config.feature_levels
    ]


def _identity(model: SegmentationModel) -> str:
    """A sum over settings and weights."""
    config = as_on_disk(model.config.to_dict()) if model.config else None
    about = json.dumps(config, sort_keys=True)
    total = hashlib.sha256(f"{about}\n{fingerprint(model.state_dict())}".encode())
    return f"sha256:{total.hexdigest()}"
