"""Which images are meant, and where their outputs go."""

from __future__ import annotations

import glob
import itertools
import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dsunet.data.folders import walk_folders
from dsunet.data.pairs import read_names, resolve_names, stem_of
from dsunet.data.sources import is_image_name
from dsunet.errors import DataError, OutputError

__all__ = ["Job", "output_path", "plan_outputs"]


@dataclass(frozen=True)
class Job:
    """An image to segment, and the name of its outputs relative to the output folder."""

    image: Path
    name: Path
    trouble: str = ""
    """Why there will be no outputs: the image is a folder that cannot be read, say."""
    told_apart: bool = False
    """Whether another image has the same stem, so that the name has more of the image's path."""


@dataclass(frozen=True)
class _Found:
    """A file, or a folder that cannot be read, and its place below what was given."""

    file: Path
    relative: Path
    given: str
    """The name of the folder that was given, or that a given file lies in."""
    trouble: str = ""


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

    Images of one stem keep their ending (`a.jpg.png` and `a.png.png` of `a.jpg` and `a.png`); of
    the same name in two given folders, these folders' names come in front. What still has another
    image's name, and folders that cannot be read, become jobs with a `trouble`.

    Args:
        paths: Images, folders and patterns.
        output: Folder that will be written to.
        save: What will be written there, see `Options`.
        names: Take these stems only, such as those of a run's `val.txt`.
        files_from: Text file with the path of one image a line. One that does not exist is reported
            like a broken image later, and does not stop the others.
        format: Of the files that will be written, see `Options`.

    Raises:
        DataError: A path does not exist, no image is found, or a name of the list is not found.
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
    images = _each_once(each for each in found if not each.trouble)
    if names is not None:
        images = _selected(images, names)
    jobs = sorted(_named(images), key=lambda job: job.name)
    unread = dict.fromkeys(each for each in found if each.trouble)
    jobs += [Job(each.file, each.relative, each.trouble) for each in unread]
    _refuse_to_overwrite(jobs, folder, save, format)
    return jobs


def _each_once(found: Iterable[_Found]) -> list[_Found]:
    """Without files that are meant twice."""
    once: dict[tuple[Path, Path], _Found] = {}
    for each in found:
        once.setdefault((_real(each.file), _plain_name(each)), each)
    return list(once.values())


def _selected(images: list[_Found], names: Sequence[str]) -> list[_Found]:
    """Those whose stems, with their folders or without, are in a list, all of which are there."""
    stems = [{stem_of(each.file), _path_of(each)} for each in images]
    known, unknown = resolve_names(names, set().union(*stems))
    if unknown or not names:
        raise DataError(
            f"{len(unknown)} of the {len(names)} names in the list are not among the images "
            f"({', '.join(unknown[:20])})"
        )
    return [each for each, own in zip(images, stems, strict=True) if own & known]


def _path_of(each: _Found) -> str:
    """A pair's name of an image in a folder below the one that is given."""
    return unicodedata.normalize("NFC", each.relative.with_suffix("").as_posix())


def _named(images: Sequence[_Found]) -> Iterator[Job]:
    """A job for each, of which no two write to one name."""
    ways: tuple[Callable[[_Found], Path], ...] = (_plain_name, _with_ending, _with_folder)
    names = [_plain_name(each) for each in images]
    for way in ways[1:]:
        count = Counter(names)
        names = [
            way(each) if count[name] > 1 else name for each, name in zip(images, names, strict=True)
        ]
    taken: dict[Path, Path] = {}
    for each, name in zip(images, names, strict=True):
        if other := taken.get(name):
            trouble = f"its output {name} is that of {other}, too; rename one of them"
            yield Job(each.file, name, trouble)
        else:
            taken[name] = each.file
            yield Job(each.file, name, told_apart=name != _plain_name(each))


def _plain_name(each: _Found) -> Path:
    return each.relative.with_suffix(".png")


def _with_ending(each: _Found) -> Path:
    return each.relative.with_name(f"{each.relative.name}.png")


def _with_folder(each: _Found) -> Path:
    return Path(each.given, _with_ending(each))


def _refuse_to_overwrite(
    jobs: Sequence[Job],
    folder: Path,
    save: Sequence[str],
    format: str,  # noqa: A002
) -> None:
    inputs = {_real(job.image) for job in jobs}
    for job, kind in itertools.product([job for job in jobs if not job.trouble], save):
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


def _find(path: str | Path, output: Path) -> list[_Found]:
    """Files meant by one path, each with its name below the folder that was meant."""
    place = Path(path)
    if place.is_dir():
        found = list(_walk(place, output))
        if not found:
            raise DataError(f"the folder {path} holds no images")
        return found
    if place.exists():
        return [_Found(place, Path(place.name), _real(place.parent).name)]
    if not glob.has_magic(str(path)):
        raise DataError(
            f"there is no file or folder {path}; give images, folders of images or patterns"
        )
    parts = place.parts
    first = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    root = Path(*parts[:first])
    found = [
        _Found(file, file.relative_to(root), _real(root).name)
        for file in sorted(root.glob(str(Path(*parts[first:]))))
        if is_image_name(file.name) and not file.is_dir() and not _is_hidden(file.relative_to(root))
    ]
    if not found:
        raise DataError(f"the pattern {path} finds no images")
    return found


def _walk(folder: Path, output: Path) -> Iterator[_Found]:
    """Images below a folder, through linked folders too, and folders that cannot be read."""
    unread: list[OSError] = []
    given = _real(folder).name
    for place, names in walk_folders(folder, (str(output),), unread.append):
        for name in names:
            file = place / name
            relative = file.relative_to(folder)
            if is_image_name(name):
                yield _Found(file, relative, given)
            elif _is_broken_link(file):
                reason = "a link that leads nowhere; mend or remove it"
                yield _Found(file, relative, given, reason)
    for error in unread:
        place = Path(error.filename)
        reason = f"the folder cannot be read ({(error.strerror or str(error)).lower()})"
        yield _Found(place, place.relative_to(folder), given, reason)


def _is_broken_link(file: Path) -> bool:
    """Whether it is a link that seems to mean a folder and leads nowhere, or to itself."""
    if _is_hidden(Path(file.name)) or file.suffix or not file.is_symlink():
        return False
    try:
        return not file.exists()
    except OSError:
        return True


def _is_hidden(place: Path) -> bool:
    return any(part.startswith(".") for part in place.parts)


def _listed(list_: str | Path) -> list[_Found]:
    files = [Path(line) for line in read_names(list_)]
    if not files:
        raise DataError(f"the list {list_} is empty; write the path of one image a line")
    places = [Path(os.path.abspath(file)) for file in files]  # noqa: PTH100 -- links stay links
    shared = os.path.commonpath([place.parent for place in places])
    return [
        _Found(file, at.relative_to(shared), Path(shared).name)
        for file, at in zip(files, places, strict=True)
    ]


def output_path(
    folder: Path,
    kind: str,
    save: Sequence[str],
    job: Job,
    format: str = "png",  # noqa: A002
) -> Path:
    """Where one output of a job goes: one kind directly, several into a subfolder each."""
    return (folder / kind if len(save) > 1 else folder) / job.name.with_suffix(f".{format}")
