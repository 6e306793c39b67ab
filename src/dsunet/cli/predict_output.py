"""What `dsunet predict` says, before the first image and after the last."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from jsonargparse import Namespace

from dsunet.cli.output import fail, print_failures, visible, with_flags
from dsunet.errors import few
from dsunet.weights import shipped

if TYPE_CHECKING:
    from dsunet.predict import Options, Report, Segmenter
    from dsunet.predict.cluster.run import ClusterReport
    from dsunet.predict.plan import Job
    from dsunet.predict.single import Made

__all__ = [
    "before",
    "interrupted",
    "notes_of",
    "say",
    "say_what_is_told_apart",
    "say_what_the_cluster_did",
    "say_what_was_done",
]


def before(arguments: Namespace, options: Options, segmenter: Segmenter) -> list[str]:
    """What is to be said before the first image."""
    lines = [*_whose_weights(arguments, segmenter), *_thresholds(options, segmenter)]
    if (tiling := segmenter.looks.tiling) is not None:
        by = "" if arguments.tile is not None else ", as the weights were trained (--tile 0: whole)"
        lines.append(f"images larger than a tile in {tiling}{by}")
    return lines


def _whose_weights(arguments: Namespace, segmenter: Segmenter) -> list[str]:
    """Where nobody named weights, which ones it is that segment; and what on."""
    lines = []
    if arguments.weights is None and arguments.model is None:
        parameters = segmenter.engine.parameters / 1e6
        lines.append(
            f"no --weights: {shipped.versioned(shipped.DEFAULT)}, which comes with dsunet "
            f"({parameters:.1f} million parameters; marks what stands out), not the paper's large "
            "model; what it was trained on and where it fails: dsunet info "
            f"{shipped.DEFAULT}"
        )
    if len(segmenter.files) > 1:
        lines.append(f"mean of {len(segmenter.files)} models: {few(segmenter.files)}")
    if not segmenter.files and segmenter.engine.takes_weights:
        lines.append(
            f"{arguments.model} has no --weights: its maps are those of the weights that it makes "
            "itself"
        )
    if segmenter.classes:
        told = ", ".join(f"{i} {name}" for i, name in enumerate(segmenter.classes, 1))
        lines.append(f"classes: {told}")
    if segmenter.intensity != "full":
        lines.append(f"values of images from black to white: {segmenter.intensity}")
    runtime = segmenter.engine.runtime
    by = f", by {runtime}" if runtime else ""
    return [*lines, f"on {segmenter.device}, {segmenter.engine.precision}{by}"]


def _thresholds(options: Options, segmenter: Segmenter) -> list[str]:
    """Those that count and that nobody gave here, but the weights."""
    lines = []
    counts = options.crop_to_object or {"binary", "overlay"} & set(options.save)
    if counts and options.threshold is None and segmenter.threshold != 0.5:
        lines.append(f"threshold {segmenter.threshold:g}, as the weights were calibrated")
    if options.abstain:
        least = segmenter.filled(options).image_threshold
        by = "" if options.image_threshold is not None else ", as the weights were calibrated"
        lines.append(f"images whose score is below {least:.4g} get an empty mask{by}")
    return lines


def say(lines: list[str], file: TextIO) -> None:
    """Prints lines at once."""
    for line in lines:
        print(visible(line), file=file, flush=True)


def interrupted(done: int, total: int) -> int:
    """Says how far it has come; gives the exit status."""
    said = f"interrupted; {done} of {total} images are done: the same command with --resume goes on"
    return fail("dsunet predict", said, 130)


def say_what_is_told_apart(jobs: Sequence[Job]) -> None:
    """That images of one stem keep more of their name in their outputs'."""
    if apart := [job for job in jobs if job.told_apart]:
        print(
            f"{len(apart)} images share their stem with another, so that their outputs' names have "
            f"more of theirs ({apart[0].image}: {apart[0].name})",
            flush=True,
        )


def say_what_was_done(arguments: Namespace, report: Report, total: int) -> None:
    """In the end, of many images."""
    print_failures(
        "dsunet predict",
        [reason for _, reason in report.failures],
        f"failed; all are listed in {Path(arguments.output, 'failures.csv')}",
    )
    if report.first_frames:
        print(
            f"{len(report.first_frames)} files have several pages or frames, of which the first "
            f"was taken ({few(report.first_frames)})"
        )
    if report.odd_profiles:
        print(
            f"{len(report.odd_profiles)} images were taken as sRGB, because they have "
            f"{report.odd_profiles[0][1]} ({few([file for file, _ in report.odd_profiles])})"
        )
    if report.without_object:
        print(
            f"in {len(report.without_object)} images nothing reaches the threshold, so that their "
            f"outputs are not cropped ({few(report.without_object)})"
        )
    if report.abstained:
        print(
            f"{len(report.abstained)} images are taken for ones without an object, so that their "
            f"masks are empty ({few(report.abstained)})"
        )
    if report.read_whole:
        files, reasons = zip(*report.read_whole, strict=True)
        print(
            f"{len(files)} huge images were read as a whole, which takes memory for all of their "
            f"pixels: {with_flags(reasons[0])} ({few(files)})"
        )
    skipped = f"; {report.skipped} were there already" if report.skipped else ""
    print(f"{report.written} of {total} images written to {arguments.output}{skipped}")


def notes_of(image: object, file: Made) -> list[str]:
    """What is to be known about the file of one image."""
    notes = []
    if file.frames:
        notes.append(f"{image} has several pages or frames, of which the first was taken")
    if file.profile_trouble:
        notes.append(f"{image} was taken as sRGB, because it has {file.profile_trouble}")
    if file.empty:
        notes.append(f"{image} is taken for one without an object, so the output is empty")
    if file.read_whole:
        why = with_flags(file.read_whole)
        notes.append(f"{image} was read as a whole, which takes memory for all its pixels: {why}")
    if file.whole:
        notes.append("nothing reaches the threshold, so the output is as large as the image")
    return notes


def say_what_the_cluster_did(arguments: Namespace, report: ClusterReport, total: int) -> None:
    """In the end, of many images on a cluster."""
    for reason in report.reasons:
        print(f"dsunet predict: failed: {visible(with_flags(reason))}", file=sys.stderr)
    if report.failed:
        listed = Path(arguments.output, "failures.csv")
        said = f"{report.failed} images failed; all are listed in {listed}"
        print(f"dsunet predict: {said}", file=sys.stderr)
    if report.notes:
        print(f"of {report.notes} images the manifest has a note")
    skipped = f"; {report.skipped} were there already" if report.skipped else ""
    print(
        f"{report.written} of {total} images written to {arguments.output}{skipped}; a row "
        f"for each is in {Path(arguments.output, 'manifest')}"
    )
