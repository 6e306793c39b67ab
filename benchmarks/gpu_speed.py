"""Time and memory of the large model on a GPU: naive against ours, in less than eight minutes.

    python benchmarks/gpu_speed.py --output benchmarks/gpu-speed.json

Training steps of 8 images and predictions of 1, 8 and 32, with random weights; nothing is
downloaded. Variants of a group take turns, each in a process of its own, and each group has its own
baseline, so that every figure is a ratio of medians of one run. Groups that would not fit into the
budget of time are left out, and the record says so; it is written after every group.
`--rehearse` does the same with dsunet-nano on the CPU, to see that the script works.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from dsunet.benchmarking import (
    Failure,
    Measured,
    Variant,
    circumstances,
    comparisons,
    measure,
    table_of,
)
from dsunet.config import model_config
from dsunet.errors import DsunetError
from dsunet.support.files import write_json

BATCH = 8
GB = 1e9


@dataclass(frozen=True)
class Group:
    """Variants that take turns."""

    name: str
    variants: Sequence[Variant]
    seconds: float
    """Less time than this is not worth a start."""


def groups(rehearse: bool) -> list[Group]:
    """What is measured, the most important first."""
    config = model_config("dsunet-nano", sam_size=128, dino_size=112, train_semantic=False)
    config = config if rehearse else model_config("dsunet-large")
    device = "cpu" if rehearse else "cuda"
    batch = 2 if rehearse else BATCH
    single = Variant("float32", "train", config, batch, device, "float32")
    naive = single.baseline()
    half = replace(single, name="bfloat16", precision="bfloat16")
    cached = replace(half, name="bfloat16, cache", feature_cache=True)
    light = replace(cached, name="bfloat16, cache, checkpointing", checkpointing=True)
    compiled = replace(cached, name="bfloat16, cache, compiled", compile=True)
    start = 5.0 if rehearse else 45.0
    found = [
        Group("train, bfloat16", [naive, half, cached, light], start),
        Group(
            "train, float32",
            [naive, single, replace(single, name="float32, cache", feature_cache=True)],
            start,
        ),
    ]
    for size in (1, 2, 3) if rehearse else (1, 8, 32):
        found.append(Group(f"predict, batch {size}", predictions(single, size), start))
    layouts = [
        replace(cached, name="bfloat16, cache, NCHW", channels_last=False),
        replace(cached, name="bfloat16, cache, channels_last", channels_last=True),
    ]
    found.append(Group("train, layouts", [naive, *layouts], start))
    quick = replace(half, task="predict", name="bfloat16")
    found += [
        Group("train, compile", [naive, cached, compiled], 2 * start),
        Group(
            "predict, compile",
            [
                quick.baseline(),
                quick,
                replace(quick, name="bfloat16, compiled", compile=True),
            ],
            2 * start,
        ),
    ]
    return found


def predictions(single: Variant, size: int) -> list[Variant]:
    """The naive way and ours, by number type and layout."""
    ours = replace(single, task="predict", batch_size=size)
    half = replace(ours, name="bfloat16", precision="bfloat16")
    return [
        ours.baseline(),
        ours,
        replace(half, name="bfloat16, NCHW", channels_last=False),
        replace(half, name="bfloat16, channels_last", channels_last=True),
    ]


def goals(measured: Sequence[tuple[str, Sequence[Measured | Failure]]]) -> list[dict[str, Any]]:
    """Whether the goals hold for the large model, by the variants that come nearest."""
    speedups, peaks, light = [], [], []
    for group, results in measured:
        if not group.startswith("train"):
            continue
        speedups += [(each["speedup"], each["variant"]) for each in comparisons(results)]
        for each in results:
            if isinstance(each, Measured) and not each.variant.naive and each.peak_bytes:
                kept = light if each.variant.checkpointing else peaks
                kept.append((each.peak_bytes / GB, each.variant.name))
    return [
        goal(f"a step of {BATCH} at least 5 times as quick as the naive way", speedups, 5, max),
        goal(f"a step of {BATCH} within 10 GB", peaks, 10, min),
        goal(f"a step of {BATCH} within 8 GB with checkpointing", light, 8, min),
    ]


def goal(text: str, values: Sequence[tuple[float, str]], limit: float, best: Any) -> dict[str, Any]:
    """One goal and the best value; not reached if there is no value."""
    if not values:
        return {"goal": text, "reached": None, "value": None, "variant": None}
    value, name = best(values)
    reached = value >= limit if best is max else value <= limit
    return {"goal": text, "reached": reached, "value": round(value, 3), "variant": name}


def main() -> int:
    """Measures, prints and writes; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, help="JSON file to write.")
    parser.add_argument("--rehearse", action="store_true", help="dsunet-nano on the CPU.")
    parser.add_argument("--budget", type=float, default=450.0, help="Seconds that it may take.")
    parser.add_argument("--only", help="Groups whose names begin with this.")
    parser.add_argument("--repeats", type=int, help="Rounds; 10, or 2 in a rehearsal.")
    parser.add_argument("--commit", help="Of the code, where there is no git checkout.")
    options = parser.parse_args()
    if not options.rehearse and not torch.cuda.is_available():
        print("torch finds no NVIDIA GPU here; --rehearse runs on the CPU", file=sys.stderr)
        return 1
    started = time.monotonic()
    end = started + options.budget
    about = circumstances()
    about["commit"] = about["commit"] or options.commit
    measured: list[tuple[str, Sequence[Measured | Failure]]] = []
    skipped: list[dict[str, str]] = []
    for group in groups(options.rehearse):
        if options.only and not group.name.startswith(options.only):
            continue
        left = end - time.monotonic()
        if left < group.seconds:
            skipped.append({"group": group.name, "reason": f"only {max(0, left):.0f} s were left"})
            print(f"\n{group.name}: left out, {skipped[-1]['reason']}", flush=True)
            continue
        try:
            results = measure(
                group.variants,
                repeats=options.repeats or (2 if options.rehearse else 10),
                warmup=1 if options.rehearse else 3,
                matrix_side=256 if options.rehearse else None,
                deadline=end,
            )
        except DsunetError as error:
            skipped.append({"group": group.name, "reason": str(error)})
            print(f"\n{group.name}: {error}", flush=True)
            continue
        measured.append((group.name, results))
        show(group.name, results, time.monotonic() - started)
        if options.output:
            write_json(options.output, written(options, about, measured, skipped, started))
    if options.output:
        write_json(options.output, written(options, about, measured, skipped, started))
    if not options.rehearse:
        print()
        for each in goals(measured):
            answer = {True: "yes", False: "NO", None: "not measured"}[each["reached"]]
            print(f"{each['goal']}: {answer} ({each['value']}, {each['variant']})")
    print(f"\n{time.monotonic() - started:.0f} s")
    failed = any(isinstance(each, Failure) for _, results in measured for each in results)
    return 1 if failed or not measured else 0


def written(
    options: argparse.Namespace,
    about: dict[str, Any],
    measured: Sequence[tuple[str, Sequence[Measured | Failure]]],
    skipped: Sequence[dict[str, str]],
    started: float,
) -> dict[str, Any]:
    """The record so far."""
    return {
        "command": "python benchmarks/gpu_speed.py" + " --rehearse" * options.rehearse,
        "circumstances": about,
        "weights": "random",
        "seconds": round(time.monotonic() - started, 1),
        "goals": [] if options.rehearse else goals(measured),
        "left_out": list(skipped),
        "groups": [
            {
                "group": name,
                "results": [each.to_dict() for each in results],
                "comparisons": comparisons(results),
            }
            for name, results in measured
        ],
    }


def show(name: str, results: Sequence[Measured | Failure], seconds: float) -> None:
    """The group's table, or why there is none."""
    print(f"\n{seconds:.0f} s: {name}", flush=True)
    if any(isinstance(each, Measured) for each in results):
        print(table_of(results, "").markdown(), flush=True)
    for each in results:
        if isinstance(each, Failure):
            print(f"{each.variant.name}: {each.reason}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
