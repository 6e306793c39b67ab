"""What `dsunet plan` foretells against what comes, and its plans against the documented recipe.

    python benchmarks/plan.py --set steel=DIR --set tile=DIR --set polyps=DIR --set camo=DIR \
        --set duts=DIR --minutes 10 --work RUNS --output benchmarks/plan.json

Every DIR holds `images/` and `masks/`. Each set is planned for once and trained as planned with
every seed; steel, tile and polyps, whose held-out pairs are in benchmarks/NAME/val.txt, also by the
recipe of docs/own-data.md (with the views of fine_tune.py), for as many epochs as the same minutes
have room for. `--clock processor` counts minutes of computing in the training's own process, for
machines that do other things meanwhile; `--way plan` leaves the recipe out. What stands in
`--output` already is not done again.
"""

from __future__ import annotations

import argparse
import csv
import json
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from dsunet.cli.parser import Parser
from dsunet.cli.plan import PLAN, wishes_of
from dsunet.planning import Plan, make_plan
from dsunet.support.files import write_json
from fine_tune import MEASURES, SETTINGS
from measuring import circumstances

HERE = Path(__file__).parent
RECIPE = (
    "--model dsunet-lite --weights default --warmup-epochs 1 --lr 5e-4 --encoder-lr 2e-4 "
    "--clip-grad-norm 2 --crop 0.7 --average 0.99 --batch-size 8 --horizontal-flip 0.5 "
    "--vertical-flip 0.5 --colour 0 --val-every 5"
)
COMMON = "--protocol benchmark --device cpu --workers 1"
# The command, and then what its process had and took.
COUNTED = """
import json, sys, time
from dsunet.cli import main
status = main(sys.argv[1:])
import torch
from dsunet.benchmarking.memory import peak_bytes
memory, processor = peak_bytes(torch.device("cpu")), time.process_time()
print("@" + json.dumps({"memory": memory, "processor": processor}))
sys.exit(status)
"""


def planned(flags: list[str], minutes: float, clock: str) -> Plan:
    """The plan for some flags, which stand."""
    parser = Parser("plan", PLAN.summary, PLAN.examples)
    PLAN.add_arguments(parser)
    return make_plan(wishes_of(parser.parse(flags), minutes), say=print, clock=clock)


def trained(plan: Plan, flags: list[str], run: Path) -> dict[str, Any]:
    """What a training as planned took, and what came of it."""
    shutil.rmtree(run, ignore_errors=True)
    given = [*flags]
    for name, value in plan.settings.items():
        flag = f"--{name.replace('_', '-')}"
        if flag not in flags and value is not None:
            given += [f"{flag}={str(value).lower() if isinstance(value, bool) else value}"]
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", COUNTED, "train", *given, "--output", str(run)],
        check=True,
        capture_output=True,
        text=True,
        cwd=HERE.parent,
    )
    wall = time.monotonic() - started
    counted = json.loads(done.stdout.rpartition("@")[2])
    with open(run / "metrics.csv", newline="", encoding="utf-8") as file:
        last = list(csv.DictReader(file))[-1]
    return {
        "wall": round(wall, 1),
        "processor": round(counted["processor"], 1),
        "memory": counted["memory"],
        "measures": {key: float(last[key]) for key in MEASURES},
    }


def compared(plan: Plan, came: dict[str, Any], clock: str, seed: int) -> dict[str, Any]:
    """What was foretold beside what came; `ratio` is the one by the other."""
    settings = {k: v for k, v in plan.settings.items() if k not in ("data", "val_list")}
    return {
        "settings": settings | {"seed": seed},
        "notes": list(plan.findings),
        "seconds": {
            "clock": clock,
            "foretold": round(plan.seconds, 1),
            "came": came[clock],
            "ratio": round(plan.seconds / came[clock], 3),
        },
        "memory": {
            "foretold": plan.costs.memory,
            "came": came["memory"],
            "ratio": round(plan.costs.memory / came["memory"], 3),
        },
        "wall": came["wall"],
        "measures": came["measures"],
    }


def main() -> None:
    """Plans and trains, and writes the record after every run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--set", action="append", required=True, metavar="NAME=DIR")
    parser.add_argument("--way", action="append", choices=("plan", "recipe"), help="One alone.")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seeds", type=int, nargs="+", default=(0, 1, 2))
    parser.add_argument("--clock", choices=("wall", "processor"), default="wall")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    record = json.loads(arguments.output.read_text()) if arguments.output.exists() else {}
    results = record.get("sets", {})
    plans: dict[tuple[str, str], Plan] = {}
    for seed in arguments.seeds:
        for given in arguments.set:
            name, data = given.split("=", 1)
            ways = {"plan": COMMON}
            if name in SETTINGS:
                view = SETTINGS[name].partition(" --epochs")[0]
                held_out = f" --val-list benchmarks/{name}/val.txt"
                ways = dict.fromkeys(("plan", "recipe"), COMMON + held_out)
                ways["recipe"] += f" {RECIPE} {view}"
            for way, text in ways.items():
                if way not in (arguments.way or ways):
                    continue
                own = results.setdefault(name, {}).setdefault(way, {})
                if str(seed) in own:
                    continue
                flags = [*shlex.split(text), "--seed", str(seed)]
                if (name, way) not in plans:
                    plans[name, way] = planned([data, *flags], arguments.minutes, arguments.clock)
                plan = plans[name, way]
                came = trained(
                    plan, ["--data", data, *flags], arguments.work / f"{name}-{way}-{seed}"
                )
                own[str(seed)] = {"minutes": arguments.minutes} | compared(
                    plan, came, arguments.clock, seed
                )
                write_json(arguments.output, {"circumstances": circumstances(), "sets": results})
                print(name, way, seed, json.dumps(own[str(seed)]), flush=True)


if __name__ == "__main__":
    main()
