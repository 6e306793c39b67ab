"""One training run, from settings to a folder that explains itself."""

from __future__ import annotations

import hashlib
import logging
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from dsunet.config import DataConfig, DistillConfig, LossConfig, ModelConfig, TrainConfig
from dsunet.config.renamed import takes_old_names
from dsunet.data.limits import pixels_allowed
from dsunet.errors import (
    AbandonedError,
    ConfigError,
    DataError,
    MissingPackageError,
    OutputError,
)
from dsunet.metrics.cuts import BestThreshold, describe_threshold
from dsunet.network.blocks import trust
from dsunet.network.source import CustomSource
from dsunet.support.files import clear_temporaries, encode_text, lock_folder, write_json
from dsunet.support.ranks import Ranks
from dsunet.training.balance import with_positive_weight
from dsunet.training.building import Built, build, with_batch_size
from dsunet.training.folder import check_folder, make_folder, more_epochs, position_of, write_start
from dsunet.training.material import check_start, find_material
from dsunet.training.request import Request, Sources, settled
from dsunet.training.schedule import cosine_factor
from dsunet.weights.checkpoint import read_metadata

if TYPE_CHECKING:
    from dsunet.training.loop import Ended, Together

__all__ = ["TrainResult", "distill", "train"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainResult:
    """What a run came to."""

    folder: Path
    """The run's folder."""
    epochs: int
    """Epochs that were trained in all."""
    measures: dict[str, float]
    """S, F, E, MAE, Dice and IoU of the best epoch, and its false alarms if there are pictures
    without an object, see `Measures.summary`; empty without validation."""
    best_epoch: int
    """The epoch that is best by `TrainConfig.best_by`; 0 without validation."""
    weights: Path
    """The best weights, or the last without validation."""
    best_threshold: BestThreshold | None = None
    """Where the best epoch's maps agree best with the validation set's objects, if it has some; for
    `dsunet predict --threshold` and `Segmentation.binary`."""


@takes_old_names
def train(
    output: str | Path,
    model: ModelConfig | CustomSource | str | Callable[..., object],
    data: DataConfig,
    recipe: TrainConfig | None = None,
    loss: LossConfig | None = None,
    *,
    weights: str | Path | None = "default",
    pyramid_weights: str | Path | None = None,
    semantic_weights: str | Path | None = None,
    distill: DistillConfig | None = None,
    resume: bool = False,
    plan: str | None = None,
    on_line: Callable[[str], None] | None = None,
    progress_bar: bool = False,
) -> TrainResult:
    """Trains a network and writes the run's folder.

    The folder holds `config.yaml` (every setting), `train.txt` and `val.txt` (the split),
    `data.json` (what the check of the data found), `environment.json`, `metrics.csv` (a row per
    epoch), `curves.png`, `validation.png`, `best.safetensors` and `last.safetensors`,
    `resume.ckpt`, and TensorBoard's files.

    Args:
        output: The run's folder; new or empty unless `resume`.
        model: What to train: the settings of a model of dsunet's, or one of your own: a
            `torch.nn.Module`, a function without arguments that makes one, or its import path.
        data: What to train on.
        recipe: How; the paper's recipe by default.
        loss: The loss; the paper's by default.
        weights: What the model starts from, as in `create_model`.
        pyramid_weights: File with Hiera's weights, as in `create_model`.
        semantic_weights: File with DINOv2's weights.
        distill: What to learn from beside the truth, see docs/distillation.md.
        resume: Go on with the run in the folder; start it if there is none yet.
        plan: Text to keep as `plan.yaml`, as `dsunet.planning.as_yaml` gives it.
        on_line: Called with every line of progress.
        progress_bar: Show Lightning's progress bar.

    Raises:
        DsunetError: Data, weights, device or folder cannot be used; each says why.
        KeyboardInterrupt: Interrupted; the state is saved, unless it came before the first step
            or twice.
    """
    own = model if isinstance(model, ModelConfig) else CustomSource.of(model)
    if isinstance(own, ModelConfig):
        trust(own)
    how = (data, recipe or TrainConfig(), loss or LossConfig())
    sources = Sources(weights, pyramid_weights, semantic_weights)
    say = on_line or logger.info
    ranks = _planned(how[1])
    request = Request(
        *(Path(output), own, *how, sources, distill, resume, say, progress_bar, plan), ranks=ranks
    )
    with pixels_allowed(data.max_pixels):
        return _carried_out(request)


def distill(
    output: str | Path,
    student: ModelConfig | CustomSource | str | Callable[..., object],
    teacher: DistillConfig | str | Path,
    data: DataConfig,
    recipe: TrainConfig | None = None,
    loss: LossConfig | None = None,
    **options: Any,
) -> TrainResult:
    """Trains a student on the truth and on what a teacher says, as `dsunet distill` does.

    Args:
        output: The run's folder, as in `train`.
        student: What to train, as `model` in `train`.
        teacher: What to learn from and how, or only what: weights, a run's folder, or a folder of
            maps.
        data: What to train on; the teacher has no part in validation.
        recipe: How; the paper's recipe by default.
        loss: The loss of the truth; the paper's by default.
        **options: Further arguments of `train`, such as `weights` and `resume`.

    Raises:
        DsunetError: As in `train`; or the teacher or its maps cannot be used.
        ConfigError: Settings do not go together.
        KeyboardInterrupt: Interrupted; what the teacher has computed is kept, too.
    """
    if not isinstance(teacher, DistillConfig):
        teacher = DistillConfig(str(teacher))
    return train(output, student, data, recipe, loss, distill=teacher, **options)


def _carried_out(request: Request) -> TrainResult:
    """Settings, data, network, batch size, folder, loop."""
    loop = _loop()
    together = loop.Together(request.ranks)
    with together.one_voice(), ExitStack() as stack:
        going_on = request.resume and (request.folder / "config.yaml").is_file()
        request = settled(request, together.tell("going on", going_on))
        loop.require_trackers(request.recipe)
        material = find_material(request)
        lists = material.lists(request.distill is not None and bool(request.distill.unlabelled))
        report = None
        with together.first_alone("checked"):
            if request.is_first:
                report = check_start(request, lists, material.split)
        _require_the_same(lists, together)
        stack.enter_context(loop.quiet())
        loop.seed(request.recipe.seed)
        if request.is_first:
            request = with_positive_weight(request, material.split.training)
        weight = together.tell("positive weight", request.loss.positive_weight)
        request = replace(request, loss=replace(request.loss, positive_weight=weight))
        with together.first_alone("built"):  # which computes and downloads what there is not yet
            built = build(request, material)
        _require_alike(built, together)
        request = with_batch_size(request, material, built.network, together)
        with together.first_alone("folder"):
            if request.is_first:  # only now: a model that cannot be built leaves no folder
                _take_folder(request, lists, report, stack)
            else:
                _require_shared(request.folder)
        ended: Ended = loop.run_loop(request, material, built, together)
        result = _result(request.folder, ended)
    if result.best_threshold is not None and request.is_first:
        line = describe_threshold(result.best_threshold, request.recipe.threshold)
        request.say(f"{line}; on the validation set")
    return result


def _loop() -> ModuleType:
    """The module with the loop.

    Raises:
        MissingPackageError: What it needs is not installed.
    """
    try:
        from dsunet.training import loop
    except ImportError as error:
        raise MissingPackageError(
            f"training needs the package {error.name}; install all it needs by "
            "pip install 'dsunet[train]'"
        ) from error
    return loop


def _planned(recipe: TrainConfig) -> Ranks:
    """Which process this is; what is wrong with the settings is wrong with those of all."""
    found = Ranks.found()
    try:
        return found.planned(recipe.devices, recipe.num_nodes)
    except ConfigError as error:
        if found.is_first:
            raise
        raise AbandonedError("the first process says what is wrong with the settings") from error


def _require_the_same(lists: dict[str, str], together: Together) -> None:
    """Raises `DataError` if another machine finds other images than the first process."""
    digest = hashlib.sha256(encode_text("\0".join(lists.values()))).hexdigest()
    if together.tell("material", digest) != digest:
        raise DataError(
            f"{socket.gethostname()} finds other images than the first process: give all machines "
            "the same data, from a file system that they share or in copies of the same names"
        )


def _require_alike(built: Built, together: Together) -> None:
    """Raises `OutputError` if the first process finds other maps in the feature cache."""
    own = built.cache is not None and built.cache.spare is not None
    if together.tell("maps", own) != own:
        raise OutputError(
            f"the feature cache on {socket.gethostname()} holds other maps than that of the first "
            "process; give a `feature_cache` on a file system that all machines share, or start "
            "again if it is one"
        )


def _require_shared(folder: Path) -> None:
    """Raises `OutputError` if the run's folder, which the first process has made, is not there."""
    until = time.monotonic() + 30  # file systems of networks take some time
    while not (folder / "config.yaml").is_file():
        if time.monotonic() > until:
            raise OutputError(
                f"{folder} is not there on {socket.gethostname()}; choose an `output` on a file "
                "system that all machines share"
            )
        time.sleep(0.2)


def _take_folder(
    request: Request, lists: dict[str, str], report: dict[str, Any] | None, stack: ExitStack
) -> None:
    """Makes the run's folder this process's own until `stack` ends, and writes its beginning."""
    folder = request.folder
    make_folder(folder)
    stack.enter_context(lock_folder(folder))
    # another process may have been here
    check_folder(folder, request.settings, lists, request.resume)
    clear_temporaries(folder)
    if report is not None:
        write_json(folder / "data.json", report)
    if not request.going_on:
        write_start(folder, request.settings, lists, request.plan)
    elif (epochs := more_epochs(folder, request.settings)) is not None:
        _say_longer(request, *epochs)
        write_start(folder, request.settings, lists)


def _say_longer(request: Request, before: int, now: int) -> None:
    """What becomes of the learning rate where more epochs are asked for than at the start."""
    recipe = request.recipe
    saved = request.folder / "resume.ckpt"
    done = position_of(saved)[0] if saved.exists() else 0
    floor = recipe.min_lr / recipe.lr
    was, becomes = (
        recipe.lr * cosine_factor(min(done, epochs - 1), epochs, recipe.warmup_epochs, floor)
        for epochs in (before, now)
    )
    request.say(
        f"{now} epochs instead of {before}: from epoch {done + 1} on the rate follows the schedule "
        f"of {now}, {becomes:.3g} now (it was {was:.3g}), falling to {recipe.min_lr:.3g}"
    )


def _result(folder: Path, ended: Ended) -> TrainResult:
    epochs, best_epoch = ended.epochs, ended.best_epoch
    if not ended.has_best:
        return TrainResult(folder, epochs, {}, best_epoch, folder / "last.safetensors")
    best = folder / "best.safetensors"
    about = read_metadata(best)["training"]
    threshold = BestThreshold.from_dict(about.get("best_threshold"))
    return TrainResult(folder, epochs, about["measures"], best_epoch, best, threshold)
