"""What `dsunet compare` writes and says: tables, figures, remarks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from dsunet.cli.output import visible
from dsunet.errors import DataError, few

if TYPE_CHECKING:
    from dsunet.metrics import Comparison
    from dsunet.support.tables import Table

__all__ = ["Differences", "reasons_of", "remark", "write_all"]


class Differences(NamedTuple):
    """Which images are shown, and beside what."""

    pair: tuple[str, str] | None
    """The two methods whose differences are shown; the first two of a set if not given."""
    key: str
    """The measure by which they differ."""
    rows: int
    masks: str
    images: str | None


def write_all(
    result: Comparison,
    table: Table,
    methods: Mapping[str, Path],
    differences: Differences,
    output: Path,
) -> list[str]:
    """Writes table, scores and figures of a data set; returns why images are not shown."""
    from dsunet.metrics.comparison_table import write_per_image

    table.write(output / "table")
    write_per_image(result, output / "per_image.csv")
    _draw_curves(result, output)
    for ending in ("png", "pdf"):  # of an earlier comparison; there may be none now
        (output / f"differences.{ending}").unlink(missing_ok=True)
    pair = differences.pair or tuple(methods)[:2]
    if len(pair) < 2 or not set(pair) <= set(methods):
        return []
    return _draw_differences(result, methods, differences, (pair[0], pair[1]), output)


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
    shown: Differences,
    pair: tuple[str, str],
    output: Path,
) -> list[str]:
    """Draws the images on which two methods differ most; returns why images are not shown."""
    from dsunet.data.pairs import by_stem, list_images
    from dsunet.metrics import ALL_MEASURES
    from dsunet.visualize.differences import difference_grid, most_different, read_grid_row

    key = shown.key
    scores = {
        # an image without an object may have no such score
        method: {name: values[key] for name, values in each.per_image.items() if key in values}
        for method, each in result.evaluations.items()
    }
    chosen = most_different(scores[pair[0]], scores[pair[1]], shown.rows)
    if not chosen:
        both = visible(f"{pair[0]} and {pair[1]}")
        print(f"{both} have the same {key} on every image, so there is no grid")
        return []
    masks = by_stem(list_images(shown.masks))
    maps = {method: by_stem(list_images(folder)) for method, folder in methods.items()}
    images = by_stem(list_images(shown.images)) if shown.images else {}
    rows, reasons = [], []
    for name in chosen:
        image = images.get(name)
        if shown.images and image is None:
            reasons.append(f"{shown.images} has no image of the stem {name}")
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
    base = output / "differences"
    difference_grid(rows, measure.title, pair, base, measure.higher_is_better)
    return reasons


def remark(result: Comparison, name: str = "") -> None:
    """Prints what is odd about the maps, of a set by its name."""
    front = visible(f"{name}: ") if name else ""
    for method, each in result.evaluations.items():
        if each.resized:
            print(
                f"{front}{visible(method)}: {len(each.resized)} maps had another size than their "
                f"mask and were resized to it ({few(each.resized)})"
            )
        if each.turned:
            print(
                f"{front}{visible(method)}: {len(each.turned)} maps lie across their mask "
                f"({few(each.turned)}): predict such images with --ignore-orientation"
            )
    empty = [name for name, facts in result.objects.items() if not facts.count]
    if empty and next(iter(result.evaluations.values())).protocol == "benchmark":
        print(
            f"{front}{len(empty)} masks are empty; F is 0 for them, whatever the map ({few(empty)})"
        )


def reasons_of(result: Comparison) -> list[str]:
    """Why images were left out, one line for each."""
    return [
        "; ".join(
            dict.fromkeys(
                each.failures[name] for each in result.evaluations.values() if name in each.failures
            )
        )
        for name in result.left_out
    ]
