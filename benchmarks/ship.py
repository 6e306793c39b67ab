"""Makes the weights that come with the package of a run of configs/duts-lite-v3.yaml.

    python benchmarks/ship.py RUN --before FIRST --data DIR --output benchmarks/lite-shipped.json

The run's best weights (chosen by the held-out pairs of the training data alone) go into
`src/dsunet/weights/shipped/` as 16-bit numbers, with what is to be said about them instead of the
run's own facts; before, the version in `SHIPPED` there goes up by one. The ONNX file that refers to
them is made, too. The same pairs are then
segmented by the file's weights and by the run's own, in 32 bits, to see what the rounding changes.
DIR holds the `images/` and `masks/` that RUN was trained on.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

import dsunet
from dsunet.data.pairs import read_names
from dsunet.export import write_twin
from dsunet.predict import Options, plan_outputs, predict_files
from dsunet.support.files import sha256_of, write_json
from dsunet.weights.checkpoint import read_checkpoint, write_checkpoint
from dsunet.weights.opened import find_weights
from dsunet.weights.shipped import DEFAULT, versioned, weights_of
from measuring import circumstances

FACTS = {
    "name": versioned(DEFAULT),
    "marks": "the object that stands out in a photograph",
    "data": "DUTS-TR (10,553 pairs of at most 256 px, a quarter of them again at their own size) "
    "and 499 training pairs of CAMO",
    "encoder_start": "ImageNet-1k, tf_efficientnet_lite0.in1k",
    "recipe": "configs/duts-lite.yaml, then configs/duts-lite-v2.yaml and duts-lite-v3.yaml",
    "terms": "trained on research data sets; look at the card before you build a product on it",
}
KEPT = ("training_pairs", "validation_pairs", "seed", "epochs", "epoch", "measures")


def main() -> None:
    """Writes the weights file and the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--before", type=Path, nargs="*", default=(), help="Runs it goes on from.")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    run, target = arguments.run, weights_of(DEFAULT)
    dsunet.convert(run, target, float16=True)
    about, state = read_checkpoint(target)
    facts = FACTS | {key: about["training"][key] for key in KEPT}
    own = {key: about[key] for key in ("model", "encoders")}
    write_checkpoint(target, state, own | {"training": facts})

    write_twin(DEFAULT)
    listed = run / "val.txt"
    with tempfile.TemporaryDirectory() as work:
        scores, maps = {}, {}
        for name, weights in (("float32", find_weights(run)), ("float16", target)):
            out = Path(work, name)
            jobs = plan_outputs([str(arguments.data / "images")], out, names=read_names(listed))
            predict_files(dsunet.Segmenter(weights, "cpu", "float32"), jobs, out, Options())
            scores[name] = dsunet.evaluate(
                out, arguments.data / "masks", names=listed, protocol="benchmark"
            )
            maps[name] = {path.name: np.asarray(Image.open(path)) for path in out.glob("*.png")}
    changed = [
        np.abs(maps["float32"][name].astype(int) - maps["float16"][name]).max()
        for name in maps["float32"]
    ]
    epochs = []
    for number, folder in enumerate([*arguments.before, run], 1):
        with open(folder / "metrics.csv", newline="") as file:
            epochs += [{"run": number, **row} for row in csv.DictReader(file)]
    write_json(
        arguments.output,
        {
            "circumstances": circumstances(),
            "command": "python benchmarks/ship.py RUN --data DIR --output …",
            "bytes": target.stat().st_size,
            "sha256": sha256_of(target),
            "held_out_pairs": len(changed),
            "measures": scores,
            "largest_change_of_a_pixel_in_grey_levels": int(max(changed)),
            "training": facts,
            "all_epochs": epochs,
        },
    )


if __name__ == "__main__":
    main()
