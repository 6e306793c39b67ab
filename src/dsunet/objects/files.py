"""Many maps or masks → tables of their objects, through broken files."""

from __future__ import annotations

import multiprocessing
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from dsunet.config import MaskReading
from dsunet.config.objects import ObjectOptions, PixelSize
from dsunet.data.folders import walk_folders
from dsunet.data.images import read_header
from dsunet.data.remote import Remote
from dsunet.data.resolution import read_pixel_size
from dsunet.data.sources import is_image_name
from dsunet.errors import ConfigError, DataError, DsunetError, ImageError, MissingPackageError, few
from dsunet.objects.reading import read_objects
from dsunet.objects.regions import Region, find_regions, runs_of
from dsunet.objects.tables import (
    FAILURE_COLUMNS,
    IMAGE_COLUMNS,
    OBJECT_COLUMNS,
    MeasuredImage,
    MeasuredObject,
    image_rows,
    object_rows,
    refuse_foreign,
    write_coco,
    write_table,
)
from dsunet.predict.plan import Job, plan_outputs
from dsunet.support.files import check_writable
from dsunet.support.processes import in_processes

__all__ = ["ObjectReport", "beside", "measure_objects"]


@dataclass
class ObjectReport:
    """What measuring many maps came to."""

    images: list[MeasuredImage] = field(default_factory=list)
    """Those that could be measured, in the order of their names."""
    failures: list[tuple[str, str]] = field(default_factory=list)
    """Maps that could not, each with the reason."""
    without_map: list[str] = field(default_factory=list)
    """Pictures of `images` that no map belongs to."""
    unclear: list[str] = field(default_factory=list)
    """Maps that hold nothing above the least step of their range."""
    untold: dict[int, int] = field(default_factory=dict)
    """Numbers that are no class, and in how many files each is."""
    not_square: bool = False
    """Whether pixels are not square, so that there is no perimeter."""

    @property
    def regions(self) -> list[Region]:
        """All objects."""
        return [each.region for image in self.images for each in image.objects]

    @property
    def unit(self) -> str:
        """Of lengths."""
        return self.images[0].unit if self.images else "px"


class _Task(NamedTuple):
    """A map to measure."""

    number: int
    job: Job
    picture: Path | None
    file_name: str
    options: ObjectOptions
    reading: MaskReading
    runs: bool
    max_pixels: int | None


class _Outcome(NamedTuple):
    """What a task came to."""

    image: MeasuredImage | None
    reason: str = ""
    unclear: bool = False
    untold: tuple[int, ...] = ()
    square: bool = True


def beside(output: Path, what: str) -> Path:
    """The name of a second table: `objects-images.csv` beside `objects.csv`."""
    return output.with_name(f"{output.stem}-{what}{output.suffix}")


def measure_objects(
    paths: Sequence[str | Path],
    output: str | Path,
    options: ObjectOptions | None = None,
    *,
    images: str | Path | None = None,
    coco: str | Path | None = None,
    names: Sequence[str] | None = None,
    files_from: str | Path | None = None,
    reading: MaskReading | None = None,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> ObjectReport:
    """Measures the objects of maps or masks, and writes a row for each.

    `objects-images.csv` beside `objects.csv` gets a row for each picture, and if maps cannot be
    read, `objects-failures.csv` says which and why. Every file is whole or not there.

    Args:
        paths: Maps or masks: files, folders (searched recursively) and patterns.
        output: CSV file to write.
        options: What counts as an object, and the units.
        images: Folder of the pictures that the maps are of, found by their names: their resolution
            tags count instead of the maps', and COCO's JSON names them.
        coco: JSON file to write in COCO's format, too.
        names: Measure these stems only.
        files_from: Text file with the path of one map a line.
        reading: What masks' values mean, where they are not 0 and 255.
        workers: Processes that share the work.
        progress: Called with the number of maps done and the number of all.

    Raises:
        ConfigError: Settings do not go together, or an output has another ending.
        DataError: A path does not exist, no map is found, or all of them seem to be masks of 0
            and 1.
        OutputError: A file would be overwritten that is no output of this, or cannot be written.
    """
    options, reading = options or ObjectOptions(), reading or MaskReading()
    table = Path(output)
    json_file = None if coco is None else Path(coco)
    _check(table, json_file, options, reading)
    jobs = plan_outputs(paths, table, (), names, files_from)
    pictures = None if images is None else _pictures(Path(images))
    tasks, report = [], ObjectReport()
    used: set[Path] = set()
    for number, job in enumerate(jobs, start=1):
        picture = None if pictures is None else pictures.get(_key(job.name))
        trouble = job.trouble
        if isinstance(job.image, Remote):
            trouble = trouble or "it is an address; bring it here first"
        if pictures is not None and picture is None:
            trouble = trouble or f"{images} holds no picture of this name, or several"
        if trouble:
            report.failures.append((str(job.image), trouble))
            continue
        file_name = job.name.with_suffix(_file(job).suffix).as_posix()
        if picture is not None:
            used.add(picture)
            file_name = picture.relative_to(Path(str(images))).as_posix()
        runs, most = json_file is not None, Image.MAX_IMAGE_PIXELS
        tasks.append(_Task(number, job, picture, file_name, options, reading, runs, most))
    if pictures is not None:
        every = {each for each in pictures.values() if each is not None}
        report.without_map = sorted(str(each) for each in every - used)
    _measure_all(tasks, workers, progress, report)
    _refuse_unclear(report, options, tasks)
    _write(table, json_file, options, report)
    return report


def _check(
    table: Path, json_file: Path | None, options: ObjectOptions, reading: MaskReading
) -> None:
    if table.suffix.lower() != ".csv":
        raise ConfigError(f"`output` is {str(table)!r}, but needs a name that ends with .csv")
    if options.classes is not None and reading != MaskReading():
        raise ConfigError(
            "`classes` says which numbers the files hold, and so do `object_values`, "
            "`ignore_value` and `invert`; leave one of them out"
        )
    for file, columns in (
        (table, OBJECT_COLUMNS),
        (beside(table, "images"), IMAGE_COLUMNS),
        (beside(table, "failures"), FAILURE_COLUMNS),
    ):
        refuse_foreign(file, columns)
    check_writable(table.parent)
    if json_file is None:
        return
    if json_file.suffix.lower() != ".json":
        raise ConfigError(f"`coco` is {str(json_file)!r}, but needs a name that ends with .json")
    refuse_foreign(json_file, None)
    check_writable(json_file.parent)
    try:
        import pycocotools  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingPackageError(
            "COCO's run lengths need the package pycocotools; pip install 'dsunet[objects]'"
        ) from error


def _key(name: Path) -> str:
    return unicodedata.normalize("NFC", name.with_suffix("").as_posix())


def _pictures(folder: Path) -> dict[str, Path | None]:
    """Pictures by what their maps may be called; `None` where several would be.

    The map of `a.jpg` is `a.png`, or `a.jpg.png` where there is another `a`.
    """
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder} of `images`; give the folder of the pictures")
    found: dict[str, Path | None] = {}
    for place, names in walk_folders(folder, (), lambda error: None):
        for name in names:
            if not is_image_name(name):
                continue
            file = place / name
            relative = file.relative_to(folder)
            plain, whole = _key(relative), unicodedata.normalize("NFC", relative.as_posix())
            found[plain] = None if plain in found else file
            found[whole] = file
    return found


def _measure_all(
    tasks: Sequence[_Task],
    workers: int,
    progress: Callable[[int, int], None] | None,
    report: ObjectReport,
) -> None:
    outcomes = in_processes(_measure, tasks, workers)
    for done, (task, outcome) in enumerate(zip(tasks, outcomes, strict=True), start=1):
        if outcome.image is None:
            reason = outcome.reason.removeprefix(f"{task.job.image}: ")
            report.failures.append((str(task.job.image), reason))
        else:
            report.images.append(outcome.image)
            report.not_square |= not outcome.square
            if outcome.unclear and not _is_predicted(task.job):
                report.unclear.append(str(task.job.image))
            for number in outcome.untold:
                report.untold[number] = report.untold.get(number, 0) + 1
        if progress:
            progress(done, len(tasks))


def _file(job: Job) -> Path:
    """The map, which lies here."""
    assert isinstance(job.image, Path)
    return job.image


def _is_predicted(job: Job) -> bool:
    """Whether `dsunet predict` has left its note beside a map."""
    folders = _file(job).parents[: len(job.name.parts) + 1]
    return any((folder / "prediction.json").is_file() for folder in folders)


def _refuse_unclear(report: ObjectReport, options: ObjectOptions, tasks: Sequence[_Task]) -> None:
    """Maps of 0 and 1 may be masks, which nothing would be found in."""
    if not report.unclear or options.threshold is not None or report.regions:
        return
    raise DataError(
        f"{len(report.unclear)} of {len(tasks)} files hold next to nothing but 0 and 1 "
        f"({few(report.unclear, 3)}), and no object is found: if they are masks, tell "
        "`object_values` 1 (or `classes`); if they are maps, tell a `threshold`"
    )


def _measure(task: _Task) -> _Outcome:
    if multiprocessing.parent_process() is not None:
        Image.MAX_IMAGE_PIXELS = task.max_pixels
    try:
        read = read_objects(_file(task.job), task.options, task.reading)
        pixel = _pixel(task, read.size)
    except DsunetError as error:
        return _Outcome(None, str(error))
    least = task.options.least_pixels(pixel)
    objects = []
    width, height = read.size
    for name, inside in read.inside.items():
        for region in find_regions(inside, read.scores, least=least, pixel=pixel):
            runs = _compressed(region, (height, width)) if task.runs else None
            objects.append(MeasuredObject(name, region.without_pixels(), runs))
    image = MeasuredImage(
        number=task.number,
        name=task.job.name.with_suffix("").as_posix(),
        file_name=task.file_name,
        size=read.size,
        counted=read.counted,
        unit=pixel.unit,
        objects=objects,
    )
    return _Outcome(image, "", read.unclear, read.untold, pixel.is_square)


def _pixel(task: _Task, size: tuple[int, int]) -> PixelSize:
    """How large a map's pixels are; a picture has to have its size."""
    known = task.options.size
    if task.picture is None:
        found = known or read_pixel_size(_file(task.job))[1]
    elif known is None:
        header, found = read_pixel_size(task.picture)
        _same_size(task, size, {header.seen_size(), header.size})
    else:
        header, found = read_header(task.picture), known
        _same_size(task, size, {header.seen_size(), header.size})
    return found if known else found.in_unit(task.options.result_unit)


def _same_size(task: _Task, size: tuple[int, int], sizes: set[tuple[int, int]]) -> None:
    if size not in sizes:
        width, height = next(iter(sizes))
        raise ImageError(
            f"{task.job.image}: it is {size[0]}×{size[1]} px, and its picture {task.picture} "
            f"{width}×{height}; maps need the size of their picture"
        )


def _compressed(region: Region, size: tuple[int, int]) -> str:
    from pycocotools import mask

    runs = {"counts": runs_of(region.coordinates, size), "size": list(size)}
    text: bytes = mask.frPyObjects(runs, *size)["counts"]
    return text.decode("ascii")


def _write(
    table: Path, json_file: Path | None, options: ObjectOptions, report: ObjectReport
) -> None:
    numbers: Mapping[int, str] | None = options.numbers
    write_table(table, OBJECT_COLUMNS, object_rows(report.images))
    write_table(beside(table, "images"), IMAGE_COLUMNS, image_rows(report.images))
    failures = beside(table, "failures")
    if report.failures:
        write_table(failures, FAILURE_COLUMNS, report.failures)
    else:
        failures.unlink(missing_ok=True)
    if json_file is not None:
        classes = [options.class_name] if numbers is None else list(numbers.values())
        write_coco(json_file, report.images, classes)
