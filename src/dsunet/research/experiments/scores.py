"""The measures of a run on a test set, and whether they are still those of what lies on disk."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import dsunet
from dsunet.metrics import Evaluation
from dsunet.research.experiments.methods import Method
from dsunet.research.experiments.plan import Plan, Run, TestSet, fingerprint
from dsunet.support.files import clear_temporaries, sha256_of, write_json

__all__ = [
    "Results",
    "Scores",
    "current_scores",
    "has_other_images",
    "identity_of",
    "maps_are_of",
    "read_scores",
    "write_scores",
]


@dataclass(frozen=True)
class Scores:
    """One run's measures on one test set."""

    scores: dict[str, float]
    """Over all images: S, F, E, MAE."""
    per_image: dict[str, dict[str, float]]
    """Of every image, by stem."""
    curves: dict[str, np.ndarray]
    """As `Evaluation.curves`: 256 values each."""
    failures: dict[str, str]
    """Images that do not count, each with the reason."""


def identity_of(run: Run) -> dict[str, str | None]:
    """What a run's maps depend on: its weights, and the code of what is not ours.

    The keys are those of a folder's `prediction.json`.

    Raises:
        OSError: There are no weights yet.
    """
    if run.method.maps is not None:
        return {"maps": str(run.method.maps.resolve())}
    identity: dict[str, str | None] = {}
    if run.method.trained:
        identity["sha256"] = sha256_of(run.weights)
    return identity | (run.method.source.identity() if run.method.source else {})


def _made_of(run: Run, test: TestSet, identity: dict[str, str | None]) -> dict[str, Any]:
    """All that a run's measures on a set depend on."""
    made: dict[str, Any] = {
        "identity": identity,
        "masks": fingerprint(test.masks),
        "images": fingerprint(test.images),
    }
    if run.method.maps is not None:
        folder = run.maps(test.name)
        made["maps"] = fingerprint({file.name: file for file in folder.iterdir()})
    return made


def write_scores(
    run: Run,
    test: TestSet,
    identity: dict[str, str | None],
    result: Evaluation,
    failures: dict[str, str],
) -> None:
    """Writes the measures of a run on a set, and what they are made of."""
    path = run.scores(test.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    clear_temporaries(path.parent)
    content = {
        "made_of": _made_of(run, test, identity),
        "dsunet": dsunet.__version__,
        "images": len(result.per_image),
        "scores": result.scores,
        "failures": failures,
        "per_image": result.per_image,
        "curves": {name: curve.tolist() for name, curve in result.curves.items()},
    }
    write_json(path, content)


def read_scores(run: Run, test: TestSet, identity: dict[str, str | None]) -> Scores | None:
    """The measures of a run on a set; nothing if there are none, or other files by now."""
    try:
        content = json.loads(run.scores(test.name).read_bytes())
        if content["made_of"] != _made_of(run, test, identity):
            return None
        curves = {name: np.asarray(curve) for name, curve in content["curves"].items()}
        return Scores(content["scores"], content["per_image"], curves, content["failures"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def has_other_images(run: Run, test: TestSet) -> bool:
    """Whether the maps that are there were made of other images of the same names."""
    try:
        content = json.loads(run.scores(test.name).read_bytes())
        return bool(content["made_of"]["images"] != fingerprint(test.images))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def maps_are_of(folder: Path, identity: dict[str, str | None]) -> bool:
    """Whether a folder's maps were made by these weights and this code."""
    try:
        note = json.loads((folder / "prediction.json").read_bytes())
        return all(note.get(key) == value for key, value in identity.items())
    except (OSError, ValueError, AttributeError):
        return False


def current_scores(plan: Plan, run: Run) -> dict[str, Scores]:
    """A run's measures by test set, those that are there."""
    try:
        identity = identity_of(run)
    except OSError:  # it has no weights yet
        return {}
    found = {name: read_scores(run, test, identity) for name, test in plan.tests[run.task].items()}
    return {name: scores for name, scores in found.items() if scores is not None}


class Results:
    """All measures that a plan has by now, each file read once."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._scores: dict[tuple[str, str], Scores] = {}
        for run in plan.runs:
            if run.key not in plan.stale:
                for name, scores in current_scores(plan, run).items():
                    self._scores[run.key, name] = scores

    def of(self, run: Run, name: str) -> Scores | None:
        """One run's on one set."""
        return self._scores.get((run.key, name))

    def of_method(self, method: Method, task: str, name: str) -> list[Scores]:
        """Those of a method's seeds on one set."""
        runs = self.plan.runs_of(method, task)
        return [scores for run in runs if (scores := self.of(run, name)) is not None]
