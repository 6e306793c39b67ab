"""How a folder's outputs were made, so that going on never mixes two ways."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dsunet.config import Options
from dsunet.errors import OutputError
from dsunet.predict.plan import Job, output_path
from dsunet.predict.segmenter import Segmenter
from dsunet.support.files import clear_temporaries, write_json

__all__ = ["FAILURES", "begin", "is_done"]

FAILURES = "failures.csv"
NOTE = "prediction.json"
_TOLD = ("weights", "device")  # noted for people; other ones may go on


def begin(
    folder: Path, segmenter: Segmenter, jobs: Sequence[Job], options: Options, resume: bool
) -> int | None:
    """Notes how outputs are made.

    Returns:
        Since when (in the file system's nanoseconds) outputs were made just so; `None` if never.

    Raises:
        OutputError: The folder's outputs were made in another way than those to go on with, or
            files that are no outputs would be overwritten.
    """
    outputs = [
        output_path(folder, kind, options.save, job, options.format)
        for job, kind in itertools.product(jobs, options.save)
    ]
    for place in {path.parent for path in outputs} | {folder}:
        clear_temporaries(place)
    made, note, failures = _way(segmenter, options), folder / NOTE, folder / FAILURES
    if not note.is_file():
        _refuse_to_overwrite([failures, *outputs])
    elif resume:
        if changed := _changed(note, made, segmenter):
            raise OutputError(
                f"the outputs in {folder} were made in another way ({', '.join(changed)}); go on "
                "as they were made, or choose another `output`"
            )
        failures.unlink(missing_ok=True)
        return note.stat().st_mtime_ns
    failures.unlink(missing_ok=True)
    write_json(note, made)
    return None


def _way(segmenter: Segmenter, options: Options) -> dict[str, Any]:
    """What the outputs depend on."""
    return {
        "weights": _told([str(file) for file in segmenter.files]),
        **segmenter.engine.identity(),
        **segmenter.settings,
        "precision": segmenter.engine.precision,
        "device": str(segmenter.device),
        "intensity": segmenter.intensity,
        "looks": segmenter.looks.asked(),
        **asdict(options),
        "save": list(options.save),
        "refine": [kind for kind in options.save if options.refines(kind)],
        "threshold": options.object_from,
        "usual_threshold": None,  # which the one above is, if it counts
        "cut_at_threshold": options.threshold is not None and "cutout" in options.save,
    }


def _told(files: list[str]) -> str | list[str] | None:
    return files if len(files) > 1 else next(iter(files), None)


def _refuse_to_overwrite(paths: Iterable[Path]) -> None:
    for path in paths:
        if path.exists():
            raise OutputError(
                f"{path} is there and no output of dsunet predict; it would be overwritten: "
                "choose another `output`"
            )


def _changed(note: Path, made: dict[str, Any], segmenter: Segmenter) -> list[str]:
    """In what the way of a note differs from the one of now."""
    try:
        before = json.loads(note.read_bytes())
        before |= {key: before.get(key) for key in ("model", "code") if key in made}
        # which there was nothing of before
        new = ("draft", "crop_to_object", "keep_exif", "keep_gps", "cut_at_threshold")
        before = {**dict.fromkeys([*segmenter.settings, *new], False), **before}
        before = {"format": "png", "background": None, "intensity": "full", "refine": [], **before}
        before.setdefault("looks", {})
        before = {"abstain": False, "image_threshold": None, "usual_threshold": None, **before}
        before.setdefault("precision", made["precision"])
        return [key for key in made if key not in _TOLD and before[key] != made[key]]
    except (ValueError, KeyError, TypeError):
        return ["another version of dsunet"]


def is_done(folder: Path, options: Options, job: Job, since: int | None) -> bool:
    """Whether all outputs of a job are there and no older than the note of how they are made."""
    if since is None or job.trouble:
        return False
    try:
        times = [
            output_path(folder, kind, options.save, job, options.format).stat().st_mtime_ns
            for kind in options.save
        ]
    except OSError:
        return False
    return min(times) >= since
