"""`dsunet data import`, and what `dsunet train --data annotations.json` does first."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from jsonargparse import Namespace

from dsunet.cli.output import Progress, fail, print_failures, print_line
from dsunet.cli.parser import GIVEN, Command, Parser, words_of
from dsunet.config.classes import as_classes
from dsunet.errors import ConfigError, DataError, few
from dsunet.support.ranks import Ranks

if TYPE_CHECKING:
    from dsunet.data.labels.annotated import Annotated
    from dsunet.data.labels.importing import Imported

__all__ = ["DATA_IMPORT", "import_first"]

# Settings of a training that tell how masks are named and read, which an import makes.
_OF_MASKS = ("masks", "mask_suffix", "object_values", "ignore_value", "class_table")


def _import_arguments(parser: Parser) -> None:
    from dsunet.data.labels.sniff import FORMATS

    parser.add_argument(
        "source", type=str, help="The file of labels (instances.json, say), or a folder with them."
    )
    parser.add_argument(
        "--output",
        required=True,
        type=str,
        help="A new or empty folder for images/ (copies, byte by byte), masks/ and labels.json; or "
        "one that the same import was interrupted in.",
    )
    parser.add_argument(
        "--format",
        choices=FORMATS,
        default="auto",
        help="Of the labels: COCO's JSON; YOLO's polygons with data.yaml; Pascal VOC's "
        "SegmentationClass, or XML with polygons; LabelMe's JSON; CVAT for images (XML); MVTec's "
        "folders; folders of classes; masks in folders of other names, or beside their images. "
        "auto looks which it is.",
    )
    parser.add_argument(
        "--images",
        type=str,
        help="Folder that the pictures lie in, if not in or beside SOURCE.",
    )
    parser.add_argument("--masks", type=str, help="Folder of masks, of the format masks.")
    parser.add_argument(
        "--mask_suffix",
        type=str,
        help="What masks' names have behind their images', without the ending, where masks are "
        "files: _mask.",
    )
    parser.add_argument(
        "--missing_masks",
        choices=("error", "empty"),
        default="error",
        help="What of pictures without a mask, where masks are files: they are left out and told "
        "of, or show no object.",
    )
    parser.add_argument(
        "--classes",
        type=str,
        help="Names of the classes that are object, separated by commas, or values of masks (1,2 "
        "or #ff0000); all if not given. Everything else is background.",
    )
    parser.add_argument(
        "--by_class",
        action="store_true",
        help="Write the class's number, from 1 on, instead of 255, the smaller object on top; "
        "train on all of them as classes by --class-table OUTPUT/classes.csv, or on some as one "
        "object by --object-values.",
    )
    parser.add_argument(
        "--link",
        action="store_true",
        help="Hard links to the pictures instead of copies, where the file system has them.",
    )


def _import(arguments: Namespace) -> int:
    from dsunet.data.labels.formats import read_labels

    classes = None if arguments.classes is None else words_of(str(arguments.classes))
    if classes == []:
        raise ConfigError("--classes names none; give some, or leave it out")
    found = read_labels(
        arguments.source,
        format=arguments.format,
        images=arguments.images,
        masks=arguments.masks,
        mask_suffix=arguments.mask_suffix,
        missing_masks=arguments.missing_masks,
        output=arguments.output,
    )
    how = {"by_class": arguments.by_class, "link": arguments.link}
    report = _carry_out("dsunet data import", found, arguments.output, classes, **how)
    if report is None:
        return 130
    print_line(f"look at them: {_next(arguments.output, report)}")
    return 0 if report.complete else 1


def _carry_out(
    command: str,
    found: Annotated,
    output: str,
    classes: list[str] | None,
    *,
    by_class: bool,
    link: bool,
) -> Imported | None:
    """Imports, and says what came of it; `None` if it was interrupted, which is said, too."""
    from dsunet.data.labels.importing import Imported, import_labels

    report = Imported()
    try:
        with Progress("importing") as progress:
            import_labels(
                found,
                output,
                classes=classes,
                by_class=by_class,
                link=link,
                progress=progress,
                report=report,
            )
    except KeyboardInterrupt:
        done = f"{report.written + report.skipped} of {len(found.pictures)} pictures are done"
        fail(command, f"interrupted; {done}: the same command goes on", 130)
        return None
    for line in _told(report):
        print_line(line)
    print_failures(
        command,
        [f"{name}: {reason}" for name, reason in report.failures],
        f"were left out; all are listed in {output}/failures.csv",
    )
    if report.unclear:
        fail(command, report.unclear, 1)
    skipped = f"; {report.skipped} were there already" if report.skipped else ""
    objects = f" ({report.objects} objects)" if report.objects else ""
    print_line(
        f"{report.written} pairs written to {output}/images and masks, from labels of "
        f"the format {report.format}{objects}{skipped}"
    )
    return report


def import_first(arguments: Namespace) -> int:
    """Makes images and masks of the labels that `--data` of a training names, beside its folder.

    `--data` is a pair of folders afterwards, with the flags that tell how its masks are read; with
    `--classes` each class has its value. Nothing is done if `--data` names images and masks.

    Returns:
        The exit status: 0, unless the import was interrupted or cannot be trained on.

    Raises:
        ConfigError: Something else that is given does not go with labels.
        DataError: The labels cannot be read.
        OutputError: The folder beside the training's cannot be written to.
    """
    if arguments.data is None or not _is_of_labels(arguments):
        return 0
    from dsunet.data.labels.formats import read_labels
    from dsunet.data.labels.importing import CLASSES
    from dsunet.data.labels.wanted import IGNORED

    told = [name for name in _OF_MASKS if arguments[name] is not None]
    if told or Ranks.found().world > 1 or arguments.devices != 1 or arguments.num_nodes != 1:
        reason = f"`{told[0]}` is about masks" if told else "one process imports"
        raise ConfigError(
            f"--data {arguments.data} is a file or folder of labels, and {reason}; make images and "
            "masks first: dsunet data import"
        )
    folder = Path(arguments.output)
    folder = folder if folder.name not in ("", "..") else folder.resolve()
    output = str(folder.with_name(f"{folder.name}-data"))
    classes = list(as_classes(arguments.classes)) or None
    found = read_labels(arguments.data, images=arguments.images, output=output)
    by_class = classes is not None
    report = _carry_out("dsunet train", found, output, classes, by_class=by_class, link=False)
    if report is None:
        return 130
    if report.unclear:
        return 1
    told_now: dict[str, object] = {"data": output, "images": None, "classes": None}
    if by_class:
        told_now["class_table"] = f"{output}/{CLASSES}"
    elif report.ignored:
        told_now["ignore_value"] = IGNORED
    for name, value in told_now.items():
        arguments[name] = value
    stand = {name for name, value in told_now.items() if value is not None}
    arguments[GIVEN] = (arguments[GIVEN] - told_now.keys()) | stand
    return 0


def _is_of_labels(arguments: Namespace) -> bool:
    """Whether `--data` is a file of labels, or a folder that has them and no masks."""
    from dsunet.data.labels.sniff import LABEL_SUFFIXES
    from dsunet.data.pairing import pair_up
    from dsunet.data.places import LabelsError

    place = Path(arguments.data)
    if place.is_file() and place.suffix.lower() not in LABEL_SUFFIXES:  # an archive, say
        return False
    classes = as_classes(arguments.classes)
    try:
        pair_up(place, mask_suffix=arguments.mask_suffix, classes=classes)
    except LabelsError:
        return True
    except DataError:  # told of by the training
        return False
    return False


def _next(output: str, report: Imported) -> str:
    """The command that looks at what was written."""
    from dsunet.data.labels.importing import CLASSES

    if any(value != 255 for value in report.values):
        flags = f" --class-table {shlex.quote(f'{output}/{CLASSES}')}"
    else:
        flags = " --ignore-value 128" if report.ignored else ""
    return f"dsunet data check {shlex.quote(output)}{flags} --sheet sheet.png"


def _told(report: Imported) -> list[str]:
    """What is to be known about the labels, a line each."""
    values = [f"value {value} of the masks: {name}" for value, name in report.values.items()]
    counted = [
        f"{count} {what}" + (f" ({few(names)})" if names else "")
        for count, what, names in (
            (
                len(report.empty),
                "pictures have no such object: their masks are empty",
                report.empty,
            ),
            (report.pixelless, "objects have no pixel: without area, or outside the picture", []),
            (
                report.overlaps,
                "pictures have objects of several classes over each other: the smaller is on top",
                [],
            ),
            (
                report.ignored,
                "masks have pixels that do not count, which training needs to be told",
                [],
            ),
            (
                report.turned,
                "pictures are turned by EXIF, and their labels fit either way: taken as drawn "
                "upright; look at the sheet",
                [],
            ),
            (len(report.unlisted), "pictures are not in the labels: left out", report.unlisted),
            (report.lost, "labels are of pictures that are not listed or not there: left out", []),
        )
        if count
    ]
    return [*values, *report.said, *counted]


DATA_IMPORT = Command(
    "Make images and masks of labels in another format: COCO, YOLO, VOC, LabelMe, CVAT, MVTec.",
    "  dsunet data import annotations.json --output imported\n"
    "  dsunet data import annotations.json --images PICTURES --output holes --classes hole\n"
    "  dsunet data import EXPORT --format labelme --output outlines\n"
    "  dsunet data import EXPORT --output classes --by-class\n",
    _import_arguments,
    _import,
)
