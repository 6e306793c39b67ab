"""`dsunet data import`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jsonargparse import Namespace

from dsunet.cli.output import Progress, print_line
from dsunet.cli.parser import Command, Parser
from dsunet.errors import few

if TYPE_CHECKING:
    from dsunet.data.coco import CocoImport

__all__ = ["DATA_IMPORT"]


def _import_arguments(parser: Parser) -> None:
    parser.add_argument(
        "format", choices=("coco",), help="Of the annotations: coco (polygons and run lengths)."
    )
    parser.add_argument("file", type=str, help="The file of annotations, instances.json, say.")
    parser.add_argument(
        "--images", required=True, type=str, help="Folder that the annotated pictures lie in."
    )
    parser.add_argument(
        "--output",
        required=True,
        type=str,
        help="A new or empty folder for images/ (hard links where possible, else copies), masks/ "
        "and classes.json.",
    )
    parser.add_argument(
        "--classes",
        type=str,
        help="Names or numbers of the classes that are object, separated by commas; all if not "
        "given.",
    )
    parser.add_argument(
        "--by_class",
        action="store_true",
        help="Write the class's number, from 1 on, instead of 255; train on some of them by "
        "--object-values.",
    )


def _import(arguments: Namespace) -> int:
    from dsunet.data.coco import import_coco

    classes = None
    if arguments.classes is not None:
        classes = [name.strip() for name in arguments.classes.split(",") if name.strip()]
    with Progress("importing") as progress:
        result = import_coco(
            arguments.file,
            arguments.images,
            arguments.output,
            classes=classes,
            by_class=arguments.by_class,
            progress=progress,
        )
    for value, name in result.classes.items():
        print_line(f"value {value} of the masks: {name}")
    for line in _told(result):
        print_line(line)
    print_line(f"{result.written} pairs written to {arguments.output}/images and masks")
    return 1 if result.missing or result.homeless else 0


def _told(result: CocoImport) -> list[str]:
    """What is odd about the annotations, a line each."""
    return [
        f"{count} {what}" + (f" ({few(names)})" if names else "")
        for count, what, names in (
            (
                len(result.empty),
                "pictures have no such object: their masks are empty",
                result.empty,
            ),
            (
                result.crowds,
                "annotations are of whole groups (iscrowd), and object like others",
                [],
            ),
            (len(result.unlisted), "files are not in the annotations: left out", result.unlisted),
            (len(result.missing), "annotated pictures are not there: left out", result.missing),
            (result.homeless, "annotations are of pictures that are not listed: left out", []),
        )
        if count
    ]


DATA_IMPORT = Command(
    "Make images and masks of annotations in another format: COCO.",
    "  dsunet data import coco annotations.json --images PICTURES --output imported\n"
    "  dsunet data import coco annotations.json --images PICTURES --output holes --classes hole\n"
    "  dsunet data import coco annotations.json --images PICTURES --output classes --by-class\n",
    _import_arguments,
    _import,
)
