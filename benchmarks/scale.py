"""Prediction on a Ray cluster of this machine: kills, one actor and two, the driver's memory.

    python benchmarks/scale.py kills --count 20000 --model lite-128 --json benchmarks/scale.json
    python benchmarks/scale.py kills --count 2000 --model lite --json benchmarks/scale.json
    python benchmarks/scale.py speed --count 400 --json benchmarks/scale.json
    python benchmarks/scale.py driver --count 100000 --json benchmarks/scale.json
    python benchmarks/scale.py plan --count 1000000 --json benchmarks/scale.json

`kills` predicts generated pictures of 64 to 96 px, of which one in a hundred is broken, by the
plain command and on two actors, which are killed at random times (SIGKILL); the driver is killed
once, and `--resume` goes on. Then the maps have to be the plain command's, byte for byte, and the
manifest has to have one row for every picture. `lite` is dsunet-lite by onnxruntime; `lite-128` is
the same with a view of 128 px, which takes a seventh of the time, so that what stands around the
model is put to the test. Actors are killed while they do parts, not while they start. `speed` lets
one actor and two do the same pictures, in turns. `driver` gives names of files that are not there,
so that nothing is computed, and reads the driver's highest resident memory (VmHWM). `plan` makes
the plan alone, as the driver does, and reads what it adds to this process's. Each adds its record
to the file.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pad
import pyarrow.parquet as pq

from dsunet.benchmarking import circumstances
from dsunet.data.synthetic import synthetic_pair
from dsunet.predict.cluster.parts import size_of_parts, table_of, write_plan
from dsunet.predict.plan import plan as make_plan

DISTINCT = 200
COMMAND = (sys.executable, "-m", "dsunet.cli", "predict")
MODELS = {"lite": ("--engine", "onnx"), "lite-128": ("--engine", "onnx", "--view", "128")}


def processes() -> dict[int, tuple[int, str]]:
    """Parent and command line of every process."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError):
            stat = (folder / "stat").read_text()
            line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            found[int(folder.name)] = int(stat.rpartition(")")[2].split()[1]), line
    return found


def actors_of(driver: int) -> list[int]:
    """Processes below a driver's that are doing parts."""
    every = processes()

    def is_below(pid: int) -> bool:
        while pid in every:
            if pid == driver:
                return True
            pid = every[pid][0]
        return False

    return [
        pid
        for pid, (_, line) in every.items()
        if "ray::MapWorker" in line and "submit" in line and is_below(pid)
    ]


def highest_mib(pid: int) -> float:
    """The highest resident memory of a process so far."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return round(int(line.split()[1]) / 1024, 1)
    return 0.0


@contextlib.contextmanager
def started(arguments: list[str], folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The command, in a folder, with one thread to compute; ends with the block."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with open(folder / "said.txt", "ab") as said:
        process = subprocess.Popen(
            [*COMMAND, *arguments], cwd=folder, env=environment, stdout=said, stderr=said
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def run(arguments: list[str], folder: Path) -> float:
    """Seconds that the command takes."""
    begun = time.perf_counter()
    with started(arguments, folder) as process:
        status = process.wait()
    if status not in (0, 1):
        raise SystemExit(f"status {status}: {(folder / 'said.txt').read_text()[-2000:]}")
    return time.perf_counter() - begun


def write_pictures(folder: Path, count: int) -> None:
    """So many JPEGs in folders of a thousand; one in a hundred is cut short."""
    contents = []
    for number in range(DISTINCT):
        file = folder / "one.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        synthetic_pair(number, 64 + number % 33)[0].save(file)
        contents.append(file.read_bytes())
    (folder / "one.jpg").unlink()
    for number in range(count):
        content = contents[number % DISTINCT]
        file = folder / f"{number // 1000:03d}" / f"{number:06d}.jpg"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(content[:100] if number % 100 == 50 else content)


def outputs(folder: Path) -> dict[str, str]:
    """Sums of all maps."""
    return {
        file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in folder.rglob("*.png")
    }


def manifest(folder: Path) -> pa.Table:
    """A prediction's rows."""
    return pad.dataset(folder / "manifest", format="parquet").to_table()


def killed(arguments: list[str], folder: Path, count: int, every: float) -> dict[str, Any]:
    """Runs the command on a cluster; kills actors at random, and the driver once."""
    rng, kills = random.Random(0), 0
    killed_after = 0
    begun = time.perf_counter()
    for attempt in range(2):
        until = time.monotonic() + rng.uniform(0.5, 1.5) * every
        with started([*arguments, *(["--resume"] if attempt else [])], folder) as process:
            while process.poll() is None:
                time.sleep(1.0)
                done = sum(1 for _ in (folder / "cluster").rglob("*.png"))
                if attempt == 0 and done > count // 2:
                    process.send_signal(signal.SIGKILL)
                    killed_after = done
                elif time.monotonic() > until and (pids := actors_of(process.pid)):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(rng.choice(pids), signal.SIGKILL)
                        kills += 1
                    until = time.monotonic() + rng.uniform(0.5, 1.5) * every
    return {
        "actors_killed": kills,
        "driver_killed_after_maps": killed_after,
        "seconds": round(time.perf_counter() - begun, 1),
        "status": process.returncode,
    }


def kills(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """One record of `kills`."""
    write_pictures(folder / "in", arguments.count)
    model = [*MODELS[arguments.model], "in"]
    plain = run([*model, "--output", "plain"], folder)
    how = killed(
        [*model, "--output", "cluster", "--cluster", "local", "--actors", "2"],
        folder,
        arguments.count,
        arguments.every,
    )
    table, broken = manifest(folder / "cluster"), (arguments.count + 49) // 100
    ours, theirs = outputs(folder / "cluster"), outputs(folder / "plain")
    return {
        "pictures": arguments.count,
        "model": arguments.model,
        **how,
        "seconds_of_the_plain_command": round(plain, 1),
        "rows": table.num_rows,
        "distinct_inputs": len(set(table["input"].to_pylist())),
        "failed_rows": table["status"].to_pylist().count("failed"),
        "broken": broken,
        "maps": len(ours),
        "maps_that_differ_from_the_plain_commands": sum(
            ours.get(name) != theirs.get(name) for name in {*ours, *theirs}
        ),
        "bytes_of_output": sum(f.stat().st_size for f in (folder / "cluster").rglob("*.png")),
        "bytes_of_manifest": sum(
            f.stat().st_size for f in (folder / "cluster" / "manifest").rglob("*.parquet")
        ),
    }


def speed(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Seconds of one actor and two for the same pictures, without Ray's start."""
    write_pictures(folder / "in", arguments.count)
    times: dict[str, list[float]] = {"1": [], "2": []}
    shares: dict[str, list[float]] = {"1": [], "2": []}
    for number in range(arguments.repeats):
        for actors in times:
            out = f"out-{actors}-{number}"
            flags = ["--output", out, "--cluster", "local", "--actors", actors]
            run([*MODELS[arguments.model], "in", *flags], folder)
            written = sorted(f.stat().st_mtime for f in (folder / out).rglob("*.png"))
            # from the first twentieth on, when all actors have the model
            first = len(written) // 20
            rate = (len(written) - first - 1) / (written[-1] - written[first])
            times[actors].append(round(rate, 2))
            seconds = manifest(folder / out)["seconds"].to_numpy()
            shares[actors].append(round(float(np.median(seconds)), 4))
    ratios = [two / one for one, two in zip(times["1"], times["2"], strict=True)]
    return {
        "pictures": arguments.count,
        "model": arguments.model,
        "pictures_a_second": times,
        "median_seconds_a_picture": shares,
        "two_actors_over_one": round(float(np.median(ratios)), 2),
    }


def plan(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """What a plan of so many rows of a table adds to the memory of this process, and its time."""
    write_names(folder / "images.parquet", arguments.count)
    before, begun = highest_mib(os.getpid()), time.process_time()
    planned = make_plan([], folder / "out", from_parquet=folder / "images.parquet")
    after_plan = highest_mib(os.getpid())
    table, keys = table_of(planned, "png")
    parts = write_plan(folder, "token", table, size_of_parts(len(planned)))
    return {
        "rows": len(planned),
        "parts": parts,
        "mib_before": before,
        "mib_for_the_plan": round(after_plan - before, 1),
        "mib_with_its_table": round(highest_mib(os.getpid()) - before, 1),
        "bytes_of_the_table": table.nbytes + keys.nbytes,
        "process_seconds": round(time.process_time() - begun, 1),
    }


def write_names(file: Path, count: int) -> None:
    """A table of so many names of files that are not there."""
    names = [f"/nowhere/{i // 1000:06d}/{i:09d}.jpg" for i in range(count)]
    pq.write_table(pa.table({"image": names}), file)


def driver(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """The driver's memory for so many rows of a table, all of which fail at once."""
    write_names(folder / "images.parquet", arguments.count)
    flags = ["--from-parquet", "images.parquet", "--output", "out", "--cluster", "local"]
    begun, highest = time.perf_counter(), 0.0
    with started([*MODELS["lite"], *flags], folder) as process:
        while process.poll() is None:
            time.sleep(0.2)
            highest = max(highest, highest_mib(process.pid))
    seconds = time.perf_counter() - begun
    table = manifest(folder / "out")
    return {
        "rows": table.num_rows,
        "distinct_inputs": len(set(table["input"].to_pylist())),
        "failed_rows": table["status"].to_pylist().count("failed"),
        "driver_highest_mib": highest,
        "seconds": round(seconds, 1),
        "bytes_of_manifest": sum(
            f.stat().st_size for f in (folder / "out" / "manifest").rglob("*.parquet")
        ),
    }


def main() -> None:
    """Reads the arguments and adds a record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("kills", "speed", "driver", "plan"))
    parser.add_argument("--count", type=int, required=True, help="Pictures, or rows.")
    parser.add_argument("--model", choices=tuple(MODELS), default="lite")
    parser.add_argument("--every", type=float, default=20.0, help="Seconds between two kills.")
    parser.add_argument("--note", default="", help="What else is to be said, such as the load.")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, required=True)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        record = globals()[arguments.what](arguments, Path(place))
    before = json.loads(arguments.json.read_text()) if arguments.json.is_file() else {}
    name = arguments.what if arguments.what != "kills" else f"kills-{arguments.model}"
    before[name] = {**record, "note": arguments.note, **circumstances()}
    arguments.json.write_text(json.dumps(before, indent=2) + "\n")
    print(record)


if __name__ == "__main__":
    main()
