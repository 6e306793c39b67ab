"""Many images → files, through broken images, full disks and interruptions."""

from __future__ import annotations

import csv
import hashlib
import io
import itertools
import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from PIL import Image

from dsunet.data.images import decode
from dsunet.errors import ConfigError, CustomModelError, DeviceError, ImageError, OutputError
from dsunet.network.base import SegmentationModel
from dsunet.network.function import ImageFunction
from dsunet.predict.plan import Job, output_path
from dsunet.predict.segmenter import Prepared, Segmentation, Segmenter
from dsunet.support.files import (
    check_writable,
    clear_temporaries,
    encode_text,
    lock_folder,
    sha256_of,
    stopped_writing,
    write_json,
    write_png,
)
from dsunet.support.processes import available_cores

__all__ = ["KINDS", "Options", "Report", "predict_files", "spare_cores"]

_T = TypeVar("_T")

KINDS = ("probability", "binary", "overlay", "cutout")


@dataclass(frozen=True)
class Options:
    """What to write of every image, and how."""

    save: tuple[str, ...] = ("probability",)
    """Of `KINDS`: grey probability map, black-and-white mask, overlay, cut-out. One kind goes
    straight into the output folder, several go into a subfolder each."""
    threshold: float = 0.5
    """From which probability a pixel belongs to the object, for binary and overlay."""
    benchmark_normalization: bool = False
    """Stretch every probability map to its full range, see `quantise`."""
    ignore_orientation: bool = False
    """Take images as they are stored, whatever their EXIF orientation says."""
    draft: bool = False
    """Decode JPEGs at the smallest of 1/1, 1/2, 1/4, 1/8 that still has the pixels of the model's
    views: quicker for large photographs, and maps change a little. Not for overlay and cutout."""


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


class _Ready(NamedTuple):
    """An image that has been read, or why it could not be."""

    job: Job
    picture: Image.Image | None = None
    prepared: Prepared | None = None
    reason: str = ""
    frames: bool = False


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
            beside a model that computes on all of them they would only be in the way.
        progress: Called with the number of images done and the number of all.
        report: Is kept up to date while it goes on, for whoever interrupts it.

    Raises:
        ConfigError: `draft` does not go with the other options or with the model.
        OutputError: The folder cannot be written to, the disk is full, or its outputs were made in
            another way than those to go on with.
    """
    options, report = options or Options(), report or Report()
    _check_draft(options, segmenter)
    folder = Path(output)
    check_writable(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with lock_folder(folder):
            since = _begin(folder, segmenter, jobs, options, resume)
            todo = [job for job in jobs if not _is_done(folder, options, job, since)]
            report.skipped = len(jobs) - len(todo)
            threads = spare_cores(segmenter.device) if workers is None else workers
            _segment_all(segmenter, todo, folder, options, batch_size, threads, progress, report)
    except OSError as error:
        raise stopped_writing(error, folder, "written") from error
    except torch.OutOfMemoryError as error:
        raise DeviceError(
            "the device is out of memory; use a smaller --batch-size, or --device cpu"
        ) from error
    return report


def _check_draft(options: Options, segmenter: Segmenter) -> None:
    if not options.draft:
        return
    whole = [kind for kind in options.save if kind in ("overlay", "cutout")]
    if whole:
        raise ConfigError(
            f"--draft leaves out pixels that {' and '.join(whole)} would show; leave --draft "
            "out, or --save probability or binary alone"
        )
    if isinstance(segmenter.model, ImageFunction):
        raise ConfigError(
            f"--draft is for networks, but {segmenter.model.name} is a function that takes the "
            "image with all its pixels; leave --draft out"
        )


def _begin(
    folder: Path, segmenter: Segmenter, jobs: Sequence[Job], options: Options, resume: bool
) -> int | None:
    """Notes how outputs are made.

    Returns:
        Since when (in the file system's nanoseconds) outputs were made just so; `None` if never.
    """
    made = {
        "weights": str(segmenter.weights) if segmenter.weights else None,
        "sha256": _identity(segmenter),
        **segmenter.identity,
        **segmenter.settings,
        "precision": str(segmenter.dtype).removeprefix("torch."),
        **asdict(options),
        "save": list(options.save),
    }
    note = folder / "prediction.json"
    places = {
        output_path(folder, kind, options.save, job).parent for job in jobs for kind in options.save
    }
    for place in places | {folder}:
        clear_temporaries(place)
    failures = folder / "failures.csv"
    if not note.is_file():
        outputs = (
            output_path(folder, kind, options.save, job)
            for job, kind in itertools.product(jobs, options.save)
        )
        for path in itertools.chain([failures], outputs):
            if path.exists():
                raise OutputError(
                    f"{path} is there and no output of dsunet predict; it would be overwritten: "
                    "choose another --output"
                )
    elif resume:
        try:
            before = json.loads(note.read_bytes())
            before |= {key: before.get(key) for key in ("model", "code") if key in made}
            # which there was nothing of before
            before = {**dict.fromkeys([*segmenter.settings, "draft"], False), **before}
            before.setdefault("precision", made["precision"])
            changed = [key for key in made if key != "weights" and before[key] != made[key]]
        except (ValueError, KeyError, TypeError):
            changed = ["another version of dsunet"]
        if changed:
            raise OutputError(
                f"the outputs in {folder} were made in another way ({', '.join(changed)}); go on "
                "as they were made, or choose another --output"
            )
        failures.unlink(missing_ok=True)
        return note.stat().st_mtime_ns
    failures.unlink(missing_ok=True)
    write_json(note, made)
    return None


def _identity(segmenter: Segmenter) -> str | None:
    """A hash of the weights: of their file, or of the tensors of a model without one."""
    if isinstance(segmenter.model, ImageFunction):
        return None
    if segmenter.weights is not None:
        return sha256_of(segmenter.weights)
    digest = hashlib.sha256()
    assert isinstance(segmenter.original, SegmentationModel)
    for name, tensor in segmenter.original.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _is_done(folder: Path, options: Options, job: Job, since: int | None) -> bool:
    """Whether all outputs of a job are there and no older than the note of how they are made."""
    if since is None:
        return False
    try:
        times = [
            output_path(folder, kind, options.save, job).stat().st_mtime_ns for kind in options.save
        ]
    except OSError:
        return False
    return min(times) >= since


def _segment_all(
    segmenter: Segmenter,
    jobs: Sequence[Job],
    folder: Path,
    options: Options,
    batch_size: int,
    workers: int,
    progress: Callable[[int, int], None] | None,
    report: Report,
) -> None:
    total = report.skipped + len(jobs)
    one_by_one = isinstance(segmenter.model, ImageFunction)
    batch_size = 1 if one_by_one else batch_size

    def tell() -> None:
        if progress:
            progress(report.skipped + report.written + len(report.failures), total)

    def finish(job: Job) -> None:
        report.written += 1
        tell()

    ahead = 2 * batch_size + workers if workers else 1
    readers, writers = _pool(workers), _pool(workers)
    ready = _ahead((readers.submit(_read, job, segmenter, options) for job in jobs), ahead)
    writing: deque[Future[Job]] = deque()
    try:
        for batch in _in_batches(_without_failures(ready, folder, report, tell), batch_size):
            prepared = [each.prepared for each in batch if each.prepared is not None]
            try:
                maps = segmenter.probabilities(prepared)
            except CustomModelError as error:
                if not one_by_one:
                    raise
                _note_failure(batch[0].job.image, str(error), folder, report)
                tell()
                continue
            for each, probability in zip(batch, maps, strict=True):
                assert each.picture is not None
                result = Segmentation(each.picture, probability)
                writing.append(writers.submit(_write, result, each.job, folder, options))
            while len(writing) >= ahead:
                finish(writing.popleft().result())
        while writing:
            finish(writing.popleft().result())
    finally:
        readers.shutdown(cancel_futures=True)
        writers.shutdown()
        # of an interrupted run, too, every output that was written counts
        report.written += sum(1 for each in writing if each.exception() is None)


def spare_cores(device: torch.device) -> int:
    """How many threads may work beside the model: a GPU leaves all cores but one idle."""
    busy = torch.get_num_threads() if device.type == "cpu" else 1
    return min(4, max(0, available_cores() - busy))


class _Inline(Executor):
    """Does what it is asked for at once, in the thread that asks."""

    def submit(self, function: Callable[..., _T], /, *args: Any, **kwargs: Any) -> Future[_T]:
        future: Future[_T] = Future()
        try:
            future.set_result(function(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


def _pool(workers: int) -> Executor:
    return ThreadPoolExecutor(workers) if workers else _Inline()


def _ahead(futures: Iterable[Future[_T]], count: int) -> Iterator[_T]:
    """The results of futures in order, with at most `count` of them under way."""
    window: deque[Future[_T]] = deque()
    for future in futures:
        window.append(future)
        if len(window) >= count:
            yield window.popleft().result()
    while window:
        yield window.popleft().result()


def _without_failures(
    ready: Iterable[_Ready], folder: Path, report: Report, tell: Callable[[], None]
) -> Iterator[_Ready]:
    """Passes on what could be read, and notes the rest at once."""
    for each in ready:
        if each.frames:
            report.first_frames.append(each.job.image)
        if each.prepared is not None:
            yield each
            continue
        _note_failure(each.job.image, each.reason, folder, report)
        tell()


def _note_failure(image: Path, reason: str, folder: Path, report: Report) -> None:
    reason = reason.removeprefix(f"{image}: ")
    report.failures.append((image, f"{image}: {reason}"))
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    if len(report.failures) == 1:
        rows.writerow(["image", "reason"])
    rows.writerow([image, reason])
    with open(folder / "failures.csv", "ab") as file:
        file.write(encode_text(text.getvalue()))


def _in_batches(items: Iterable[_T], size: int) -> Iterator[list[_T]]:
    batch: list[_T] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _read(job: Job, segmenter: Segmenter, options: Options) -> _Ready:
    try:
        upright = not options.ignore_orientation
        decoded = decode(job.image, preview=segmenter.largest_side if options.draft else None)
        picture = decoded.as_image(upright=upright)
        width, height = decoded.seen_size(upright=upright)
        prepared = segmenter.prepare(picture, (height, width))
    except ImageError as error:
        return _Ready(job, reason=str(error))
    return _Ready(job, picture, prepared, frames=decoded.frames)


def _write(result: Segmentation, job: Job, folder: Path, options: Options) -> Job:
    for kind in options.save:
        if kind == "probability":
            array = result.map(benchmark_normalization=options.benchmark_normalization)
            picture = Image.fromarray(array)
        elif kind == "binary":
            picture = Image.fromarray(result.binary(options.threshold).astype(np.uint8) * 255)
        elif kind == "overlay":
            picture = result.overlay(options.threshold)
        else:
            picture = result.cutout()
        write_png(output_path(folder, kind, options.save, job), picture)
    return job
