"""Many images → files, through broken images, full disks and interruptions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dsunet.config import Options
from dsunet.data.remote import Remote
from dsunet.errors import ConfigError, DeviceError, OutputError
from dsunet.predict.outputs import check_options
from dsunet.predict.plan import Job
from dsunet.predict.record import add_failures, begin, is_done
from dsunet.predict.segmenter import Segmenter
from dsunet.predict.working import Outcome, Working
from dsunet.support.files import check_writable, lock_folder, stopped_writing
from dsunet.support.processes import available_cores

__all__ = [
    "Report",
    "check_draft",
    "check_folder",
    "predict_files",
    "spare_cores",
]


@dataclass
class Report:
    """What a prediction of many images came to."""

    written: int = 0
    """Images whose outputs were written."""
    skipped: int = 0
    """Images whose outputs were there already."""
    failures: list[tuple[Path | Remote, str]] = field(default_factory=list)
    """Images that could not be read, each with the reason."""
    first_frames: list[Path | Remote] = field(default_factory=list)
    """Files with several pages or frames, of which only the first was segmented."""
    odd_profiles: list[tuple[Path | Remote, str]] = field(default_factory=list)
    """Images whose colour profile cannot be used and was taken for sRGB, each with the reason."""
    without_object: list[Path | Remote] = field(default_factory=list)
    """Images to be cropped to their object that have none: their outputs are whole."""
    abstained: list[Path | Remote] = field(default_factory=list)
    """Images that were taken for ones without an object, see `Options.abstain`."""
    read_whole: list[tuple[Path | Remote, str]] = field(default_factory=list)
    """Huge images in tiles that were read as a whole all the same, each with the reason."""


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
    check_folder(folder)
    readers = spare_cores(segmenter.engine.threads) if workers is None else workers
    writers = max(readers, min(1, available_cores() - 1)) if workers is None else workers
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with lock_folder(folder):
            names = [job.name for job in jobs if not job.trouble]
            since = begin(folder, segmenter, lambda: names, options, resume)
            todo = [job for job in jobs if not is_done(folder, options, job, since)]
            report.skipped = len(jobs) - len(todo)
            noting = _Noting(folder, report, len(jobs), progress)
            Working(segmenter, folder, options, noting.note).segment_all(
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
    if segmenter.looks.tiling is not None:
        raise ConfigError(
            f"`draft` leaves out pixels that tiles would show ({segmenter.looks.tiling}); leave "
            "`draft` out, or give `tile` 0"
        )
    if segmenter.largest_side is None:
        raise ConfigError(
            f"`draft` is for networks, but {segmenter.engine.name} is a function that takes the "
            "image with all its pixels; leave `draft` out"
        )


def spare_cores(busy: int) -> int:
    """How many threads may work beside a model that keeps so many cores busy."""
    return min(4, max(0, available_cores() - busy))


@dataclass
class _Noting:
    """What became of images, in the report and in `failures.csv`."""

    folder: Path
    report: Report
    total: int
    progress: Callable[[int, int], None] | None

    def note(self, outcome: Outcome) -> None:
        """One more image is done, or cannot be."""
        report, image = self.report, outcome.job.image
        if outcome.frames:
            report.first_frames.append(image)
        if outcome.profile_trouble:
            report.odd_profiles.append((image, outcome.profile_trouble))
        if outcome.whole:
            report.without_object.append(image)
        if outcome.abstained:
            report.abstained.append(image)
        if outcome.read_whole:
            report.read_whole.append((image, outcome.read_whole))
        if outcome.reason:
            report.failures.append((image, f"{image}: {outcome.reason}"))
            add_failures(self.folder, [(image, outcome.reason)], first=len(report.failures) == 1)
        else:
            report.written += 1
        if self.progress:
            self.progress(report.skipped + report.written + len(report.failures), self.total)


def check_folder(folder: Path) -> None:
    """Looks whether outputs may go to a folder: not among a data set's, nor into a run's.

    Raises:
        OutputError: It is one, or cannot be written to.
    """
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
    check_writable(folder)
