"""`dsunet data check` and `dsunet generate`."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jsonargparse import Namespace

from dsunet.cli.output import Progress, check_outputs, print_line
from dsunet.cli.parser import (
    Command,
    Parser,
    add_classes_argument,
    add_intensity,
    add_model_argument,
    model_of,
    pick,
)
from dsunet.config import DataConfig, ModelConfig, as_size
from dsunet.errors import ConfigError, DataError
from dsunet.support.files import write_json, write_png

if TYPE_CHECKING:
    from dsunet.data import Pair
    from dsunet.data.catalogue.find import FoundSet
    from dsunet.network.source import CustomSource

__all__ = ["DATA_CHECK", "GENERATE"]

# Arguments that only mean something for one folder of images/ and masks/.
_OF_ONE_SET = (
    "images",
    "masks",
    "mask_suffix",
    "val",
    "val_fraction",
    "fold",
    "group_by",
    "stratify",
    "train_list",
    "val_list",
    "limit",
    "object_values",
    "ignore_value",
    "invert",
    "class_table",
    "classes",
    "sheet",
)


def _data_check_arguments(parser: Parser) -> None:
    parser.add_argument(
        "data",
        nargs="?",
        type=str,
        help="Folder, or .tar file, that holds images/ and masks/; or a folder below which the "
        "field's public sets lie (DUTS-TE, CAMO, …): those of --task, or all, are checked then.",
    )
    parser.add_class_arguments(DataConfig, skip={"data"})
    parser.add_argument("--seed", type=int, default=0, help="Seed of the split and the flips.")
    parser.add_argument("--json", type=str, help="Write all findings here.")
    parser.add_argument(
        "--sheet", type=str, help="Draw random pairs, as files and as the model sees them, here."
    )
    parser.add_argument("--rows", type=int, default=8, help="Pairs on the sheet.")
    add_model_argument(
        parser, "Whose view to check and draw", "its code is run for the size of its view"
    )
    parser.add_argument(
        "--sam_size",
        type=int | tuple[int, int],
        help="Side, or height and width, of the view in pixels, where it is not the model's.",
    )
    add_intensity(parser)
    add_classes_argument(
        parser,
        "Names of the classes of masks with several, separated by commas, as in dsunet train",
    )
    parser.add_argument(
        "--exclusive",
        type=bool,
        default=True,
        help="Of classes: a pixel is of one at most, so that the smaller is on top.",
    )


def _data_check(arguments: Namespace) -> int:
    from dsunet.data.checks.look import check_split
    from dsunet.data.split import split_data

    check_outputs(arguments.json, arguments.sheet)
    if arguments.sheet and Path(arguments.sheet).suffix.lower() != ".png":
        raise ConfigError(f"--sheet is {arguments.sheet!r}, but needs a name that ends with .png")
    if arguments.rows < 1:
        raise ConfigError(f"--rows is {arguments.rows}, but needs at least 1")
    model = model_of(arguments, ("sam_size", "intensity"))
    if found := _public_sets(arguments):
        return _check_public_sets(found, arguments)
    config = pick(DataConfig, arguments)
    split = split_data(config, arguments.seed, _classes(arguments), arguments.exclusive)
    split = split.seen_with(model.intensity or "full")
    with Progress("checking") as progress:
        size = model.sam_size
        view = None if size is None else as_size(size)
        report = check_split(
            split,
            full=config.check == "full",
            view=view,
            tiling=config.tiling,
            progress=progress,
        )
    for line in report.lines(limit=10):
        print_line(line)
    if arguments.json:
        report.write_json(Path(arguments.json))
    if arguments.sheet:
        _draw_sheet(split.training, model, config, arguments)
    errors, warnings = len(report.of("error")), len(report.of("warning"))
    print(
        f"{report.training:,} training and {report.validation:,} validation pairs checked in "
        f"{report.seconds:.1f} s: {errors} errors, {warnings} warnings"
    )
    return 1 if errors else 0


def _classes(arguments: Namespace) -> tuple[str, ...]:
    """Those that are named, or those of the table."""
    from dsunet.config.classes import as_classes
    from dsunet.data.class_tables import classes_in

    table = arguments.class_table
    return as_classes(arguments.classes) or (classes_in(table) if table is not None else ())


def _public_sets(arguments: Namespace) -> dict[str, FoundSet]:
    """The public sets below the folder; none if it holds images/ and masks/ itself."""
    from dsunet.data.catalogue.find import find_sets
    from dsunet.data.catalogue.sets import task_named
    from dsunet.data.pairing import holds_both
    from dsunet.data.places import no_pairs

    if arguments.data is None or arguments.benchmarks is not None:
        return {}
    root, task = Path(arguments.data), arguments.task
    own = [(root / name).is_dir() for name in ("images", "masks")]
    if not root.is_dir() or all(own):
        return {}
    found = find_sets(root, task=task)
    if not found and not task and holds_both(root):
        return {}
    if not found and task:
        raise DataError(
            f"none of the public sets of {task} ({', '.join(task_named(task).names)}) was found up "
            f"to three folders below {root}; give their folder"
        )
    if not found and not any(own):
        raise no_pairs(root)
    given = [flag for flag in _OF_ONE_SET if arguments[flag] not in (None, 0.0)]
    if found and given:
        raise ConfigError(
            f"--{given[0]} is about one folder of images/ and masks/, but {root} holds public "
            f"sets ({', '.join(found)}); leave it out, or give the folder of one set"
        )
    return found


def _check_public_sets(found: dict[str, FoundSet], arguments: Namespace) -> int:
    from dsunet.data.catalogue.check import check_sets
    from dsunet.data.checks.findings import lines_of

    with Progress("checking") as progress:
        report = check_sets(found, full=arguments.check == "full", progress=progress)
    for line in report.table():
        print_line(line)
    for name, each in report.sets.items():
        for line in lines_of(each.findings):
            print_line(f"{name}: {line}" if not line.startswith(" ") else line)
    for line in lines_of(report.overlaps, limit=10):
        print_line(line)
    if arguments.json:
        write_json(Path(arguments.json), report.to_dict())
    errors = report.count("error")
    print(
        f"{len(report.sets)} sets of {report.pairs:,} pairs checked in {report.seconds:.1f} s: "
        f"{errors} errors, {report.count('warning')} warnings"
    )
    return 1 if errors else 0


def _draw_sheet(
    pairs: Sequence[Pair],
    model: ModelConfig | CustomSource,
    config: DataConfig,
    arguments: Namespace,
) -> None:
    from dsunet.data import PairDataset
    from dsunet.visualize import data_sheet

    seen = model if isinstance(model, ModelConfig) else model.network().config
    flips = (config.horizontal_flip, config.vertical_flip)
    dataset = PairDataset(
        pairs,
        as_size(seen.sam_size),
        None,
        flips=flips,
        crop=config.crop,
        colour=config.colour,
        changes=config.changes,
        draft=config.draft,
        seed=arguments.seed,
    )
    order = list(range(len(pairs)))
    random.Random(arguments.seed).shuffle(order)
    write_png(Path(arguments.sheet), data_sheet(dataset, order, arguments.rows))
    print(f"sheet: {arguments.sheet}")


def _generate_arguments(parser: Parser) -> None:
    parser.add_argument("--output", required=True, type=str, help="A new or empty folder.")
    parser.add_argument("--count", type=int, default=200, help="Number of pairs.")
    parser.add_argument("--size", type=int, default=224, help="Side of every image in pixels.")
    parser.add_argument("--seed", type=int, default=0, help="The same seed gives the same set.")
    parser.add_argument(
        "--object_size",
        type=int,
        help="Scatter small objects of about so many pixels over each image, instead of one that "
        "fills much of it.",
    )
    parser.add_argument(
        "--objects",
        type=int,
        help="With --object-size: how many an image has at most, by default 6; some have none.",
    )


def _generate(arguments: Namespace) -> int:
    from dsunet.data.synthetic import write_synthetic

    write_synthetic(
        arguments.output,
        arguments.count,
        arguments.size,
        arguments.seed,
        object_size=arguments.object_size,
        objects=arguments.objects,
    )
    print(f"{arguments.count} pairs written to {arguments.output}/images and masks")
    return 0


DATA_CHECK = Command(
    "Look for trouble in images and masks before training on them, and for leaks in public sets.",
    "  dsunet data check DIR\n"
    "  dsunet data check DIR --val-fraction 0.2 --sheet sheet.png --json findings.json\n"
    "  dsunet data check ROOT --task cod\n",
    _data_check_arguments,
    _data_check,
)


GENERATE = Command(
    "Make a set of textured objects on textured backgrounds, to try things out.",
    "  dsunet generate --output NEW --count 200\n",
    _generate_arguments,
    _generate,
)
