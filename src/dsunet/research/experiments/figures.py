"""Figures of a reproduction: curves, histograms, and the images where methods differ most."""

from __future__ import annotations

from pathlib import Path

from dsunet.errors import DsunetError
from dsunet.metrics import ALL_MEASURES, MEASURES
from dsunet.research.experiments.plan import Plan, Run, TestSet
from dsunet.research.experiments.scores import Results, Scores
from dsunet.support.files import clear_temporaries
from dsunet.visualize.comparison import plot_histograms, plot_precision_recall, plot_thresholds
from dsunet.visualize.differences import difference_grid, most_different, read_grid_row

__all__ = ["write_figures"]

ROWS = 6


def write_figures(plan: Plan, results: Results) -> list[Path]:
    """Draws every test set's figures, of all methods' first seeds so far, as PNG and PDF.

    `figures/TASK/SET/` gets precision over recall, F and E over thresholds, histograms of the
    images' scores, and the images on which DSU-Net (or the last method) and the first method differ
    most (as the paper's Figs. 5 and 6).

    Returns:
        The files.
    """
    files: list[Path] = []
    for task, tests in plan.tests.items():
        for test in tests.values():
            found = {}
            for method in plan.methods_of(task):
                for run in plan.runs_of(method, task)[:1]:
                    scores = results.of(run, test.name)
                    if scores is not None:
                        found[method.title] = (run, scores)
            if found:
                folder = plan.folder / "figures" / task / test.name
                folder.mkdir(parents=True, exist_ok=True)
                clear_temporaries(folder)
                files += _draw(test, found, folder)
    return files


def _draw(test: TestSet, found: dict[str, tuple[Run, Scores]], folder: Path) -> list[Path]:
    curves = {title: scores.curves for title, (_, scores) in found.items()}
    values = {title: scores.per_image for title, (_, scores) in found.items()}
    files = plot_precision_recall(curves, folder / "precision_recall")
    files += plot_thresholds(curves, folder / "thresholds")
    titles = {key: ALL_MEASURES[key].title for key in MEASURES}
    files += plot_histograms(values, titles, folder / "histograms")
    if len(found) > 1:
        files += _draw_differences(test, found, folder / "differences")
    return files


def _draw_differences(
    test: TestSet, found: dict[str, tuple[Run, Scores]], base: Path
) -> list[Path]:
    shared = set.intersection(*(set(scores.per_image) for _, scores in found.values()))
    s = {
        title: {name: scores.per_image[name]["S"] for name in sorted(shared)}
        for title, (_, scores) in found.items()
    }
    titles = list(s)
    ours = "DSU-Net" if "DSU-Net" in s else titles[-1]
    pair = (next(title for title in titles if title != ours), ours)
    rows = []
    for name in most_different(s[pair[0]], s[pair[1]], ROWS):
        maps = {title: run.maps(test.name) / f"{name}.png" for title, (run, _) in found.items()}
        scores = {title: each[name] for title, each in s.items()}
        try:
            rows.append(read_grid_row(name, test.images[name], test.masks[name], maps, scores))
        except DsunetError:  # measured as a map and a mask; as a picture it does not fit
            continue
    return difference_grid(rows, ALL_MEASURES["S"].title, pair, base) if rows else []
