"""Whether training in bfloat16 costs accuracy: the same steps in it and in float32, three seeds.

    python benchmarks/precision_training.py --data DIR --train LIST \
        --held-out benchmarks/lite/held-out.txt --work FOLDER \
        --output benchmarks/precision-training.json

DIR holds `images/` and `masks/`. From the shipped weights `dsunet-lite` is trained on some of LIST,
in small views so that every run takes minutes, once in each number type for each seed; measured, in
float32, are pairs that neither those weights nor these runs have seen. The spread over the seeds is
the noise that a difference is to be held against. What is done already in the work folder is not
done again.
"""

from __future__ import annotations

import argparse
import json
import statistics
from typing import Any

import dsunet
from dsunet.config import DataConfig, LossConfig, Precision, TrainConfig, model_config
from dsunet.data import Pair, find_pairs
from dsunet.data.pairs import read_names
from dsunet.support.files import write_json
from measuring import circumstances, drawn_pairs, measures_of, parser_of_runs

TYPES: tuple[Precision, ...] = ("float32", "bfloat16")
MEASURES = ("S", "F", "E", "MAE")


def trained(
    arguments: argparse.Namespace, precision: Precision, seed: int, held_out: list[Pair]
) -> dict[str, Any]:
    """What one run came to."""
    run = arguments.work / f"{precision}-{seed}"
    done = run / "result.json"
    if not done.exists():
        dsunet.train(
            run,
            model_config("dsunet-lite", sam_size=arguments.side),
            DataConfig(
                data=str(arguments.data),
                train_list=str(arguments.work / "train.txt"),
                vertical_flip=0.0,
                colour=0.3,
                check="headers",
                workers=0,
            ),
            TrainConfig(
                epochs=arguments.epochs,
                batch_size=16,
                lr=2e-4,
                encoder_lr=1e-4,
                weight_decay=0.01,
                clip_grad_norm=2.0,
                average=0.98,
                precision=precision,
                device="cpu",
                seed=seed,
            ),
            LossConfig(bce="boundary_weighted"),
            weights="full",
            resume=True,
            on_line=lambda line: print(f"  {line}", flush=True),
        )
        model = dsunet.load(run / "last.safetensors")
        measures = measures_of(dsunet.Segmenter(model, "cpu", "float32"), held_out)
        write_json(done, {"precision": precision, "seed": seed, "measures": measures})
    found: dict[str, Any] = json.loads(done.read_text(encoding="utf-8"))
    return found


def main() -> None:
    """Trains what is not trained yet and writes the record."""
    parser = parser_of_runs(__doc__)
    parser.add_argument("--pairs", type=int, default=960)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--side", type=int, default=160)
    parser.add_argument("--seeds", type=int, nargs="+", default=(0, 1, 2))
    arguments = parser.parse_args()

    arguments.work.mkdir(parents=True, exist_ok=True)
    wanted = read_names(arguments.held_out)
    chosen = sorted(drawn_pairs(arguments.train, wanted, arguments.pairs))
    (arguments.work / "train.txt").write_text("".join(f"{name}\n" for name in chosen))
    pairs = {pair.name: pair for pair in find_pairs(arguments.data)}
    held_out = [pairs[name] for name in wanted]
    runs = [
        trained(arguments, precision, seed, held_out)
        for seed in arguments.seeds
        for precision in TYPES
    ]
    by_type = {
        precision: {
            name: [run["measures"][name] for run in runs if run["precision"] == precision]
            for name in MEASURES
        }
        for precision in TYPES
    }
    write_json(
        arguments.output,
        {
            "circumstances": circumstances(),
            "settings": {key: getattr(arguments, key) for key in ("pairs", "epochs", "side")},
            "held_out": len(held_out),
            "means": {
                precision: {name: round(statistics.mean(values), 5) for name, values in own.items()}
                for precision, own in by_type.items()
            },
            "standard_deviations": {
                precision: {
                    name: round(statistics.stdev(values), 5) for name, values in own.items()
                }
                for precision, own in by_type.items()
            },
            "bfloat16_less_float32": {
                name: [
                    round(b - f, 5) for f, b in zip(*(by_type[p][name] for p in TYPES), strict=True)
                ]
                for name in MEASURES
            },
            "runs": runs,
        },
    )


if __name__ == "__main__":
    main()
