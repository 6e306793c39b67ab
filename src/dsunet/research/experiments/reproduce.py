"""From a plan to scores: train, predict, evaluate, each step once."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from dsunet.data.pairs import stem_of
from dsunet.data.split import split_data
from dsunet.errors import DsunetError
from dsunet.metrics import evaluate_folders
from dsunet.predict import Options, Segmenter, plan_outputs, predict_files
from dsunet.research.experiments.plan import PROTOCOL, Plan, Run, TestSet, check_protocol
from dsunet.research.experiments.scores import (
    has_other_images,
    identity_of,
    maps_are_of,
    read_scores,
    write_scores,
)
from dsunet.support.files import check_writable, lock_folder, write_json
from dsunet.support.processes import available_cores
from dsunet.training import train
from dsunet.training.folder import check_folder, flat_settings, names_of

__all__ = ["Outcome", "reproduce"]

Say = Callable[[str], None]
Progress = Callable[[str], AbstractContextManager[Callable[[int, int], None] | None]]

# The paper's protocol for maps: stretched to their full range, images as their files store them.
BENCHMARK = Options(benchmark_normalization=True, ignore_orientation=True)


@dataclass
class Outcome:
    """What a reproduction came to."""

    failures: dict[str, str] = field(default_factory=dict)
    """What could not be done, each with the reason: runs, or runs with a test set or image."""


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
        check_protocol(plan)
        if not (plan.folder / PROTOCOL).is_file():
            write_json(plan.folder / PROTOCOL, plan.protocol.changes)
        for number, run in enumerate(plan.runs, 1):
            say(f"{run.key} ({number} of {len(plan.runs)})")
            try:
                if run.method.trained:
                    _train(plan, run, say)
                _test(plan, run, say, progress or (lambda title: nullcontext()), outcome)
            except Exception as error:  # the others' results are worth having, whatever it is
                if os.environ.get("DSUNET_DEBUG"):
                    raise
                _fail(outcome, run.key, error, say)
                plan.stale.add(run.key)
    return outcome


def _fail(outcome: Outcome, what: str, error: Exception, say: Say) -> None:
    ours = isinstance(error, DsunetError | ValueError)
    outcome.failures[what] = str(error) if ours else f"{type(error).__name__}: {error}"
    say(f"  failed: {outcome.failures[what]}")


def _train(plan: Plan, run: Run, say: Say) -> None:
    recipe, data, loss = plan.recipe(run), plan.data(run), run.method.loss_config()
    if run.epochs_done() == recipe.epochs and (run.training / "config.yaml").is_file():
        settings = flat_settings(
            plan.network(run), data, recipe, loss, {"weights": plan.protocol.weights}
        )
        names = names_of(split_data(data, recipe.seed).training)
        check_folder(run.training, settings, {"train.txt": names}, resume=True)
        say(f"  trained before: {recipe.epochs} epochs")
        return
    files = plan.encoder_files(run)
    train(
        run.training,
        plan.network(run),
        data,
        recipe,
        loss,
        weights=None if plan.protocol.weights == "none" else plan.protocol.weights,
        pyramid_weights=files.get("pyramid"),
        semantic_weights=files.get("semantic"),
        resume=True,
        on_line=lambda line: say(f"  {line}"),
    )


def _test(plan: Plan, run: Run, say: Say, progress: Progress, outcome: Outcome) -> None:
    identity = identity_of(run)
    segmenter = None
    for test in plan.tests[run.task].values():
        place = f"{run.key}, {test.name}"
        if run.method.maps is not None and not run.maps(test.name).is_dir():
            say(f"  {test.name}: there is no folder {run.maps(test.name)}; its cells stay empty")
            continue
        scores = read_scores(run, test, identity)
        if scores is not None and not scores.failures:
            continue
        failures: dict[str, str] = {}
        try:
            if run.method.maps is None:
                segmenter = segmenter or _segmenter(plan, run)
                failures = _predict(segmenter, run, test, identity, progress)
            failures |= _measure(run, test, identity, failures, say, progress)
        except DsunetError as error:
            _fail(outcome, place, error, say)
        outcome.failures |= {f"{place}: {name}": reason for name, reason in failures.items()}


def _measure(
    run: Run,
    test: TestSet,
    identity: dict[str, str | None],
    failures: dict[str, str],
    say: Say,
    progress: Progress,
) -> dict[str, str]:
    """Measures the maps of a set; returns those that could not be."""
    masks = {name: path for name, path in test.masks.items() if name not in failures}
    with progress(f"{test.name}: measuring") as tell:
        result = evaluate_folders(
            run.maps(test.name),
            masks,
            list(masks),
            tell,
            available_cores(),
            protocol="benchmark",
        )
    write_scores(run, test, identity, result, failures | result.failures)
    shown = "  ".join(f"{name} {value:.3f}" for name, value in result.scores.items())
    say(f"  {test.name}: {shown}")
    return result.failures


def _segmenter(plan: Plan, run: Run) -> Segmenter:
    device, precision = plan.protocol.device, plan.protocol.precision
    source = run.method.source
    if source is not None:
        weights = run.weights if run.method.trained else None
        return Segmenter(source, device, precision, weights=weights)
    files = plan.encoder_files(run)
    return Segmenter(
        run.weights,
        device,
        precision,
        pyramid_weights=files.get("pyramid"),
        semantic_weights=files.get("semantic"),
    )


def _predict(
    segmenter: Segmenter,
    run: Run,
    test: TestSet,
    identity: dict[str, str | None],
    progress: Progress,
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
            resume=maps_are_of(folder, identity) and not has_other_images(run, test),
            progress=tell,
        )
    return {stem_of(path): reason for path, reason in report.failures if isinstance(path, Path)}
