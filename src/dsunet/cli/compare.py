"""`dsunet compare`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from jsonargparse import Namespace

from dsunet.cli.output import Progress, print_failures, print_table, visible
from dsunet.cli.parser import (
    LIST_HELP,
    Command,
    Parser,
    add_max_pixels,
    add_reading_arguments,
    add_sharing_workers,
    reading_of,
    sharing_workers,
)
from dsunet.config import Measuring, MeasuringProtocol
from dsunet.errors import ConfigError, DataError, few, perhaps

if TYPE_CHECKING:
    from dsunet.metrics import Comparison
    from dsunet.support.tables import Table

__all__ = ["COMPARE", "name_methods"]

PROG = "dsunet compare"


def _compare_arguments(parser: Parser) -> None:
    parser.add_argument(
        "folders",
        nargs="+",
        type=str,
        help="Folders of grey maps, one for each method; NAME=DIR names a method otherwise than "
        "by its folder.",
    )
    parser.add_argument(
        "--masks", required=True, type=str, help="Folder of masks with the same stems."
    )
    parser.add_argument("--list", type=str, help=LIST_HELP)
    parser.add_argument(
        "--measures",
        type=str,
        help="Which measures, separated by commas: S, F, Fmax, Fmean, Fw, E, Emax, Eadp, MAE, "
        "Dice, IoU, mDice, mIoU, Dicemax, IoUmax, BIoU; all by default.",
    )
    parser.add_argument(
        "--published",
        type=str,
        help="Put the published results on this data set beside: DUTS-TE, COD10K, say.",
    )
    parser.add_argument(
        "--output",
        type=str,
        help="Folder for the table (Markdown, LaTeX, CSV, JSON), the scores of every image, and "
        "the figures (PNG, PDF).",
    )
    parser.add_argument(
        "--images", type=str, help="Folder of images, to be shown beside their maps."
    )
    parser.add_argument(
        "--differ",
        type=str,
        help="Show the images on which these two methods differ most: A,B; the first two by "
        "default.",
    )
    parser.add_argument(
        "--differ_by", type=str, help="The measure by which they differ; S by default."
    )
    parser.add_argument("--rows", type=int, default=6, help="How many such images to show.")
    add_sharing_workers(parser)
    parser.add_argument(
        "--protocol",
        type=MeasuringProtocol | None,
        help="How maps are measured: raw, as they are, and images without an object apart, by "
        "their false alarms; benchmark, the paper's, stretches each map to its full range first "
        "and averages over all images. By default raw, and benchmark beside --published.",
    )
    parser.add_argument(
        "--threshold",
        type=float,
        default=0.5,
        help="Probability from which a pixel is object, for Dice, IoU, BIoU and false alarms; "
        "above 0 and at most 1.",
    )
    add_reading_arguments(parser)
    add_max_pixels(parser)


def _compare(arguments: Namespace) -> int:
    from dsunet.data.pairs import read_names
    from dsunet.metrics import compare_folders
    from dsunet.metrics.comparison_table import comparison_table
    from dsunet.metrics.published import published_rows

    asked = _asked(arguments)
    published = published_rows(arguments.published) if arguments.published else []
    names = read_names(arguments.list) if arguments.list else None
    _check_figures(arguments)
    workers = sharing_workers(arguments)
    with Progress("comparing") as progress:
        result = compare_folders(
            asked.methods,
            arguments.masks,
            names,
            asked.measures,
            progress,
            workers,
            protocol=asked.measuring.protocol,
            threshold=asked.measuring.threshold,
            reading=reading_of(arguments),
        )
    count = f"{len(result.names)} images"
    title = f"{published[0].dataset}, {count}" if published else count
    table = comparison_table(result, published, title)
    print_table(table)
    lost = _write_all(result, table, asked, arguments) if arguments.output else []
    _remark(result)
    print_failures(PROG, lost, "are missing in the grid")
    print_failures(PROG, _reasons(result), f"count for no method ({few(result.left_out)})")
    return 1 if result.left_out or lost else 0


class _Asked(NamedTuple):
    """What is compared."""

    methods: dict[str, Path]
    """Folders of maps by the names of their methods."""
    measures: tuple[str, ...]
    pair: tuple[str, str] | None
    """The two methods whose differences are shown."""
    key: str
    """The measure by which they differ."""
    measuring: Measuring


def _asked(arguments: Namespace) -> _Asked:
    """What to compare; raises `ConfigError` or `DataError` if that makes no sense."""
    from dsunet.metrics import ALL_MEASURES
    from dsunet.metrics.definitions import check_measures, measure_key

    if arguments.rows < 1:
        raise ConfigError(f"--rows is {arguments.rows}, but needs at least 1")
    methods = name_methods(arguments.folders)
    measures = tuple(ALL_MEASURES)
    if arguments.measures is not None:
        measures = check_measures(_split(arguments.measures))
    pair = _pair(arguments.differ, list(methods))
    usual = "S" if "S" in measures else measures[0]
    key = measure_key(arguments.differ_by) if arguments.differ_by else usual
    if key not in measures:
        raise ConfigError(
            f"--differ-by is {key!r}, but needs one of {', '.join(measures)}"
            + perhaps(key, measures)
        )
    return _Asked(methods, measures, pair, key, _measuring(arguments))


def _measuring(arguments: Namespace) -> Measuring:
    """How to measure: beside published values by the paper's protocol, which they are by."""
    beside = arguments.published is not None
    if beside and arguments.protocol == "raw":
        raise ConfigError(
            "--protocol is raw, but the values of --published are by the paper's; leave out one "
            "of them"
        )
    usual: MeasuringProtocol = "benchmark" if beside else "raw"
    return Measuring(arguments.protocol or usual, arguments.threshold)


def _check_figures(arguments: Namespace) -> None:
    """Finds out early whether figures can be drawn and written, if they are asked for."""
    from dsunet.data.pairs import list_images
    from dsunet.support.files import check_writable
    from dsunet.visualize.figures import require_matplotlib

    if arguments.output:
        require_matplotlib()
        check_writable(Path(arguments.output))
        if arguments.images:
            list_images(arguments.images)
    elif given := [f"--{flag}" for flag in ("images", "differ", "differ_by") if arguments[flag]]:
        raise ConfigError(f"{' and '.join(given)} shape the figures; give --output DIR for them")


def _write_all(result: Comparison, table: Table, asked: _Asked, arguments: Namespace) -> list[str]:
    """Writes table, scores and figures; returns why images are not shown."""
    from dsunet.metrics.comparison_table import write_per_image

    output = Path(arguments.output)
    table.write(output / "table")
    write_per_image(result, output / "per_image.csv")
    _draw_curves(result, output)
    for ending in ("png", "pdf"):  # of an earlier comparison; there may be none now
        (output / f"differences.{ending}").unlink(missing_ok=True)
    lost = []
    if asked.pair:
        lost = _draw_differences(result, asked.methods, arguments, asked.pair, asked.key)
    print(f"table, scores of every image and figures are in {visible(str(output))}")
    return lost


def name_methods(folders: Sequence[str]) -> dict[str, Path]:
    """Folders by the names of their methods.

    A folder gives its name, with as much of the path in front as tells it from the others.

    Args:
        folders: Each `DIR` or `NAME=DIR`.

    Raises:
        DataError: A folder is not there.
        ConfigError: A name, or a folder without one, is given twice.
    """
    paths, names = [], []
    for given in folders:
        name, equals, rest = given.partition("=")
        named = bool(equals and name) and not Path(given).is_dir()
        folder = Path(rest if named else given)
        if not folder.is_dir():
            raise DataError(
                f"there is no folder {folder}; give folders of maps, each as DIR or NAME=DIR"
            )
        paths.append(folder)
        names.append(name if named else "")
    parts = [path.resolve().parts for path in paths]
    depths = [1] * len(paths)
    while True:
        found = [
            name or "/".join(part[-depth:])
            for name, part, depth in zip(names, parts, depths, strict=True)
        ]
        counts = Counter(found)
        clashing = [i for i, name in enumerate(found) if counts[name] > 1]
        if not clashing:
            return dict(zip(found, paths, strict=True))
        growing = [i for i in clashing if not names[i] and depths[i] < len(parts[i])]
        if not growing:
            raise ConfigError(
                f"two methods are called {found[clashing[0]]!r}; give each a name by NAME=DIR"
            )
        for i in growing:
            depths[i] += 1


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _pair(given: str | None, methods: Sequence[str]) -> tuple[str, str] | None:
    """The two methods whose differences are shown; none if there is only one."""
    if given is None:
        return (methods[0], methods[1]) if len(methods) > 1 else None
    wanted = _split(given)
    if len(set(wanted)) != 2 or len(wanted) != 2 or not set(wanted) <= set(methods):
        raise ConfigError(
            f"--differ is {given!r}, but needs two of {', '.join(methods)}, separated by a comma"
        )
    return wanted[0], wanted[1]


def _draw_curves(result: Comparison, output: Path) -> None:
    """Draws curves over thresholds, and histograms."""
    from dsunet.metrics import ALL_MEASURES
    from dsunet.visualize.comparison import plot_histograms, plot_precision_recall, plot_thresholds

    curves = {method: each.curves for method, each in result.evaluations.items()}
    scores = {method: each.per_image for method, each in result.evaluations.items()}
    measures = next(iter(result.evaluations.values())).scores
    if any(not each for each in curves.values()):
        print("no mask has an object, so there are no curves and histograms to draw")
        return
    plot_precision_recall(curves, output / "precision_recall")
    plot_thresholds(curves, output / "thresholds")
    plot_histograms(
        scores, {key: ALL_MEASURES[key].title for key in measures}, output / "histograms"
    )


def _draw_differences(
    result: Comparison,
    methods: Mapping[str, Path],
    arguments: Namespace,
    pair: tuple[str, str],
    key: str,
) -> list[str]:
    """Draws the images on which two methods differ most; returns why images are not shown."""
    from dsunet.data.pairs import by_stem, list_images
    from dsunet.metrics import ALL_MEASURES
    from dsunet.visualize.differences import difference_grid, most_different, read_grid_row

    scores = {
        # an image without an object may have no such score
        method: {name: values[key] for name, values in each.per_image.items() if key in values}
        for method, each in result.evaluations.items()
    }
    chosen = most_different(scores[pair[0]], scores[pair[1]], arguments.rows)
    if not chosen:
        both = visible(f"{pair[0]} and {pair[1]}")
        print(f"{both} have the same {key} on every image, so there is no grid")
        return []
    masks = by_stem(list_images(arguments.masks))
    maps = {method: by_stem(list_images(folder)) for method, folder in methods.items()}
    images = by_stem(list_images(arguments.images)) if arguments.images else {}
    rows, reasons = [], []
    for name in chosen:
        image = images.get(name)
        if arguments.images and image is None:
            reasons.append(f"{arguments.images} has no image of the stem {name}")
        facts = result.objects[name]
        objects = "1 object" if facts.count == 1 else f"{facts.count} objects"
        about = f"{objects}, {100 * facts.share:.1f} %"
        files = {method: found[name] for method, found in maps.items()}
        values = {method: each[name] for method, each in scores.items()}
        try:
            row = read_grid_row(name, image, masks[name], files, values, about)
        except DataError as error:
            reasons.append(str(error))
            row = read_grid_row(name, None, masks[name], files, values, about)
        rows.append(row)
    measure = ALL_MEASURES[key]
    base = Path(arguments.output, "differences")
    difference_grid(rows, measure.title, pair, base, measure.higher_is_better)
    return reasons


def _remark(result: Comparison) -> None:
    """Prints what is odd about the maps."""
    for method, each in result.evaluations.items():
        if each.resized:
            print(
                f"{visible(method)}: {len(each.resized)} maps had another size than their mask and "
                f"were resized to it ({few(each.resized)})"
            )
        if each.turned:
            print(
                f"{visible(method)}: {len(each.turned)} maps lie across their mask "
                f"({few(each.turned)}): predict such images with --ignore-orientation"
            )
    empty = [name for name, facts in result.objects.items() if not facts.count]
    if empty and next(iter(result.evaluations.values())).protocol == "benchmark":
        print(f"{len(empty)} masks are empty; F is 0 for them, whatever the map ({few(empty)})")


def _reasons(result: Comparison) -> list[str]:
    """Why images were left out, one line for each."""
    return [
        "; ".join(
            dict.fromkeys(
                each.failures[name] for each in result.evaluations.values() if name in each.failures
            )
        )
        for name in result.left_out
    ]


COMPARE = Command(
    "Compare methods' maps: tables, curves, histograms, and the images on which they differ.",
    "  dsunet compare MAPS OTHER_MAPS --masks DIR/masks --list RUN/val.txt\n"
    "  dsunet compare Ours=MAPS OTHER_MAPS --masks DIR/masks --list RUN/val.txt "
    "--images DIR/images --published DUTS-TE --output COMPARED\n",
    _compare_arguments,
    _compare,
)
