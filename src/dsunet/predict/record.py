"""How a folder's outputs were made, so that going on never mixes two ways."""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dsunet.config import Options
from dsunet.errors import OutputError
from dsunet.predict.plan import Job, output_path
from dsunet.predict.segmenter import Segmenter
from dsunet.support.files import clear_temporaries, encode_text, write_json

__all__ = ["FAILURES", "MANIFEST", "add_failures", "begin", "folders_of", "is_done", "way_of"]

FAILURES = "failures.csv"
MANIFEST = "manifest"
"""Folder with a row for every image, of predictions on a cluster."""
NOTE = "prediction.json"
_TOLD = ("weights", "device")  # noted for people; other ones may go on


def begin(
    folder: Path,
    segmenter: Segmenter,
    names: Callable[[], Iterable[str | Path]],
    options: Options,
    resume: bool,
) -> int | None:
    """Notes how outputs are made.

    Args:
        folder: Where they go.
        segmenter: The model.
        names: Gives the names of outputs that will be written.
        options: What is written.
        resume: Whether those that are there already are kept.

    Returns:
        Since when (in the file system's nanoseconds) outputs were made just so; `None` if never.

    Raises:
        OutputError: The folder's outputs were made in another way than those to go on with, or
            files that are no outputs would be overwritten.
    """
    for place in {folder, *folders_of(folder, names(), options)}:
        clear_temporaries(place)
    outputs = (path for name in names() for path in _outputs_of(folder, options, name))
    made, note, failures = way_of(segmenter, options), folder / NOTE, folder / FAILURES
    if not note.is_file():
        _refuse_to_overwrite(itertools.chain([failures, folder / MANIFEST], outputs))
    elif resume:
        if changed := _changed(note, made, segmenter):
            raise OutputError(
                f"the outputs in {folder} were made in another way ({', '.join(changed)}); go on "
                "as they were made, or choose another `output`"
            )
        failures.unlink(missing_ok=True)
        return note.stat().st_mtime_ns
    failures.unlink(missing_ok=True)
    if (folder / MANIFEST).is_dir():
        shutil.rmtree(folder / MANIFEST)  # it tells of outputs that are written anew
    write_json(note, made)
    return None


def folders_of(folder: Path, names: Iterable[str | Path], options: Options) -> set[Path]:
    """The folders that outputs of these names go to."""
    below = {os.path.dirname(name) for name in names}  # noqa: PTH120 -- of millions
    return {path.parent for place in below for path in _outputs_of(folder, options, f"{place}/any")}


def _outputs_of(folder: Path, options: Options, name: str | Path) -> Iterator[Path]:
    """The files that are written of one image."""
    for kind in options.save:
        for part in options.parts(kind):
            yield output_path(folder, kind, options.save, name, options.format, part)


def add_failures(folder: Path, rows: Iterable[tuple[object, str]], *, first: bool) -> None:
    """Adds images with reasons to the folder's list of failures, which begins with the first."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if first:
        writer.writerow(["image", "reason"])
    writer.writerows(rows)
    with open(folder / FAILURES, "ab") as file:
        file.write(encode_text(text.getvalue()))


def way_of(segmenter: Segmenter, options: Options) -> dict[str, Any]:
    """What the outputs depend on."""
    way: dict[str, Any] = {
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
        "classes": list(options.classes),
    }
    if not options.classes:  # which say nothing of one map
        del way["classes"]
    return way


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
        times = [each.stat().st_mtime_ns for each in _outputs_of(folder, options, job.name)]
    except OSError:
        return False
    return min(times) >= since
