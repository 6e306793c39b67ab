"""Many images → files, through broken images, full disks and interruptions."""

from __future__ import annotations

import csv
import io
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from dsunet.config import Options
from dsunet.data.colour import profile_trouble
from dsunet.data.images import decode
from dsunet.data.sources import Source
from dsunet.errors import ConfigError, CustomModelError, DeviceError, ImageError, OutputError
from dsunet.predict.encoding import LARGEST, Kept, kept_of
from dsunet.predict.inputs import Taken
from dsunet.predict.outputs import check_options, made
from dsunet.predict.pictures import Segmentation
from dsunet.predict.plan import Job, output_path
from dsunet.predict.record import FAILURES, begin, is_done
from dsunet.predict.segmenter import Segmenter
from dsunet.predict.threads import ahead, in_batches, pool
from dsunet.support.files import (
    check_writable,
    encode_text,
    lock_folder,
    stopped_writing,
    write_atomically,
)
from dsunet.support.processes import available_cores

__all__ = [
    "Report",
    "ToSegment",
    "check_draft",
    "predict_files",
    "read_to_segment",
    "spare_cores",
]


@dataclass
class Report:
    """What a prediction of many images came to."""

    written: int = 0
    """Images whose outputs were written."""
    skipped: int = 0
    """Images whose outputs were there already."""
    failures: list[tuple[Path, str]] = field(default_factory=list)
    """Images that could not be read, each with the reason."""
    first_frames: list[Path] = field(default_factory=list)
    """Files with several pages or frames, of which only the first was segmented."""
    odd_profiles: list[tuple[Path, str]] = field(default_factory=list)
    """Images whose colour profile cannot be used and was taken for sRGB, each with the reason."""
    without_object: list[Path] = field(default_factory=list)
    """Images to be cropped to their object that have none: their outputs are whole."""
    abstained: list[Path] = field(default_factory=list)
    """Images that were taken for ones without an object, see `Options.abstain`."""


def predict_files(
    segmenter: Segmenter,
    jobs: Sequence[Job],
    output: str | Path,
    options: Options | None = None,
    *,
    resume: bool = False,
    batch_size: int = 1,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    report: Report | None = None,
) -> Report:
    """Segments images and writes what is asked for; a broken image does not stop the others.

    The folder also gets `prediction.json` (how the outputs were made) and, if there are failures,
    `failures.csv` (image, reason). Every file is whole or not there. Where cores are to spare,
    images are read and outputs written by threads beside the model, a few ahead and behind.

    Args:
        segmenter: The model.
        jobs: What `plan_outputs` gives.
        output: Folder to write to.
        options: What to write.
        resume: Skip images whose outputs are there, made by the same weights and options, and by
            the same code if the model is one of your own.
        batch_size: Images per pass. Other sizes than 1 may change the last digit.
        workers: Threads that read images, and as many that write outputs; 0 does it between the
            passes. By default as many as there are cores that the model leaves idle, at most four:
            beside a model that computes on all of them they would only be in the way, but for one
            that writes, since compressing large pictures takes longer than the model does.
        progress: Called with the number of images done and the number of all.
        report: Is kept up to date while it goes on, for whoever interrupts it.

    Raises:
        ConfigError: Options do not go together, or `draft` does not go with the model.
        OutputError: The folder is a data set's or a run's, cannot be written to, the disk is full,
            or its outputs were made in another way than those to go on with.
    """
    options, report = options or Options(), report or Report()
    check_options(options)
    options = segmenter.filled(options)
    check_draft(options, segmenter)
    folder = Path(output)
    _refuse_others_folder(folder)
    check_writable(folder)
    readers = spare_cores(segmenter.engine.threads) if workers is None else workers
    writers = max(readers, min(1, available_cores() - 1)) if workers is None else workers
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with lock_folder(folder):
            possible = [job for job in jobs if not job.trouble]
            since = begin(folder, segmenter, possible, options, resume)
            todo = [job for job in jobs if not is_done(folder, options, job, since)]
            report.skipped = len(jobs) - len(todo)
            writing = _Writing(segmenter, folder, options, report, len(jobs), progress)
            writing.segment_all(
                todo, batch_size if segmenter.engine.batches else 1, readers, writers
            )
    except OSError as error:
        raise stopped_writing(error, folder, "written") from error
    except segmenter.engine.out_of_memory as error:
        raise DeviceError(
            "the device is out of memory; use a smaller `batch_size`, or `device` cpu"
        ) from error
    return report


def check_draft(options: Options, segmenter: Segmenter) -> None:
    """Raises `ConfigError` where `draft` does not go with the other options or with the model."""
    if not options.draft:
        return
    whole = [kind for kind in options.save if kind in ("overlay", "cutout")]
    if options.refine:
        raise ConfigError(
            "`draft` leaves out pixels that edges are to follow (`refine`); leave one of them out"
        )
    if whole:
        raise ConfigError(
            f"`draft` leaves out pixels that {' and '.join(whole)} would show; leave `draft` "
            "out, or `save` probability or binary alone"
        )
    if segmenter.looks.zoom:
        raise ConfigError(
            "`draft` leaves out pixels that the second look would show (`zoom`); leave one of them "
            "out"
        )
    if segmenter.largest_side is None:
        raise ConfigError(
            f"`draft` is for networks, but {segmenter.engine.name} is a function that takes the "
            "image with all its pixels; leave `draft` out"
        )


def spare_cores(busy: int) -> int:
    """How many threads may work beside a model that keeps so many cores busy."""
    return min(4, max(0, available_cores() - busy))


class ToSegment(NamedTuple):
    """An image that has been read."""

    taken: Taken
    prepared: Any
    """What `Segmenter.probabilities` takes of it."""
    kept: Kept
    """What its outputs keep of its file."""
    frames: bool
    """Whether it has more pages or frames than the first."""
    profile_trouble: str
    """Why its colour profile cannot be used; empty if it can, or there is none."""


class _Ready(NamedTuple):
    """A job whose image has been read, or why it could not be."""

    job: Job
    image: ToSegment | None = None
    reason: str = ""


@dataclass
class _Writing:
    """A prediction on its way from images to files."""

    segmenter: Segmenter
    folder: Path
    options: Options
    report: Report
    total: int
    progress: Callable[[int, int], None] | None

    def segment_all(self, jobs: Sequence[Job], batch_size: int, reading: int, writing: int) -> None:
        """Reads, computes and writes, the first and the last in threads beside the model."""
        count = 2 * batch_size + reading if reading else 1
        behind = max(count, batch_size + writing) if writing else 1
        readers, writers = pool(reading), pool(writing)
        ready = ahead(
            (readers.submit(_read, job, self.segmenter, self.options) for job in jobs), count
        )
        written: deque[Future[Job]] = deque()
        try:
            for batch in in_batches(self._without_failures(ready), batch_size):
                written.extend(self._write_all(writers, batch))
                while len(written) >= behind:
                    self._count(written.popleft().result())
            while written:
                self._count(written.popleft().result())
        finally:
            readers.shutdown(cancel_futures=True)
            writers.shutdown()
            # of an interrupted run, too, every output that was written counts
            self.report.written += sum(1 for each in written if each.exception() is None)

    def _write_all(self, writers: Executor, batch: list[_Ready]) -> Iterator[Future[Job]]:
        """Computes the maps of a batch and has them written."""
        try:
            images = [each.image for each in batch if each.image is not None]
            maps = self.segmenter.probabilities([image.prepared for image in images])
        except CustomModelError as error:
            if self.segmenter.engine.batches:
                raise
            self._fail(batch[0].job.image, str(error))
            return
        for each, image, probability in zip(batch, images, maps, strict=True):
            result = self.segmenter.segmentation(image.taken, probability)
            yield writers.submit(self._write, result, each.job, image.kept)

    def _without_failures(self, ready: Iterable[_Ready]) -> Iterator[_Ready]:
        """Passes on what could be read, and notes the rest at once."""
        for each in ready:
            if each.image is None:
                self._fail(each.job.image, each.reason)
                continue
            if each.image.frames:
                self.report.first_frames.append(each.job.image)
            if trouble := each.image.profile_trouble:
                self.report.odd_profiles.append((each.job.image, trouble))
            yield each

    def _write(self, result: Segmentation, job: Job, kept: Kept) -> Job:
        """Writes all outputs of an image."""
        options = self.options
        if options.abstain:
            result = result.abstaining(options.image_threshold)
            if not result.probability.any():
                self.report.abstained.append(job.image)
        # as it is first, then refined: of a large picture both at a time take much memory
        for refine in sorted({options.refines(kind) for kind in options.save}):
            if refine:
                result = result.refined()
            box = None
            if options.crop_to_object:
                box = result.box(options.object_from)
                if box is None and job.image not in self.report.without_object:
                    self.report.without_object.append(job.image)
            for kind in options.save:
                if options.refines(kind) == refine:
                    path = output_path(self.folder, kind, options.save, job, options.format)
                    write_atomically(path, made(kind, result, options, box, kept))
        return job

    def _count(self, job: Job) -> None:
        """One more is written."""
        self.report.written += 1
        self._tell()

    def _fail(self, image: Path, reason: str) -> None:
        """Notes why there is nothing of an image."""
        reason = reason.removeprefix(f"{image}: ")
        self.report.failures.append((image, f"{image}: {reason}"))
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        if len(self.report.failures) == 1:
            rows.writerow(["image", "reason"])
        rows.writerow([image, reason])
        with open(self.folder / FAILURES, "ab") as file:
            file.write(encode_text(text.getvalue()))
        self._tell()

    def _tell(self) -> None:
        if self.progress:
            report = self.report
            self.progress(report.skipped + report.written + len(report.failures), self.total)


def _read(job: Job, segmenter: Segmenter, options: Options) -> _Ready:
    if job.trouble:
        return _Ready(job, reason=job.trouble)
    try:
        return _Ready(job, read_to_segment(job.image, segmenter, options))
    except ImageError as error:
        return _Ready(job, reason=str(error))


def read_to_segment(image: Source, segmenter: Segmenter, options: Options) -> ToSegment:
    """Reads an image and makes the network's views of it.

    Raises:
        ImageError: It cannot be read, or is too large for the format to write.
    """
    upright = not options.ignore_orientation
    preview = segmenter.largest_side if options.draft else None
    decoded = decode(image, preview=preview, intensity=segmenter.intensity)
    taken = Taken(*decoded.as_colours(upright=upright))
    width, height = decoded.seen_size(upright=upright)
    _check_size(width, height, options)
    return ToSegment(
        taken,
        segmenter.prepare(taken.seen, (height, width)),
        kept_of(decoded, upright=upright, exif=options.keep_exif, gps=options.keep_gps),
        decoded.frames,
        profile_trouble(decoded.pixels),
    )


def _check_size(width: int, height: int, options: Options) -> None:
    """Raises `ImageError` for a picture that the format to write cannot hold."""
    largest = LARGEST[options.format]
    if max(width, height) > largest:
        raise ImageError(
            f"it has {width}×{height} pixels, but {options.format} holds {largest} a side; "
            "write png"
        )


def _refuse_others_folder(folder: Path) -> None:
    """Outputs are not put among a data set's images and masks, nor into a run's folder."""
    for place in (folder, folder.absolute().parent):
        within = place == folder or folder.name in ("images", "masks")
        if within and (place / "images").is_dir() and (place / "masks").is_dir():
            raise OutputError(
                f"{folder} belongs to a data set (images and masks are in {place}), and outputs "
                f"would be taken for its files; choose another `output`, such as "
                f"{place.name}-predictions"
            )
    weights = ("best.safetensors", "last.safetensors", "resume.ckpt")
    if (folder / "config.yaml").is_file() and any((folder / name).is_file() for name in weights):
        raise OutputError(
            f"{folder} is the folder of a run (config.yaml and weights are in it); choose another "
            f"`output`, such as {folder / 'predictions'}"
        )
