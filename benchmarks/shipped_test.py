"""Measures the weights that come with the package on test sets, with bootstrap intervals.

    python benchmarks/shipped_test.py --set DUTS-TE-200=DIR --set CAMO-124=DIR \
        --output benchmarks/lite-test.json

Every DIR holds `images/` and `masks/`. Intervals are 95 % percentile intervals of the mean over
images drawn with replacement. Nothing may be chosen by what comes out: that is what the held-out
part of the training data is for.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

import dsunet
from dsunet.metrics import evaluate_folders
from dsunet.predict import Options, plan_outputs, predict_files
from dsunet.research.experiments.statistics import paired_difference
from dsunet.support.files import sha256_of, write_json
from dsunet.weights.shipped import DEFAULT, weights_of
from measuring import circumstances

MEASURES = ("S", "F", "Fw", "E", "MAE", "mIoU")
OF_CURVES = ("Fmax", "Emax")  # of the mean curve, not means over images


def measured(folder: Path) -> dict[str, object]:
    """Means and intervals over one set's images."""
    with tempfile.TemporaryDirectory() as maps:
        jobs = plan_outputs([str(folder / "images")], maps)
        report = predict_files(dsunet.Segmenter(device="cpu"), jobs, maps, Options())
        evaluation = evaluate_folders(
            maps, folder / "masks", measures=MEASURES + OF_CURVES, protocol="benchmark"
        )
    if report.failures or evaluation.failures:
        raise SystemExit(f"some images of {folder} failed; nothing is recorded")
    rows = evaluation.per_image.values()
    means = {}
    for measure in MEASURES:
        values = np.array([row[measure] for row in rows])
        interval = paired_difference(values, np.zeros_like(values))
        assert interval is not None
        means[measure] = {"mean": interval.mean, "low": interval.low, "high": interval.high}
    others = {measure: evaluation.scores[measure] for measure in OF_CURVES}
    return {"images": len(rows), "measures": means, "of the mean curve": others}


def main() -> None:
    """Measures every set and writes the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--set", action="append", required=True, metavar="NAME=DIR")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    sets = dict(given.split("=", 1) for given in arguments.set)
    results = {name: measured(Path(folder)) for name, folder in sets.items()}
    names = " ".join(f"--set {name}=DIR" for name in sets)
    write_json(
        arguments.output,
        {
            "circumstances": circumstances(),
            "command": f"python benchmarks/shipped_test.py {names} --output …",
            "model": DEFAULT,
            "sha256": sha256_of(weights_of(DEFAULT)),
            "epoch": dsunet.load().training_facts["epoch"],
            "sets": results,
        },
    )


if __name__ == "__main__":
    main()
