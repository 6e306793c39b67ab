"""Which images are meant, and where their outputs go."""

from __future__ import annotations

import glob
import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dsunet.data.pairs import read_names, resolve_names, stem_of
from dsunet.data.sources import is_image_name
from dsunet.errors import DataError, OutputError

__all__ = ["Job", "output_path", "plan_outputs"]


@dataclass(frozen=True)
class Job:
    """An image to segment, and the name of its outputs relative to the output folder."""

    image: Path
    name: Path


def plan_outputs(
    paths: Sequence[str | Path],
    output: str | Path,
    save: Sequence[str] = ("probability",),
    names: Sequence[str] | None = None,
    files_from: str | Path | None = None,
    format: str = "png",  # noqa: A002 -- as in `Options`
) -> list[Job]:
    """The images meant by files, folders and patterns, each with its output's name.

    A file `photo.jpg` becomes `photo.png`. A file found below a given folder (searched recursively,
    but for hidden folders), or by a pattern like `photos/**/*.jpg`, keeps its subfolder; files from
    a list keep theirs below the deepest folder that all of them share. What lies in `output` itself
    is not searched.

    Args:
        paths: Images, folders and patterns.
        output: Folder that will be written to.
        save: What will be written there, see `Options`.
        names: Take these stems only, such as those of a run's `val.txt`.
        files_from: Text file with the path of one image a line. One that does not exist is reported
            like a broken image later, and does not stop the others.
        format: Of the files that will be written, see `Options`.

    Raises:
        DataError: A path does not exist, no image is found, a name of the list is not found, or
            two images would get one name.
        OutputError: An image would be overwritten by an output, or `output` is a folder of images
            that is given.
    """
    if not str(output) or not all(map(str, paths)):
        raise DataError("an empty name was given for a file or folder; name it, or . for this one")
    folder = _real(Path(output))
    _refuse_input_folder(paths, folder, output)
    found = [each for path in paths for each in _find(path, folder)]
    if files_from is not None:
        found += _listed(files_from)
    if not found:
        raise DataError("no images are given; name files, folders, patterns or a list of files")
    by_name = _by_output(found)
    if names is not None:
        by_name = _selected(by_name, names)
    _refuse_clashes(by_name)
    jobs = [Job(files[0], name) for name, files in sorted(by_name.items())]
    _refuse_to_overwrite(jobs, folder, save, format)
    return jobs


def _by_output(found: Iterable[tuple[Path, Path]]) -> dict[Path, list[Path]]:
    """Files by the name of their output; one that is meant twice stands there once."""
    by_name: dict[Path, list[Path]] = {}
    for file, relative in dict.fromkeys(found):
        same = by_name.setdefault(relative.with_suffix(".png"), [])
        if not any(_real(file) == _real(other) for other in same):
            same.append(file)
    return by_name


def _selected(by_name: dict[Path, list[Path]], names: Sequence[str]) -> dict[Path, list[Path]]:
    """Those whose stems are in a list, all of which have to be there."""
    known, unknown = resolve_names(names, {stem_of(name) for name in by_name})
    if unknown or not names:
        raise DataError(
            f"{len(unknown)} of the {len(names)} names in the list are not among the images "
            f"({', '.join(unknown[:20])})"
        )
    return {name: files for name, files in by_name.items() if stem_of(name) in known}


def _refuse_clashes(by_name: dict[Path, list[Path]]) -> None:
    clashes = [(name, files) for name, files in by_name.items() if len(files) > 1]
    if clashes:
        shown = "; ".join(f"{' and '.join(map(str, files))}: {name}" for name, files in clashes[:5])
        raise DataError(
            f"{len(clashes)} outputs would be written for more than one image ({shown}); rename "
            "the images, or predict them into different folders"
        )


def _refuse_to_overwrite(
    jobs: Sequence[Job],
    folder: Path,
    save: Sequence[str],
    format: str,  # noqa: A002
) -> None:
    inputs = {_real(job.image) for job in jobs}
    for job, kind in itertools.product(jobs, save):
        if output_path(folder, kind, save, job, format) in inputs:
            raise OutputError(
                f"the image {job.image} would be overwritten by a {kind} output; choose another "
                "`output`"
            )


def _refuse_input_folder(paths: Sequence[str | Path], folder: Path, output: str | Path) -> None:
    for path in paths:
        if Path(path).is_dir() and _real(Path(path)) == folder:
            raise OutputError(
                f"{output} is the folder of the images itself, where outputs would be taken for "
                f"images next time; choose another `output`, such as {folder}-predictions"
            )


def _real(file: Path) -> Path:
    """Without links; one that leads to itself stays, to be reported when it is read."""
    return Path(os.path.realpath(file))


def _find(path: str | Path, output: Path) -> list[tuple[Path, Path]]:
    """Files meant by one path, each with its name below the folder that was meant."""
    place = Path(path)
    if place.is_dir():
        found = [(file, file.relative_to(place)) for file in _walk(place, output)]
        if not found:
            raise DataError(f"the folder {path} holds no images")
        return found
    if place.exists():
        return [(place, Path(place.name))]
    if not glob.has_magic(str(path)):
        raise DataError(
            f"there is no file or folder {path}; give images, folders of images or patterns"
        )
    parts = place.parts
    first = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    root = Path(*parts[:first])
    found = [
        (file, file.relative_to(root))
        for file in sorted(root.glob(str(Path(*parts[first:]))))
        if is_image_name(file.name) and not file.is_dir() and not _is_hidden(file.relative_to(root))
    ]
    if not found:
        raise DataError(f"the pattern {path} finds no images")
    return found


def _walk(folder: Path, output: Path) -> Iterator[Path]:
    """Images below a folder, through linked folders too, each folder once."""

    def refuse(error: OSError) -> None:
        raise DataError(f"the folder {error.filename} cannot be read ({error.strerror})")

    seen: set[str] = set()
    for place, folders, files in os.walk(folder, onerror=refuse, followlinks=True):
        real = os.path.realpath(place)
        if real in seen or (real == str(output) and Path(place) != folder):
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if is_image_name(name):
                yield Path(place, name)


def _is_hidden(place: Path) -> bool:
    return any(part.startswith(".") for part in place.parts)


def _listed(list_: str | Path) -> list[tuple[Path, Path]]:
    files = [Path(line) for line in read_names(list_)]
    if not files:
        raise DataError(f"the list {list_} is empty; write the path of one image a line")
    places = [Path(os.path.abspath(file)) for file in files]  # noqa: PTH100 -- links stay links
    shared = os.path.commonpath([place.parent for place in places])
    return [(file, at.relative_to(shared)) for file, at in zip(files, places, strict=True)]


def output_path(
    folder: Path,
    kind: str,
    save: Sequence[str],
    job: Job,
    format: str = "png",  # noqa: A002
) -> Path:
    """Where one output of a job goes: one kind directly, several into a subfolder each."""
    return (folder / kind if len(save) > 1 else folder) / job.name.with_suffix(f".{format}")
