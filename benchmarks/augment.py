"""Short trainings on few images, with and without `augment`.

    python benchmarks/augment.py --data DIR --output benchmarks/augment.json

DIR holds `images/` and `masks/` of strip steel. dsunet-lite is trained from the shipped weights on
60 pairs at 128 px, with every seed once for each of VARIANTS, with the same settings but for
`augment`; measured are the 60 held-out pairs of benchmarks/steel/val.txt after the last epoch.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import dsunet
from dsunet.config import DataConfig, TrainConfig, model_config
from dsunet.support.files import write_json
from measuring import circumstances

VARIANTS = {"none": None, "all": "rotate,scale,colour,blur,noise,jpeg,cutout"}
SIDE, PAIRS = 128, 60
MEASURES = ("S", "F", "E", "MAE", "Dice", "IoU")
HERE = Path(__file__).parent


def trained(data: str, augment: str | None, recipe: TrainConfig, run: Path) -> dict[str, Any]:
    """What one training came to; seconds are of this process."""
    start = time.process_time()
    dsunet.train(
        run,
        model_config("dsunet-lite", sam_size=SIDE),
        DataConfig(
            data, val_list=HERE / "steel" / "val.txt", limit=PAIRS, augment=augment, workers=0
        ),
        recipe,
    )
    with open(run / "metrics.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {
        "process_seconds": round(time.process_time() - start, 1),
        "loss": float(rows[-1]["loss"]),
        "measures": {key: float(rows[-1][key]) for key in MEASURES},
    }


def main() -> None:
    """Trains with every seed and variant, and writes the record after every run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=(0, 1))
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--note", help="What else the machine did, say.")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    runs: dict[str, dict[int, dict[str, Any]]] = {}
    for seed in arguments.seeds:
        recipe = TrainConfig(
            epochs=arguments.epochs,
            batch_size=8,
            lr=5e-4,
            encoder_lr=2e-4,
            warmup_epochs=1,
            clip_grad_norm=2,
            average=0.98,
            val_every=arguments.epochs,
            val_pictures=0,
            device="cpu",
            seed=seed,
        )
        for name, augment in VARIANTS.items():
            with tempfile.TemporaryDirectory() as folder:
                found = trained(arguments.data, augment, recipe, Path(folder) / "run")
            runs.setdefault(name, {})[seed] = found
            write_json(
                arguments.output,
                {
                    "circumstances": circumstances(),
                    "note": arguments.note,
                    "epochs": arguments.epochs,
                    "variants": VARIANTS,
                    "mean": {
                        name: {
                            key: round(statistics.mean(r["measures"][key] for r in own.values()), 4)
                            for key in MEASURES
                        }
                        for name, own in runs.items()
                    },
                    "runs": runs,
                },
            )


if __name__ == "__main__":
    main()
