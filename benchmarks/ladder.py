"""The ladder of models: size, work, time and memory of one image, from the smallest to the largest.

    python benchmarks/ladder.py --output benchmarks/ladder.json

Runs `dsunet benchmark predict` for every model on this machine, one after the other, and prints the
table of docs/small-models.md. Weights are random, which changes none of this. Accuracy is not
measured here: what there is comes from `benchmarks/lite-test.json`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from dsunet.config import MODEL_PRESETS
from dsunet.network.build import build_model
from dsunet.network.counting import parameter_counts
from dsunet.support.files import write_json
from measuring import circumstances

MODELS = [name for name in MODEL_PRESETS if name.startswith("dsunet-")]
REPEATS = {"dsunet-large": 3, "dsunet-base": 5}


def measured(name: str) -> dict[str, Any]:
    """One model's row."""
    with torch.device("meta"):
        counts = parameter_counts(build_model(MODEL_PRESETS[name]))
    config = MODEL_PRESETS[name]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "record.json")
        command = ["benchmark", "predict", "--model", name, "--batch-size", "1", "--device", "cpu"]
        command += ["--repeats", str(REPEATS.get(name, 20)), "--json", str(file)]
        subprocess.run(
            [sys.executable, "-m", "dsunet.cli", *command], check=True, stdout=subprocess.DEVNULL
        )
        (result,) = json.loads(file.read_text(encoding="utf-8"))["results"]
    return {
        "model": name,
        "views": [config.sam_size, config.dino_size] if config.uses_semantic else [config.sam_size],
        "parameters": counts["total"],
        "trained": counts["trainable"],
        "gflop": result["flops"] / 1e9,
        "median_seconds": result["median_seconds"],
        "seconds": result["seconds"],
        "peak_gb": result["peak_bytes"] / 1e9,
    }


def main() -> None:
    """Measures every model and writes the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=MODELS, choices=MODELS)
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    rows = sorted(map(measured, arguments.models), key=lambda row: row["gflop"])
    for row in rows:
        print(
            f"| `{row['model']}` | {', '.join(map(str, row['views']))} "
            f"| {row['parameters'] / 1e6:.1f} M | {row['gflop']:,.1f} "
            f"| {1000 * row['median_seconds']:,.0f} | {row['peak_gb']:.2f} |"
        )
    command = "python benchmarks/ladder.py --output …"
    write_json(
        arguments.output, {"circumstances": circumstances(), "command": command, "rows": rows}
    )


if __name__ == "__main__":
    main()
