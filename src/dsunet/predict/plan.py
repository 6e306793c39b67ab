"""Which images are meant, and where their outputs go."""

from __future__ import annotations

import hashlib
import itertools
import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import NamedTuple

from dsunet.data.pairs import resolve_names
from dsunet.data.remote import Remote, file_system
from dsunet.errors import DataError, OutputError
from dsunet.predict.found import Found, find, in_table, listed, real

__all__ = ["Job", "Planned", "output_path", "plan", "plan_outputs"]


@dataclass(frozen=True)
class Job:
    """An image to segment, and the name of its outputs relative to the output folder."""

    image: Path | Remote
    name: Path
    trouble: str = ""
    """Why there will be no outputs: the image is a folder that cannot be read, say."""
    told_apart: bool = False
    """Whether another image has the same stem, so that the name has more of the image's path."""


class Planned(NamedTuple):
    """A job while there are millions of them."""

    name: str
    found: Found
    trouble: str = ""
    told_apart: bool = False

    def job(self) -> Job:
        """The same for whoever does it."""
        return Job(self.found.place, Path(self.name), self.trouble, self.told_apart)


def plan_outputs(
    paths: Sequence[str | Path],
    output: str | Path,
    save: Sequence[str] = ("probability",),
    names: Sequence[str] | None = None,
    files_from: str | Path | None = None,
    format: str = "png",  # noqa: A002 -- as in `Options`
    from_parquet: str | Path | None = None,
    column: str | None = None,
) -> list[Job]:
    """The images meant by files, folders, patterns and addresses, each with its output's name.

    A file `photo.jpg` becomes `photo.png`. A file found below a given folder (searched recursively,
    but for hidden folders), or by a pattern like `photos/**/*.jpg`, keeps its subfolder; files from
    a list or a table keep theirs below the deepest folder that all of them share, and so do
    addresses. What lies in `output` itself is not searched.

    Images of one stem keep their ending (`a.jpg.png` and `a.png.png` of `a.jpg` and `a.png`); of
    the same name in two given folders, these folders' names come in front. What still has another
    image's name, and folders that cannot be read, become jobs with a `trouble`.

    Args:
        paths: Images, folders and patterns; addresses of files (of the schemes of
            `dsunet.data.remote`), and of folders and patterns in object stores.
        output: Folder that will be written to.
        save: What will be written there, see `Options`.
        names: Take these stems only, such as those of a run's `val.txt`.
        files_from: Text file with the path or address of one image a line. One that does not exist
            is reported like a broken image later, and does not stop the others.
        format: Of the files that will be written, see `Options`.
        from_parquet: Parquet file, or folder of such files, with a path or address a row.
        column: Which of its columns holds them; needed if several hold texts.

    Raises:
        DataError: A path does not exist, no image is found, or a name of the list is not found.
        OutputError: An image would be overwritten by an output, or `output` is a folder of images
            that is given.
    """
    return [
        each.job()
        for each in plan(
            paths,
            output,
            save,
            names=names,
            files_from=files_from,
            format=format,
            from_parquet=from_parquet,
            column=column,
        )
    ]


def plan(
    paths: Sequence[str | Path],
    output: str | Path,
    save: Sequence[str] = ("probability",),
    *,
    names: Sequence[str] | None = None,
    files_from: str | Path | None = None,
    format: str = "png",  # noqa: A002
    from_parquet: str | Path | None = None,
    column: str | None = None,
) -> list[Planned]:
    """As `plan_outputs`, in less memory."""
    if not str(output) or not all(map(str, paths)):
        raise DataError("an empty name was given for a file or folder; name it, or . for this one")
    folder = Path(os.path.realpath(output))
    _refuse_input_folder(paths, folder, output)
    found = [each for path in paths for each in find(path, folder)]
    if files_from is not None:
        found += listed(files_from)
    if from_parquet is not None:
        found += in_table(from_parquet, column)
    if not found:
        raise DataError("no images are given; name files, folders, patterns or a list of files")
    for scheme in {f.file.uri.partition(":")[0] for f in found if isinstance(f.file, Remote)}:
        file_system(scheme.lower())  # what it needs is missed now, not at the first image
    unread = dict.fromkeys(each for each in found if each.trouble)
    images = _each_once([each for each in found if not each.trouble])
    if names is not None:
        images = _selected(images, names)
    jobs = sorted(_named(images), key=_parts_of)
    jobs += [Planned(each.relative, each, each.trouble) for each in unread]
    _refuse_to_overwrite(jobs, folder, save, format)
    return jobs


def _parts_of(job: Planned) -> list[str]:
    return job.name.split(os.sep)  # noqa: PTH206 -- of millions


def _each_once(found: list[Found]) -> list[Found]:
    """Without files that are meant twice, which have one name, too."""
    count = Counter(map(_plain_name, found))
    if len(count) == len(found):
        return found
    once: dict[tuple[str, str], Found] = {}
    kept = []
    for each in found:
        name = _plain_name(each)
        if count[name] > 1 and once.setdefault((_key(each), name), each) is not each:
            continue
        kept.append(each)
    return kept


def _key(each: Found) -> str:
    """What tells files apart, whatever links lead to them."""
    return each.file.uri if isinstance(each.file, Remote) else os.path.realpath(each.file)


def _selected(images: list[Found], names: Sequence[str]) -> list[Found]:
    """Those whose stems, with their folders or without, are in a list, all of which are there."""
    stems = [{unicodedata.normalize("NFC", PurePath(p).stem), p} for p in map(_path_of, images)]
    known, unknown = resolve_names(names, set().union(*stems))
    if unknown or not names:
        raise DataError(
            f"{len(unknown)} of the {len(names)} names in the list are not among the images "
            f"({', '.join(unknown[:20])})"
        )
    return [each for each, own in zip(images, stems, strict=True) if own & known]


def _path_of(each: Found) -> str:
    """A pair's name of an image in a folder below the one that is given."""
    return unicodedata.normalize("NFC", PurePath(each.relative).with_suffix("").as_posix())


def _named(images: Sequence[Found]) -> Iterator[Planned]:
    """A job for each, of which no two write to one name."""
    ways: tuple[Callable[[Found], str], ...] = (_with_ending, _with_query, _with_folder)
    names = [_plain_name(each) for each in images]
    for way in ways:
        count = Counter(names)
        if len(count) == len(names):
            break
        names = [
            way(each) if count[name] > 1 else name for each, name in zip(images, names, strict=True)
        ]
    count = Counter(names)
    taken: dict[str, Found] = {}
    for each, name in zip(images, names, strict=True):
        if count[name] > 1 and (other := taken.setdefault(name, each)) is not each:
            trouble = f"its output {name} is that of {other.place}, too; rename one of them"
            yield Planned(name, each, trouble)
        else:
            yield Planned(name, each, told_apart=name != _plain_name(each))


def _plain_name(each: Found) -> str:
    stem, _ = os.path.splitext(each.relative)  # noqa: PTH122 -- of millions
    return f"{stem}.png"


def _with_ending(each: Found) -> str:
    return f"{each.relative}.png"


def _with_query(each: Found) -> str:
    """Of addresses that differ in what is asked for alone."""
    query = each.file.query if isinstance(each.file, Remote) else ""
    if not query:
        return _with_ending(each)
    stem, ending = os.path.splitext(each.relative)  # noqa: PTH122
    return f"{stem}-{hashlib.sha256(query.encode()).hexdigest()[:8]}{ending}.png"


def _with_folder(each: Found) -> str:
    return os.path.join(each.given, _with_query(each))  # noqa: PTH118


def _refuse_to_overwrite(
    jobs: Sequence[Planned],
    folder: Path,
    save: Sequence[str],
    format: str,  # noqa: A002
) -> None:
    inputs = set(_inputs_within(str(folder), (job.found for job in jobs)))
    if not inputs:
        return
    for job, kind in itertools.product([job for job in jobs if not job.trouble], save):
        if str(output_path(folder, kind, save, job.name, format)) in inputs:
            raise OutputError(
                f"the image {job.found.place} would be overwritten by a {kind} output; choose "
                "another `output`"
            )


def _inputs_within(folder: str, found: Iterable[Found]) -> Iterator[str]:
    """Paths without links of those files that are in the output folder or below it."""
    for each in found:
        if isinstance(each.file, Remote):
            continue
        place, name = os.path.split(each.file)
        if os.path.islink(each.file):  # noqa: PTH114 -- of millions
            path = os.path.realpath(each.file)
        else:
            path = os.path.join(real(place), name)  # noqa: PTH118
        if path.startswith(folder):
            yield path


def _refuse_input_folder(paths: Sequence[str | Path], folder: Path, output: str | Path) -> None:
    for path in paths:
        if Path(path).is_dir() and Path(os.path.realpath(path)) == folder:
            raise OutputError(
                f"{output} is the folder of the images itself, where outputs would be taken for "
                f"images next time; choose another `output`, such as {folder}-predictions"
            )


def output_path(
    folder: Path,
    kind: str,
    save: Sequence[str],
    name: str | Path,
    format: str = "png",  # noqa: A002
    part: str = "",
) -> Path:
    """Where one output of a job's name goes: one kind directly, several in a subfolder each.

    `part` is one of `Options.parts`, which have folders below that.
    """
    place = folder / kind if len(save) > 1 else folder
    return place / part / Path(name).with_suffix(f".{format}")
