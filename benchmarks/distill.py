"""A student taught by a teacher beside the same student on truth alone, with the same steps.

    python benchmarks/distill.py --teacher WEIGHTS --data DIR --held-out LIST \
        --work FOLDER --output benchmarks/distill.json

    python benchmarks/distill.py … --start encoders --encoder tf_efficientnet_lite0 --side 128 \
        --encoder-lr 3e-4 --output benchmarks/distill-unlabelled.json

`--data` holds images/ and masks/; `--held-out` names the pairs that neither student nor teacher was
trained on, and that everything here is measured on. For each seed the student is trained on the
same few pairs, from the same weights (random ones, but for those of `--start`):

- `truth`: on the masks alone;
- `distilled`: on the masks and the teacher's maps of the same images;
- `masks`: a control, as `distilled`, but the "teacher's" maps are the masks once more: what the
  further term of the loss does without a teacher's knowledge;
- `unlabelled`: as `distilled`, with further images of the set without their masks; a step has the
  same number of images and there are as many steps, so that each image comes up less often.

Every figure is that of the last epoch: none is chosen by the images that it is measured on. What is
done already in the work folder is not done again.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
from pathlib import Path
from typing import Any

import torch

import dsunet
from dsunet.config import (
    DataConfig,
    DistillConfig,
    LossConfig,
    ModelConfig,
    TrainConfig,
    model_config,
)
from dsunet.data import Pair, find_pairs
from dsunet.data.pairs import read_names
from dsunet.network.counting import parameter_counts
from dsunet.support.files import write_json
from dsunet.weights.models import create_from_config
from measuring import circumstances, measures_of

ARMS = ("truth", "distilled", "masks", "unlabelled")
MEASURES = ("S", "F", "E", "MAE")


def chosen(arguments: argparse.Namespace, pairs: list[Pair]) -> tuple[list[str], list[Pair]]:
    """Names of the labelled pairs, and the pairs whose images are taken without masks."""
    held_out = set(read_names(arguments.held_out))
    known = [pair for pair in pairs if pair.name not in held_out]
    drawn = random.Random(0).sample(known, arguments.labelled + arguments.unlabelled)
    labelled = sorted(pair.name for pair in drawn[: arguments.labelled])
    return labelled, drawn[arguments.labelled :]


def lay_out(work: Path, labelled: list[str], unlabelled: list[Pair]) -> None:
    """Writes the list of pairs, and a folder of links to the images without masks."""
    work.mkdir(parents=True, exist_ok=True)
    (work / "labelled.txt").write_text("".join(f"{name}\n" for name in labelled))
    folder = work / "unlabelled"
    folder.mkdir(exist_ok=True)
    for pair in unlabelled:
        assert isinstance(pair.image, Path)
        link = folder / pair.image.name
        if not link.is_symlink():
            link.symlink_to(pair.image.resolve())


def student(arguments: argparse.Namespace) -> ModelConfig:
    """A smaller network than the teacher."""
    return model_config(
        "dsunet-lite",
        pyramid=arguments.encoder,
        decoder_channels=tuple(arguments.channels),
        sam_size=arguments.side,
    )


def run(arguments: argparse.Namespace, arm: str, seed: int) -> dict[str, Any]:
    """Trains one student, or goes on with it, and gives its measures at the last epoch."""
    share = arguments.labelled / (arguments.labelled + arguments.unlabelled)
    epochs = arguments.epochs if arm != "unlabelled" else round(arguments.epochs * share)
    data = DataConfig(
        data=str(arguments.data),
        train_list=str(arguments.work / "labelled.txt"),
        val_list=str(arguments.held_out),
        vertical_flip=0.0,
        crop=0.7,
        check="headers",
        workers=0,
    )
    recipe = TrainConfig(
        epochs=epochs,
        batch_size=arguments.batch_size,
        lr=arguments.lr,
        encoder_lr=arguments.encoder_lr or arguments.lr,
        weight_decay=0.01,
        clip_grad_norm=2.0,
        val_every=epochs,
        val_pictures=0,
        protocol="benchmark",
        device=arguments.device,
        seed=seed,
    )
    teacher = DistillConfig(
        str(arguments.teacher if arm != "masks" else arguments.data / "masks"),
        teacher_weight=arguments.teacher_weight,
        temperature=arguments.temperature,
        unlabelled=(str(arguments.work / "unlabelled"),) if arm == "unlabelled" else (),
        teacher_cache=str(arguments.work / "teacher"),
    )
    folder = arguments.work / f"{arm}-{seed}"
    dsunet.train(
        folder,
        student(arguments),
        data,
        recipe,
        LossConfig(bce="boundary_weighted"),
        weights=None if arguments.start == "none" else arguments.start,
        distill=None if arm == "truth" else teacher,
        resume=True,
        on_line=lambda line: print(f"  {line}", flush=True),
    )
    state = torch.load(folder / "resume.ckpt", map_location="cpu", weights_only=True)
    last = state["callbacks"]["RunFolder"]["history"][-1]
    assert last["epoch"] == epochs
    minutes = sum(row["seconds"] for row in state["callbacks"]["RunFolder"]["history"]) / 60
    return {
        "arm": arm,
        "seed": seed,
        "epochs": epochs,
        "steps": state["global_step"],
        **{name: round(last[name], 5) for name in MEASURES},
        "loss": round(last["loss"], 5),
        "minutes": round(minutes, 2),
    }


def of_teacher(arguments: argparse.Namespace, pairs: list[Pair]) -> dict[str, Any]:
    """What the teacher is, and its measures on the held-out images."""
    kept = arguments.work / "teacher.json"
    if kept.exists():
        found: dict[str, Any] = json.loads(kept.read_text())
        return found
    model = dsunet.load(arguments.teacher)
    segmenter = dsunet.Segmenter(model, device=arguments.device)
    names = set(read_names(arguments.held_out))
    found = {
        "model": model.config.name if model.config else None,
        "view": segmenter.sam_size,
        "parameters": parameter_counts(model)["total"],
        **{
            key: model.training_facts.get(key)
            for key in ("training_pairs", "epoch", "epochs", "seed")
        },
        "note": arguments.note,
        **measures_of(segmenter, (pair for pair in pairs if pair.name in names)),
    }
    write_json(kept, found)
    return found


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean and standard deviation of each arm, and of its differences from truth alone by seed."""
    found: dict[str, Any] = {}
    for arm in dict.fromkeys(row["arm"] for row in rows):
        own = {row["seed"]: row for row in rows if row["arm"] == arm}
        plain = {row["seed"]: row for row in rows if row["arm"] == "truth"}
        for name in MEASURES:
            values = [row[name] for row in own.values()]
            gains = [own[seed][name] - plain[seed][name] for seed in own if seed in plain]
            found.setdefault(arm, {})[name] = _mean_and_spread(values)
            if arm != "truth":
                found[arm][f"{name}_gain"] = _mean_and_spread(gains)
    return found


def _mean_and_spread(values: list[float]) -> dict[str, Any]:
    spread = statistics.stdev(values) if len(values) > 1 else None
    return {
        "mean": round(statistics.mean(values), 5) if values else None,
        "deviation": None if spread is None else round(spread, 5),
        "each": [round(value, 5) for value in values],
    }


def main() -> None:
    """Reads the arguments, trains what is not trained yet, and writes the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--teacher", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--held-out", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--note", default="", help="What else there is to say of the teacher.")
    parser.add_argument("--labelled", type=int, default=400)
    parser.add_argument("--unlabelled", type=int, default=1200)
    parser.add_argument("--epochs", type=int, default=16, help="Over the labelled pairs.")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--start", default="none", help="The student's weights: none, encoders.")
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--encoder-lr", type=float, help="That of --lr if not given.")
    parser.add_argument("--encoder", default="mobilenetv3_small_050")
    parser.add_argument("--channels", type=int, nargs=4, default=(8, 16, 24, 24))
    parser.add_argument("--side", type=int, default=96)
    parser.add_argument("--teacher-weight", type=float, default=2.0)
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--arms", nargs="+", default=ARMS, choices=ARMS)
    parser.add_argument("--seeds", type=int, nargs="+", default=(0, 1, 2))
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()

    pairs = find_pairs(arguments.data)
    labelled, unlabelled = chosen(arguments, pairs)
    lay_out(arguments.work, labelled, unlabelled)
    config = student(arguments)
    counts = parameter_counts(create_from_config(config, None))
    paths = ("teacher", "data", "held_out", "work", "output", "note")
    record: dict[str, Any] = {
        **circumstances(),
        "settings": {k: v for k, v in vars(arguments).items() if k not in paths},
        "held_out": len(read_names(arguments.held_out)),
        "teacher": of_teacher(arguments, pairs),
        "student": {"parameters": counts["total"], "view": config.sam_size},
        "runs": [],
    }
    for arm in arguments.arms:
        for seed in arguments.seeds:
            print(f"{arm}, seed {seed}", flush=True)
            record["runs"].append(run(arguments, arm, seed))
            print(record["runs"][-1], flush=True)
            record["summary"] = summary(record["runs"])
            write_json(arguments.output, record)


if __name__ == "__main__":
    main()
