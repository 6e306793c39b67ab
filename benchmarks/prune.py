r"""What pruning a trained model costs and saves: channels at some ratios, blocks of DINOv2.

    OMP_NUM_THREADS=1 python benchmarks/prune.py MODEL.safetensors --data DIR \
        --val-list RUN/val.txt --name lite --ratios 0.25 0.5 --pairs 600 --epochs 2 \
        --json benchmarks/prune.json
    OMP_NUM_THREADS=1 python benchmarks/prune.py MODEL.safetensors --data DIR \
        --val-list RUN/val.txt --name nano-blocks --ratios 0 --drop-semantic-blocks auto \
        --epochs 0 --json benchmarks/prune.json

Each ratio is a run of its own of `dsunet prune`, with its report; the file keeps the entries of
other names. `--pairs` fine-tunes on that many training pairs, chosen by the seed. Times are of a
machine that may be doing other things: before and after take turns, so compare them with each
other. `cpu_ms` is the processor's time for one image through the network, which does not count what
others had; it is measured at the end of each run, with random weights.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dsunet.config import DataConfig, LossConfig, ModelConfig, PruneConfig, TrainConfig
from dsunet.data.split import split_data
from dsunet.network.build import build_model
from dsunet.research.pruning import PruneReport, prune
from dsunet.running.inference import lay_out
from dsunet.support.files import write_json
from measuring import circumstances


def arguments_of() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights", type=Path)
    parser.add_argument("--name", required=True, help="Of this entry in the file.")
    parser.add_argument("--about", default="", help="A sentence on the model, for the file.")
    parser.add_argument("--data", required=True)
    parser.add_argument("--train-list")
    parser.add_argument("--val-list", required=True)
    parser.add_argument("--pairs", type=int, help="To fine-tune on; all if not given.")
    parser.add_argument("--ratios", type=float, nargs="+", default=[0.25, 0.5])
    parser.add_argument("--importance", default="auto", choices=["auto", "taylor", "magnitude"])
    parser.add_argument("--calibration", type=int, default=128)
    parser.add_argument("--drop-semantic-blocks", default="0")
    parser.add_argument("--tolerance", type=float, default=0.005)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--lr", type=float, default=3e-4)
    parser.add_argument("--vertical-flip", type=float, default=0.0)
    parser.add_argument("--crop", type=float, default=0.0)
    parser.add_argument("--bce", default="mean", choices=["mean", "boundary_weighted"])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path, required=True)
    return parser.parse_args()


def data_of(arguments: argparse.Namespace, folder: Path) -> DataConfig:
    """The pairs to validate on, and so many of the others to train on."""
    settings = {
        "data": arguments.data,
        "train_list": arguments.train_list,
        "val_list": arguments.val_list,
        "vertical_flip": arguments.vertical_flip,
        "crop": arguments.crop,
        "workers": 0,
    }
    if arguments.pairs is not None:
        names = [pair.name for pair in split_data(DataConfig(**settings), 0).training]
        chosen = np.random.default_rng(0).permutation(len(names))[: arguments.pairs]
        lines = "".join(f"{names[i]}\n" for i in sorted(chosen))
        (folder / "train.txt").write_text(lines)
        settings["train_list"] = str(folder / "train.txt")
    return DataConfig(**settings)


def without_circumstances(report: PruneReport) -> dict[str, Any]:
    """A report for the file, which says them once."""
    content = report.to_dict()
    del content["circumstances"]
    content.pop("fine_tuning", None)
    return content


def cpu_milliseconds(configs: list[ModelConfig], rounds: int = 15) -> list[float]:
    """Medians of the processor's time for one prediction by networks that take turns."""
    models = [lay_out(build_model(config).eval(), torch.device("cpu")) for config in configs]
    views = [
        [torch.zeros(1, 3, *size) for size in model.view_sizes if size is not None]
        for model in models
    ]
    taken: list[list[float]] = [[] for _ in models]
    with torch.inference_mode():
        for _ in range(rounds + 1):
            for model, inputs, each in zip(models, views, taken, strict=True):
                started = time.process_time()
                model(*inputs, outputs="fine")
                each.append(1e3 * (time.process_time() - started))
    return [round(statistics.median(each[1:]), 2) for each in taken]


def main() -> None:
    """Reads the arguments and adds to the record."""
    arguments = arguments_of()
    dropped = arguments.drop_semantic_blocks
    recipe = TrainConfig(
        epochs=max(1, arguments.epochs),
        batch_size=arguments.batch_size,
        lr=arguments.lr,
        device=arguments.device,
        val_every=max(1, arguments.epochs),
        val_pictures=0,
        protocol="benchmark",
    )
    reports = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = data_of(arguments, folder)
        for ratio in arguments.ratios:
            settings = PruneConfig(
                ratio=ratio,
                importance=arguments.importance,
                calibration=arguments.calibration,
                drop_semantic_blocks=dropped if dropped == "auto" else int(dropped),
                tolerance=arguments.tolerance,
            )
            started = time.monotonic()
            report = prune(
                arguments.weights,
                folder / f"ratio-{ratio}",
                settings,
                data,
                recipe,
                LossConfig(bce=arguments.bce),
                fine_tune=arguments.epochs > 0,
                on_line=print,
            )
            print(report.markdown(), flush=True)
            seconds = round(time.monotonic() - started, 1)
            content = without_circumstances(report) | {"seconds_of_all": seconds}
            times = cpu_milliseconds([stage.config for stage in report.stages])
            for stage, milliseconds in zip(content["stages"], times, strict=True):
                stage["cpu_ms"] = milliseconds
            reports.append(content)
    record = json.loads(arguments.json.read_text()) if arguments.json.exists() else {}
    tuning = ("pairs", "epochs", "batch_size", "lr", "vertical_flip", "crop", "bce")
    record[arguments.name] = {
        "about": arguments.about,
        **circumstances(),
        "threads": torch.get_num_threads(),
        "fine_tuning": {key: getattr(arguments, key) for key in tuning}
        if arguments.epochs
        else None,
        "reports": reports,
    }
    write_json(arguments.json, record)


if __name__ == "__main__":
    main()
