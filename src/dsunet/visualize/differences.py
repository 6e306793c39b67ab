"""The images on which two methods differ most, as a grid: image, truth, methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dsunet.data.images import read_map, read_mask
from dsunet.data.pairs import Pair, read_pair
from dsunet.visualize.figures import missing_glyphs_ignored, new_figure, plain, save_figure

__all__ = ["GridRow", "difference_grid", "most_different", "read_grid_row"]

WIDTH = 1.25  # of a picture, in inches
TALLEST, FLATTEST = 1.4, 0.45  # heights of a row of pictures over their width
GAP = 0.06
HEAD = 0.26
CAPTION = 0.2
TEXT = 8
PIXELS = 480  # of a picture's longer side in the files: some 380 to the inch


@dataclass(frozen=True)
class GridRow:
    """The pictures of one image."""

    name: str
    truth: np.ndarray
    """H×W uint8."""
    maps: Mapping[str, np.ndarray]
    """By method; H×W uint8, of any size."""
    scores: Mapping[str, float]
    """By method."""
    image: Image.Image | None = None
    """RGB; the grid has a column of images if one row has one."""
    about: str = ""
    """What stands below the truth: the number of objects, say."""


def read_grid_row(
    name: str,
    image: Path | None,
    mask: Path,
    maps: Mapping[str, Path],
    scores: Mapping[str, float],
    about: str = "",
) -> GridRow:
    """The files of one image as pictures; image and mask are turned so that they agree.

    Raises:
        ImageError: A file cannot be read.
        DataError: Image and mask differ in size.
    """
    picture = None
    if image is None:
        truth = read_mask(mask)
    else:
        picture, truth, _, _ = read_pair(Pair(name, image, mask))
    read = {method: read_map(map_) for method, map_ in maps.items()}
    return GridRow(name, np.asarray(truth), read, scores, picture, about)


def most_different(
    first: Mapping[str, float], second: Mapping[str, float], count: int
) -> list[str]:
    """The names whose two scores are farthest apart, the farthest first.

    Args:
        first: One method's score by image.
        second: Another's, of the same images.
        count: How many at most; images on which the two agree are left out.
    """
    apart = {name: abs(first[name] - second[name]) for name in first}
    ordered = sorted(apart, key=lambda name: (-apart[name], name))
    return [name for name in ordered[:count] if apart[name] > 0]


def difference_grid(
    rows: Sequence[GridRow],
    measure: str,
    pair: tuple[str, str],
    base: Path,
    higher_is_better: bool = True,
) -> list[Path]:
    """Draws images, truths and maps side by side as PNG and PDF.

    Each map has its score below; of the two that are compared, the better one is bold.

    Args:
        rows: At least one, all with the same methods.
        measure: The title of the measure that the scores are of.
        pair: The two methods that are compared.
        base: Where to, without the ending.
        higher_is_better: How to tell the better one.

    Returns:
        The files.
    """
    with_images = any(row.image is not None for row in rows)
    titles = ["image"] * with_images + ["truth", *rows[0].maps]
    heights = [min(TALLEST, max(FLATTEST, _aspect(row.truth))) * WIDTH for row in rows]
    width = len(titles) * (WIDTH + GAP) + GAP
    height = HEAD + sum(heights) + len(rows) * CAPTION + GAP
    figure = new_figure(width, height)
    for column, title in enumerate(titles):
        _write(figure, column, HEAD / 2, title, weight="bold" if title in pair else "normal")
    top = HEAD
    for row, tall in zip(rows, heights, strict=True):
        better = _better(row.scores, pair, higher_is_better)
        pictures: list[tuple[Any, str, bool]] = []
        if with_images:
            pictures = [(row.image, row.name, False), (row.truth, row.about, False)]
        else:
            pictures = [(row.truth, row.name, False)]
        pictures += [
            (map_, f"{measure} {row.scores[method]:.3f}", method == better)
            for method, map_ in row.maps.items()
        ]
        for column, (picture, caption, strong) in enumerate(pictures):
            if picture is not None:
                _draw(figure, column, top, tall, picture)
            weight = "bold" if strong else "normal"
            _write(figure, column, top + tall + CAPTION / 2, caption, weight=weight)
        top += tall + CAPTION
    return save_figure(figure, base)


def _better(
    scores: Mapping[str, float], pair: tuple[str, str], higher_is_better: bool
) -> str | None:
    """The better one of two; none if they agree in what is printed."""
    first, second = (round(scores[method], 3) for method in pair)
    if first == second:
        return None
    return pair[0] if (first > second) == higher_is_better else pair[1]


def _aspect(picture: np.ndarray) -> float:
    """Height over width."""
    height, width = picture.shape
    return float(height / width)


def _draw(figure: Any, column: int, top: float, tall: float, picture: Any) -> None:
    """Fits a picture into its cell, in the middle; sizes in inches from the figure's top."""
    if isinstance(picture, np.ndarray):
        picture = Image.fromarray(picture)
    picture = picture.convert("RGB")
    picture.thumbnail((PIXELS, PIXELS), Image.Resampling.LANCZOS)
    scale = min(WIDTH / picture.width, tall / picture.height)
    width, height = picture.width * scale, picture.height * scale
    left = GAP + column * (WIDTH + GAP) + (WIDTH - width) / 2
    bottom = figure.get_figheight() - top - (tall + height) / 2
    box = (left, bottom, width, height)
    wide, high = figure.get_figwidth(), figure.get_figheight()
    axes = figure.add_axes((box[0] / wide, box[1] / high, box[2] / wide, box[3] / high))
    axes.imshow(np.asarray(picture), aspect="auto")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set(linewidth=0.4, color="0.6")


def _write(figure: Any, column: int, down: float, text: str, weight: str) -> None:
    """Centres a line in a column, cut to its width, so many inches below the figure's top."""
    middle = GAP + column * (WIDTH + GAP) + WIDTH / 2
    line = figure.text(
        middle / figure.get_figwidth(),
        1 - down / figure.get_figheight(),
        plain(text),
        ha="center",
        va="center",
        fontsize=TEXT,
        weight=weight,
    )
    _shorten(figure, line, text)


def _shorten(figure: Any, line: Any, text: str) -> None:
    """Cuts a line to the width of a column; its end, where numbers are, stays as its beginning."""
    kept = len(text)
    with missing_glyphs_ignored():
        while kept > 2 and line.get_window_extent().width > WIDTH * figure.dpi:
            kept -= 1
            line.set_text(plain(f"{text[: kept // 2]}…{text[len(text) - (kept + 1) // 2 :]}"))
