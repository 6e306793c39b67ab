"""What several scripts here do: circumstances of a record, measures of pairs, maps in a figure."""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np

import dsunet
from dsunet.benchmarking import circumstances
from dsunet.data import Pair
from dsunet.data.pairs import read_names, read_pair
from dsunet.metrics import Measures
from dsunet.research.experiments.statistics import paired_difference
from dsunet.running.maps import quantise

__all__ = [
    "Shown",
    "circumstances",
    "difference",
    "draw_maps",
    "drawn_pairs",
    "measures_of",
    "parser_of_runs",
    "spread",
]


def parser_of_runs(doc: str) -> argparse.ArgumentParser:
    """With the flags of scripts that train several times and go on where they were stopped.

    Args:
        doc: The script's docstring, whose first line is the description.
    """
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    for flag in ("--data", "--train", "--held-out", "--work", "--output"):
        parser.add_argument(flag, type=Path, required=True)
    return parser


def drawn_pairs(listed: Path, without: Sequence[str], number: int) -> list[str]:
    """So many names of a list, drawn at random but always the same, in the order drawn."""
    names = sorted(set(read_names(listed)) - set(without))
    random.Random(0).shuffle(names)
    return names[:number]


class Shown(NamedTuple):
    """A map in a figure, beside what is known of it."""

    name: str
    map: np.ndarray
    """H×W in 0..1."""
    truth: np.ndarray
    """H×W bool; only its area is told, because masks of data sets must not be passed on."""
    s: float


def spread(ranked: Sequence[str], number: int) -> list[str]:
    """So many of some names, from the first to the last at even distances."""
    return [ranked[i] for i in np.linspace(0, len(ranked) - 1, number).astype(int)]


def draw_maps(shown: Sequence[Shown], title: str, path: Path) -> None:
    """Maps in rows of four: pixels along the axes, and a scale of what their greys mean.

    Above each stand its name and S, its IoU with the truth (at 0.5), and how much of the picture is
    object by the truth and by the map.
    """
    from matplotlib.figure import Figure

    rows = -(-len(shown) // 4)
    with matplotlib.rc_context({"font.size": 8}):
        figure = Figure(figsize=(9, 2.55 * rows + 0.6), dpi=100, layout="constrained")
        axes = figure.subplots(rows, 4, squeeze=False).ravel()
        for axis, one in zip(axes, shown, strict=False):
            found = one.map >= 0.5
            union = np.count_nonzero(found | one.truth)
            iou = np.count_nonzero(found & one.truth) / union if union else 1.0
            greys = axis.imshow(one.map, "gray", vmin=0, vmax=1)
            axis.set_title(
                f"{one.name}: S {one.s:.2f}, IoU {iou:.2f}\n"
                f"object {one.truth.mean():.1%} of the picture, found {found.mean():.1%}",
                fontsize=8,
            )
            axis.tick_params(labelsize=6)
            axis.set_xlabel("px", fontsize=6)
        for axis in axes[len(shown) :]:
            axis.axis("off")
        figure.suptitle(title, fontsize=10)
        figure.colorbar(greys, ax=list(axes), label="probability of the object", shrink=0.6)
        figure.savefig(path)


def difference(after: np.ndarray, before: np.ndarray) -> list[float]:
    """The 95 % bootstrap interval of the mean difference of paired values, to five digits."""
    interval = paired_difference(after, before)
    assert interval is not None
    return [round(interval.low, 5), round(interval.high, 5)]


def measures_of(segmenter: dsunet.Segmenter, pairs: Iterable[Pair]) -> dict[str, float]:
    """S, F, E, MAE by the paper's protocol of 8-bit maps of these pairs, rounded to five digits."""
    measures = Measures(protocol="benchmark")
    for pair in pairs:
        image, mask, *_ = read_pair(pair)
        [probability] = segmenter.probabilities([segmenter.prepare(image)])
        measures.update(quantise(probability), np.asarray(mask))
    return {name: round(value, 5) for name, value in measures.compute().items()}
