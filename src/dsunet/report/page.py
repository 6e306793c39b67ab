"""A run's folder → `report.html`, one file that needs nothing beside it."""

from __future__ import annotations

import datetime
import shlex
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import dsunet
from dsunet.data.checks.findings import KINDS
from dsunet.errors import ConfigError, MissingPackageError, OutputError
from dsunet.metrics import ALL_MEASURES, OWN_MEASURES, Measures
from dsunet.report.charts import svg_uri, threshold_chart
from dsunet.report.folder import Run, read_run
from dsunet.report.pictures import MAP_COLOUR, TRUTH_COLOUR, Measured, look_at
from dsunet.report.sizes import FOUND, by_size
from dsunet.support.files import check_writable, encode_text, write_atomically
from dsunet.visualize.curves import curves_figure
from dsunet.visualize.figures import require_matplotlib

__all__ = ["NAME", "PICTURES", "make_report"]

NAME = "report.html"

PICTURES = 48
"""How many of the worst pictures are shown."""


def make_report(
    run: str | Path,
    output: str | Path | None = None,
    *,
    data: str | None = None,
    pictures: int = PICTURES,
    device: str = "auto",
    on_line: Callable[[str], None] = lambda line: None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Shows what came of a run: curves, measures, the worst pictures, what is found and missed.

    The validation pictures are segmented with the run's best weights (the last ones if there are no
    best), measured as validation did, and the worst of them stand there first, with the truth's
    outline and the map's. The page holds its pictures itself and runs no code.

    Args:
        run: The folder that `dsunet.train` has written.
        output: The file; by default `report.html` in the run's folder.
        data: Folder of the data, if they have moved since.
        pictures: How many pictures to show, at most.
        device: Where to segment: `auto`, `cpu`, `cuda`.
        on_line: Is told of pictures that cannot be read.
        progress: Called with the number of pictures done and the number of all.

    Returns:
        The file.

    Raises:
        DataError: There is no such run, or its validation pictures are not there any more.
        ConfigError: `pictures` is negative.
        OutputError: The file cannot be written.
        MissingPackageError: Jinja2 or matplotlib is not installed.
    """
    if pictures < 0:
        raise ConfigError(f"`pictures` is {pictures}, but needs at least 0")
    template = _template()
    require_matplotlib()
    read = read_run(run)
    path = Path(output) if output is not None else read.folder / NAME
    if path.is_dir():
        raise OutputError(f"`output` {path} is a folder; name a file")
    path.parent.mkdir(parents=True, exist_ok=True)
    check_writable(path.parent)
    found, measures = Measured(), Measures(OWN_MEASURES, read.protocol, read.threshold)
    if read.validates and not read.classes:
        segmenter = read.segmenter(device)
        pairs = read.validation(data, segmenter.intensity)
        found, measures = look_at(
            segmenter, pairs, read.protocol, read.threshold, pictures, progress
        )
    for failure in found.failures:
        on_line(f"left out: {failure}")
    page = template.render(_content(read, found, measures, pictures))
    write_atomically(path, encode_text(page))
    return path


def _template() -> Any:
    try:
        import jinja2
    except ImportError as error:
        raise MissingPackageError(
            "a report needs the package jinja2; pip install 'dsunet[train]'"
        ) from error
    text = files("dsunet.report").joinpath("page.html").read_text(encoding="utf-8")
    strict = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return strict.from_string(text)


def _content(run: Run, found: Measured, measures: Measures, pictures: int) -> dict[str, Any]:
    """What the page's template fills in."""
    folder = shlex.quote(str(run.folder))
    best = measures.best_threshold() if found.pictures else None
    alarms = measures.false_alarms()
    marks = [(run.threshold, "in use:")]
    marks += [(best.threshold, "best:")] if best is not None else []
    epoch = int(run.about.get("epoch", 0))
    return {
        "name": run.folder.resolve().name,
        "date": datetime.date.today().isoformat(),
        "version": dsunet.__version__,
        "model": run.settings["model"],
        "data": run.about.get("data", ""),
        "training_pairs": run.about.get("training_pairs"),
        "validation_pairs": run.about.get("validation_pairs"),
        "epoch": epoch,
        "epochs": run.history[-1]["epoch"],
        "scores": _class_scores(run)
        if run.classes
        else (_scores(measures) if found.pictures else []),
        "of_classes": bool(run.classes),
        "protocol": run.protocol,
        "threshold": run.threshold,
        "best": best,
        "alarms": alarms,
        "curves": svg_uri(curves_figure(run.history, epoch if found.pictures else 0)),
        "thresholds": threshold_chart(measures.dice(), measures.alarms, marks)
        if found.pictures
        else "",
        "sizes": [row for row in by_size(found.objects) if row.objects],
        "found_from": FOUND,
        "strange": sum(picture.strange for picture in found.pictures),
        "shown": [picture for picture in found.pictures[:pictures] if picture.image],
        "pictures": found.pictures,
        "failures": found.failures,
        "keys": OWN_MEASURES,
        "titles": {key: ALL_MEASURES[key].title for key in OWN_MEASURES},
        "colours": {"truth": _css(TRUTH_COLOUR), "map": _css(MAP_COLOUR)},
        "findings": _findings(run.findings),
        "facts": _facts(run),
        "settings": {key: value for key, value in run.settings.items() if value is not None},
        "commands": [
            (
                "segment pictures",
                f"dsunet predict PICTURES --weights {folder}"
                + (f" --threshold {best.threshold:g}" if best is not None else ""),
            ),
            (
                "train on",
                f"dsunet train --config {folder}/config.yaml --output {folder} --resume --epochs "
                f"{2 * int(run.settings.get('epochs', 1))}",
            ),
            ("leave torch behind", f"dsunet export {folder} --output model.onnx"),
        ],
    }


def _scores(measures: Measures) -> list[tuple[str, str, bool]]:
    """Title and value of each measure that there is, and whether more is better."""
    values = measures.summary()
    return [
        (ALL_MEASURES[key].title, f"{values[key]:.3f}", ALL_MEASURES[key].higher_is_better)
        for key in OWN_MEASURES
        if key in values
    ]


def _class_scores(run: Run) -> list[tuple[str, str, bool]]:
    """As `_scores`, of the classes of a run, as the weights say."""
    measures: Mapping[str, Any] = run.about.get("measures") or {}
    titles = {"mIoU": "mean IoU", "mDice": "mean Dice"}
    return [
        (titles.get(key, key.replace("/", " ")), f"{value:.3f}", True)
        for key, value in measures.items()
    ]


def _css(colour: Sequence[int]) -> str:
    return f"rgb({', '.join(map(str, colour))})"


def _findings(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What the check of the data found, a row for each kind, the worst first."""
    rows = []
    every = report.get("findings", [])
    for kind, (severity, title, advice) in KINDS.items():
        own = [each for each in every if each.get("kind") == kind]
        if own:
            rows.append(
                {
                    "severity": severity,
                    "title": f"{len(own)} {title}" if own[0].get("files") else title,
                    "advice": advice,
                    "details": [str(each.get("detail", "")) for each in own[:5]],
                    "more": max(0, len(own) - 5),
                }
            )
    return rows


def _facts(run: Run) -> list[tuple[str, str]]:
    """Where the run was trained, and how."""
    about = run.environment
    packages = about.get("packages", {})
    seconds = sum(float(row.get("seconds") or 0) for row in run.history)
    rows = [
        ("started", about.get("started")),
        ("training time", f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"),
        ("command", shlex.join(map(str, about.get("command", [])))),
        ("device", about.get("gpu") or about.get("device")),
        ("numbers", about.get("precision")),
        ("machine", about.get("machine")),
        ("python", about.get("python")),
        ("packages", ", ".join(f"{name} {version}" for name, version in packages.items())),
        ("resumed", str(len(about["resumed"])) + " times" if about.get("resumed") else None),
    ]
    return [(name, str(value)) for name, value in rows if value]
