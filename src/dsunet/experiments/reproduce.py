"""From a plan to scores: train, predict, evaluate, each step once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import numpy as np

import dsunet
from dsunet.data.pairs import stem_of
from dsunet.devices import Precision
from dsunet.errors import DsunetError, OutputError
from dsunet.experiments.plan import Plan, Run, TestSet, keep_protocol
from dsunet.files import check_writable, clear_temporaries, lock_folder, write_json
from dsunet.metrics import evaluate_folders
from dsunet.predict import Options, Segmenter, plan_outputs, predict_files
from dsunet.processes import available_cores
from dsunet.training import train

__all__ = ["Outcome", "Scores", "is_scored", "read_scores", "reproduce"]

Say = Callable[[str], None]
Progress = Callable[[str], AbstractContextManager[Callable[[int, int], None] | None]]

# The paper's protocol for maps: stretched to their full range, images as their files store them.
BENCHMARK = Options(benchmark_normalization=True, ignore_orientation=True)


@dataclass
class Outcome:
    """What a reproduction came to."""

    failures: dict[str, str] = field(default_factory=dict)
    """What could not be done, each with the reason: runs, or runs with a test set or image."""


@dataclass(frozen=True)
class Scores:
    """One run's measures on one test set."""

    scores: dict[str, float]
    """Over all images: S, F, E, MAE."""
    per_image: dict[str, dict[str, float]]
    """Of every image, by stem."""
    curves: dict[str, np.ndarray]
    """As `Evaluation.curves`: 256 values each."""


def reproduce(plan: Plan, say: Say = print, progress: Progress | None = None) -> Outcome:
    """Does all that is not done yet.

    Every training goes on where it was stopped, every map and every set's scores are made once. A
    run that fails does not stop the others.

    Args:
        plan: What to do.
        say: Called with a line for everything that is done.
        progress: Gives a progress bar for a title.

    Raises:
        OutputError: The folder cannot be written to, or holds results of another protocol.
        KeyboardInterrupt: Interrupted; the same call goes on.
    """
    check_writable(plan.folder)
    plan.folder.mkdir(parents=True, exist_ok=True)
    outcome = Outcome()
    with lock_folder(plan.folder):
        keep_protocol(plan)
        for number, run in enumerate(plan.runs, 1):
            say(f"{run.key} ({number} of {len(plan.runs)})")
            try:
                if run.method.trained:
                    _train(plan, run, say)
                _test(plan, run, say, progress or (lambda title: nullcontext()), outcome)
            except OutputError:
                raise
            except (DsunetError, ValueError) as error:
                outcome.failures[run.key] = str(error)
                say(f"  failed: {error}")
    return outcome


def _train(plan: Plan, run: Run, say: Say) -> None:
    recipe = plan.recipe(run)
    if run.epochs_done() == recipe.epochs and (run.training / "config.yaml").is_file():
        say(f"  trained before: {recipe.epochs} epochs")
        return
    files = plan.encoder_files(run)
    train(
        run.training,
        plan.network(run),
        plan.data(run),
        recipe,
        run.method.loss_config(),
        weights=None if plan.protocol.weights == "none" else plan.protocol.weights,
        hiera_weights=files.get("hiera"),
        dinov2_weights=files.get("dinov2"),
        resume=True,
        on_line=lambda line: say(f"  {line}"),
    )


def _test(plan: Plan, run: Run, say: Say, progress: Progress, outcome: Outcome) -> None:
    identity = identity_of(run)
    segmenter = None
    for test in plan.tests[run.task].values():
        if is_scored(run, test, identity):
            continue
        failed: dict[str, str] = {}
        if run.method.maps is None:
            segmenter = segmenter or _segmenter(plan, run)
            failed = _predict(segmenter, run, test, identity, progress)
        outcome.failures |= {f"{run.key}, {test.name}: {n}": why for n, why in failed.items()}
        masks = {name: path for name, path in test.masks.items() if name not in failed}
        with progress(f"{test.name}: measuring") as tell:
            result = evaluate_folders(
                run.maps(test.name), masks, list(masks), tell, available_cores()
            )
        outcome.failures |= {
            f"{run.key}, {test.name}: {n}": why for n, why in result.failures.items()
        }
        content = {
            "weights": identity,
            "masks": test.fingerprint(),
            "maps": _times(run, test),
            "dsunet": dsunet.__version__,
            "images": len(result.per_image),
            "scores": result.scores,
            "failures": {**failed, **result.failures},
            "per_image": result.per_image,
            "curves": {name: curve.tolist() for name, curve in result.curves.items()},
        }
        path = run.scores(test.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        clear_temporaries(path.parent)
        write_json(path, content)
        shown = "  ".join(f"{name} {value:.3f}" for name, value in result.scores.items())
        say(f"  {test.name}: {shown}")


def _segmenter(plan: Plan, run: Run) -> Segmenter:
    device, precision = plan.protocol.device, cast(Precision, plan.protocol.precision)
    source = run.method.source
    if source is not None:
        weights = run.weights if run.method.trained else None
        return Segmenter(source, device, precision, weights=weights)
    files = plan.encoder_files(run)
    return Segmenter(
        run.weights,
        device,
        precision,
        hiera_weights=files.get("hiera"),
        dinov2_weights=files.get("dinov2"),
    )


def _predict(
    segmenter: Segmenter, run: Run, test: TestSet, identity: str, progress: Progress
) -> dict[str, str]:
    """Writes the maps of a set; returns the images that could not be read."""
    folder = run.maps(test.name)
    jobs = plan_outputs([*test.images.values()], folder)
    with progress(f"{test.name}: predicting") as tell:
        report = predict_files(
            segmenter,
            jobs,
            folder,
            BENCHMARK,
            resume=_maps_are_of(folder, identity),
            progress=tell,
        )
    return {stem_of(path): reason for path, reason in report.failures}


def _maps_are_of(folder: Path, identity: str) -> bool:
    try:
        note = json.loads((folder / "prediction.json").read_bytes())
        return identity in (note["sha256"], note.get("code"))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def identity_of(run: Run) -> str:
    """What a run's maps depend on: a sum over its weights, over a function's code, or none.

    Raises:
        OSError: There are no weights yet.
    """
    if run.method.trained:
        with open(run.weights, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    source = run.method.source
    return (source.identity()["code"] or source.name) if source else str(run.method.maps)


def is_scored(run: Run, test: TestSet, identity: str | None = None) -> bool:
    """Whether a run's scores on a set are there, of these weights and these masks."""
    try:
        before = json.loads(run.scores(test.name).read_bytes())
        identity = identity or identity_of(run)
        current = {"weights": identity, "masks": test.fingerprint(), "maps": _times(run, test)}
        return all(before[name] == value for name, value in current.items())
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _times(run: Run, test: TestSet) -> int | None:
    """When the last of maps from elsewhere was written; ours are known by their weights."""
    if run.method.maps is None:
        return None
    return max(file.stat().st_mtime_ns for file in run.maps(test.name).iterdir())


def read_scores(run: Run, test: str) -> Scores | None:
    """What `reproduce` wrote; nothing if it has not yet."""
    try:
        content = json.loads(run.scores(test).read_bytes())
        curves = {name: np.asarray(curve) for name, curve in content["curves"].items()}
        return Scores(content["scores"], content["per_image"], curves)
    except (OSError, ValueError, KeyError, TypeError):
        return None
