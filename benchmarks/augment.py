"""Short trainings on few images, with and without `--augment`.

    python benchmarks/augment.py --data DIR --output benchmarks/augment.json

DIR holds `images/` and `masks/` of strip steel. dsunet-lite is trained from the shipped weights on
60 pairs at 128 px, with every seed once for each of VARIANTS, by the same command but for the flag;
measured are the 60 held-out pairs of benchmarks/steel/val.txt after the last epoch. `--keep FOLDER`
keeps the runs, and goes on with them when the script was killed.
"""

from __future__ import annotations

import argparse
import csv
import shlex
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from dsunet.support.files import write_json
from measuring import circumstances

VARIANTS = {
    "none": "",
    "moved": "--augment rotate=0.5:15,scale=0.5:1.25",
    "all": "--augment rotate,scale,colour,blur,noise,jpeg,cutout",
}
COMMON = (
    "--model dsunet-lite --weights default --lr 5e-4 --encoder-lr 2e-4 --warmup-epochs 1 "
    "--clip-grad-norm 2 --batch-size 8 --sam-size 128 --average 0.98 --limit 60 --workers 1 "
    "--device cpu --val-list benchmarks/steel/val.txt"
)
MEASURES = ("S", "F", "E", "MAE", "Dice", "IoU")
HERE = Path(__file__).parent


def trained(data: str, variant: str, seed: int, epochs: int, run: Path) -> dict[str, Any]:
    """What one training came to."""
    flags = f"{COMMON} --epochs {epochs} --val-every {epochs} {VARIANTS[variant]} --seed {seed}"
    command = [sys.executable, "-m", "dsunet.cli", "train", *shlex.split(flags)]
    subprocess.run(
        [*command, "--data", data, "--output", str(run), "--resume"], check=True, cwd=HERE.parent
    )
    with open(run / "metrics.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {
        "command": f"dsunet train --data DIR {flags} --output RUN",
        "minutes": round(sum(float(row["seconds"]) for row in rows) / 60, 1),
        "loss": float(rows[-1]["loss"]),
        "measures": {key: float(rows[-1][key]) for key in MEASURES},
    }


def main() -> None:
    """Trains with every seed and variant, and writes the record after every run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--variant", action="append", choices=VARIANTS, help="Some alone.")
    parser.add_argument("--seeds", type=int, nargs="+", default=(0, 1))
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--note", help="What else the machine did, say.")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    runs: dict[str, dict[int, dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.keep or Path(temporary)
        for seed in arguments.seeds:
            for variant in arguments.variant or VARIANTS:
                run = folder / f"{variant}-{seed}"
                found = trained(arguments.data, variant, seed, arguments.epochs, run)
                runs.setdefault(variant, {})[seed] = found
                write_json(
                    arguments.output,
                    {
                        "circumstances": circumstances(),
                        "note": arguments.note,
                        "mean": {
                            name: {
                                key: round(statistics.mean(r["measures"][key] for r in own), 4)
                                for key in MEASURES
                            }
                            for name, own in ((n, list(r.values())) for n, r in runs.items())
                        },
                        "runs": runs,
                    },
                )


if __name__ == "__main__":
    main()
