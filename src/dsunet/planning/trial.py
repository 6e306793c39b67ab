"""A few timed steps: a short training of some of the pairs, in a process of its own.

It is the very training that would follow, but for its length: with the process's own peak of
memory, real pictures, the processes that read them, validation, and all that is written. Of four
epochs the first has what only first ones have, the second none of it, and both others validate,
because the first validation has what only first ones have, too.
"""

from __future__ import annotations

import contextlib
import csv
import multiprocessing
import signal
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from dsunet.benchmarking.memory import peak_bytes
from dsunet.config import as_size
from dsunet.config.tiling import Tiling
from dsunet.data.checks.look import check_split
from dsunet.data.limits import pixels_allowed
from dsunet.data.pairs import Pair
from dsunet.data.split import Split
from dsunet.errors import DataError, DsunetError, TrainingError
from dsunet.planning.costs import Costs
from dsunet.planning.gathering import sampled
from dsunet.report import make_report
from dsunet.support.processes import stay_with_parent
from dsunet.support.ranks import ALONE
from dsunet.training import loop
from dsunet.training.building import build, with_batch_size
from dsunet.training.folder import make_folder, write_start
from dsunet.training.material import Material
from dsunet.training.request import Request, settled

__all__ = ["Mark", "Task", "Trial", "attempt", "costs_of", "run_trial"]

_EPOCHS = 4  # the last two validate
_VALIDATED = 16  # images at most


class Mark(NamedTuple):
    """A moment, in seconds."""

    wall: float
    """On the clock, from when the process was asked for."""
    processor: float
    """Of computing in the process itself."""


@dataclass(frozen=True)
class Task:
    """What to try."""

    request: Request
    """The training; its folder and lines are the trial's own."""
    split: Split
    """All pairs."""
    images: int
    """On how many at most to train."""
    report: bool
    """Whether the training ends with a report."""


@dataclass(frozen=True)
class Trial:
    """What a short training took."""

    images: int
    """Trained on in each epoch."""
    validated: int
    batch_size: int
    accumulate: int
    ready: Mark
    """Everything is imported; the check of the data begins."""
    checked: Mark
    begun: Mark
    """The first epoch begins."""
    epochs: tuple[Mark, ...]
    """The end of each, with all that was written."""
    seconds: tuple[float, ...]
    """What each took before it was kept, validation included."""
    ended: Mark
    """The report is there, if one is asked for."""
    memory: float
    """The most that the process had, in bytes; on a GPU of tensors there; 0 where the system does
    not tell."""
    line: str = ""
    """How the batch size was found, where that was left to the training."""


def costs_of(trial: Trial, clock: str = "wall") -> Costs:
    """What the parts of a training take, by a trial.

    Args:
        trial: Of four epochs, of which the last two were validated.
        clock: `wall`; or `processor`, which leaves out what others did meanwhile.
    """
    ready, checked, begun, *epochs, ended = (
        getattr(mark, clock)
        for mark in (trial.ready, trial.checked, trial.begun, *trial.epochs, trial.ended)
    )
    walls = _between([trial.begun.wall, *(mark.wall for mark in trial.epochs)])
    wholes = _between([begun, *epochs])
    # what was done until an epoch was kept; the clock of `seconds` is on the wall
    shares = (
        min(1.0, spent / max(1e-9, wall)) for spent, wall in zip(trial.seconds, walls, strict=True)
    )
    done = [whole * share for whole, share in zip(wholes, shares, strict=True)]
    kept = [whole - until for whole, until in zip(wholes, done, strict=True)]
    once = begin = best = 0.0
    if trial.validated:
        once = max(0.0, done[3] - done[1]) / trial.validated
        begin = max(0.0, done[2] - max(done[1], done[3]))
        best = max(0.0, (kept[2] + kept[3]) / 2 - kept[1])
    pairs = trial.images + trial.validated
    return Costs(
        start=ready + (begun - checked),
        check=(checked - ready) / max(1, pairs),
        first=max(0.0, wholes[0] - wholes[1]) + begin,
        image=done[1] / trial.images,
        keeping=kept[1],
        validation=once,
        best=best,
        report=max(0.0, ended - epochs[-1] - once * trial.validated),
        memory=trial.memory,
    )


def _between(moments: Sequence[float]) -> list[float]:
    return [later - sooner for sooner, later in pairwise(moments)]


def run_trial(task: Task) -> Trial:
    """Tries in a new process, and waits for it.

    Raises:
        DsunetError: The training cannot be done; as it would say itself.
        TrainingError: The process died.
        KeyboardInterrupt: Interrupted; the process is ended.
    """
    context = multiprocessing.get_context("spawn")  # a forked one would count memory otherwise
    ours, theirs = context.Pipe()
    quiet = replace(task, request=replace(task.request, say=_unheard))
    process = context.Process(target=_serve, args=(theirs, quiet, time.time()))
    process.start()
    theirs.close()
    try:
        kind, value = ours.recv()
    except (EOFError, ConnectionError):
        process.join(10)
        killed = process.exitcode == -signal.SIGKILL
        why = "was killed, most likely because memory ran out" if killed else "ended by itself"
        raise TrainingError(
            f"the process that tries some steps {why} (exit code {process.exitcode}); try a "
            "smaller `batch_size` or `sam_size`"
        ) from None
    finally:
        ours.close()
        process.terminate()
        process.join(10)
        if process.is_alive():
            process.kill()
            process.join()
    if kind == "failed":
        raise value
    return value  # type: ignore[no-any-return]


def _unheard(line: str) -> None:
    """A trial's lines are nobody's business."""


def _serve(connection: Connection, task: Task, asked: float) -> None:
    """In the process."""
    stay_with_parent()
    try:
        answer: tuple[str, Any] = ("done", attempt(task, asked))
    except DsunetError as error:
        answer = ("failed", error)
    except Exception as error:
        text = " ".join(str(error).split())[:300]
        answer = ("failed", TrainingError(f"some steps were tried: {type(error).__name__}: {text}"))
    with contextlib.suppress(OSError):
        connection.send(answer)


def attempt(task: Task, asked: float) -> Trial:
    """Tries in this process.

    Args:
        task: What to try.
        asked: When, by `time.time`, the process was asked for.

    Raises:
        DsunetError: The training cannot be done; as it would say itself.
    """

    def now() -> Mark:
        return Mark(time.time() - asked, time.process_time())

    with tempfile.TemporaryDirectory(prefix="dsunet-plan-") as temporary:
        return _in_folder(Path(temporary) / "run", task, now)


def _in_folder(folder: Path, task: Task, now: Callable[[], Mark]) -> Trial:
    ends: list[Mark] = []
    lines: list[str] = []

    def say(line: str) -> None:
        if line.startswith("epoch ") and ", batch " not in line:
            ends.append(now())
        lines.append(line)

    given, split = task.request, task.split
    recipe = replace(
        given.recipe,
        epochs=_EPOCHS,
        val_every=_EPOCHS - 1,
        warmup_epochs=0,
        early_stop=None,
        devices=1,
        save_every=60.0,
    )
    training = sampled(split.training, task.images, recipe.seed)
    validation = sampled(split.validation, _VALIDATED, recipe.seed)
    own = replace(split, training=training, validation=validation, pairings=[])
    own = own.seen_with(given.model.intensity or "full")
    request = settled(replace(given, folder=folder, recipe=recipe, say=say, resume=False), False)
    view, alone = request.model.sam_size, loop.Together(ALONE)
    with pixels_allowed(request.data.max_pixels), loop.quiet():
        make_folder(folder)
        ready = now()
        own = _usable(own, None if view is None else as_size(view), request.data.tiling)
        checked = now()
        material = Material(own)
        loop.seed(recipe.seed)
        built = build(request, material)
        before = len(lines)
        request = with_batch_size(request, material, built.network, alone)
        found = lines[before] if len(lines) > before else ""
        write_start(folder, request.settings, material.lists(False))
        begun = now()
        loop.run_loop(request, material, built, alone)
        if task.report:
            _report(folder, request.data.val or request.data.data, request.recipe.device)
    with open(folder / "metrics.csv", newline="", encoding="utf-8") as file:
        seconds = tuple(float(row["seconds"]) for row in csv.DictReader(file))
    batch = request.recipe.batch_size
    assert isinstance(batch, int)
    return Trial(
        images=len(own.training),
        validated=len(own.validation),
        batch_size=batch,
        accumulate=request.recipe.accumulate,
        ready=ready,
        checked=checked,
        begun=begun,
        epochs=tuple(ends),
        seconds=seconds,
        ended=now(),
        memory=float(peak_bytes(request.place.device) or 0),
        line=found,
    )


def _usable(split: Split, view: tuple[int, int] | None, tiling: Tiling | None) -> Split:
    """The split without pairs that have errors, which the plan tells of.

    Raises:
        DataError: No pairs are left to train on, or the masks do not say alike what is object.
    """
    report = check_split(split, view=view, tiling=tiling)
    errors = report.of("error")
    bad = {file for each in errors for file in each.files}

    def good(pairs: list[Pair]) -> list[Pair]:
        return [pair for pair in pairs if not {str(pair.image), str(pair.mask)} & bad]

    kept = replace(split, training=good(split.training), validation=good(split.validation))
    if not kept.training or any(not each.files for each in errors):
        report.raise_for_errors()
        raise DataError("no pairs are left to train on")
    return kept


def _report(folder: Path, data: str | None, device: str) -> None:
    """Makes the report of the images that were validated on; without them there is none."""
    config = folder / "config.yaml"
    settings = yaml.safe_load(config.read_bytes())
    settings |= {"data": data, "val": None, "val_fraction": 0.0, "fold": None}
    settings |= {"val_list": str(folder / "val.txt"), "group_by": None, "stratify": None}
    config.write_text(yaml.safe_dump(settings), encoding="utf-8")
    with contextlib.suppress(DsunetError):  # as a training goes without it, too
        make_report(folder, device=device)
