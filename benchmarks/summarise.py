"""Turns a finished training run into a record that can be committed.

    python benchmarks/summarise.py RUN --data DIR --to benchmarks/steel --commit HASH

Predicts the validation images with the run's best weights through the same code as
`dsunet predict`, measures them like `dsunet evaluate`, checks that both give the very figures of
the training's own validation, and writes `result.json`, `metrics.csv`, `config.yaml`,
`curves.png` and `maps.png`. The last shows predicted maps only, and tells of the truth in numbers,
because the data sets' images and masks must not be passed on; the run's own `validation.png` shows
them side by side.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

import dsunet
from dsunet.data import find_pairs, select_pairs
from dsunet.data.pairs import read_names, read_pair
from dsunet.metrics import evaluate_folders
from dsunet.predict import Job, predict_files
from dsunet.visualize.curves import plot_curves
from dsunet.weights.checkpoint import read_metadata
from measuring import Shown, draw_maps, spread


def main() -> None:
    """Writes the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--commit", required=True, help="what the run was trained with")
    arguments = parser.parse_args()
    run, to = arguments.run, arguments.to

    training = read_metadata(run / "best.safetensors")["training"]
    pairs = select_pairs(find_pairs(arguments.data), read_names(run / "val.txt"), "val.txt")
    segmenter = dsunet.Segmenter(run, device="cpu")
    with tempfile.TemporaryDirectory() as scratch:
        maps, masks = Path(scratch, "maps"), Path(scratch, "masks")
        masks.mkdir()
        for pair in pairs:
            assert isinstance(pair.mask, Path)
            (masks / pair.mask.name).symlink_to(pair.mask.resolve())
        jobs = [Job(Path(str(pair.image)), Path(f"{pair.name}.png")) for pair in pairs]
        assert not predict_files(segmenter, jobs, maps)
        result = evaluate_folders(maps, masks, protocol="benchmark")
        measured = {key: training["measures"][key] for key in result.scores}
        if result.scores != measured:
            raise SystemExit(f"{result.scores} is not validation's {measured}")
        ranked = sorted(result.per_image, key=lambda name: -result.per_image[name]["S"])
        by_name = {pair.name: pair for pair in pairs}
        shown = [
            Shown(
                name,
                np.asarray(Image.open(maps / f"{name}.png").convert("L")) / 255,
                np.asarray(read_pair(by_name[name]).mask) > 127,
                result.per_image[name]["S"],
            )
            for name in spread(ranked, 12)
        ]
    draw_maps(shown, f"{to.name}: predicted maps, from the best to the worst", to / "maps.png")

    with open(run / "metrics.csv", newline="", encoding="utf-8") as file:
        seconds = [float(row["seconds"]) for row in csv.DictReader(file)]
    environment = json.loads((run / "environment.json").read_text())
    kinds = sorted({name.split("_")[0] for name in result.per_image if "_" in name})
    by_kind = {
        kind: float(np.mean([v["S"] for n, v in result.per_image.items() if n.startswith(kind)]))
        for kind in kinds
    }
    record = {
        "date": environment["started"][:10],
        "commit": arguments.commit,
        "machine": environment["machine"],
        "packages": environment["packages"],
        "parameters": environment["parameters"]["total"],
        "pairs": {"training": training["training_pairs"], "validation": len(pairs)},
        "epochs": len(seconds),
        "minutes": round(sum(seconds) / 60, 1),
        "best_epoch": training["epoch"],
        "validation": training["measures"],
        "predict_then_evaluate": result.scores,
        "S_by_kind": by_kind,
    }
    (to / "result.json").write_text(json.dumps(record, indent=2) + "\n")
    settings = yaml.safe_load((run / "config.yaml").read_text())
    settings |= dict.fromkeys(("data", "val_list"))  # paths of one machine
    (to / "config.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
    shutil.copyfile(run / "metrics.csv", to / "metrics.csv")
    plot_curves(run / "metrics.csv", to / "curves.png")
    print(json.dumps(record, indent=2))


if __name__ == "__main__":
    main()
