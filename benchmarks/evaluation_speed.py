"""How long measuring 1,000 maps takes, beside a plain loop over PySODMetrics' classes.

    python benchmarks/evaluation_speed.py --json benchmarks/evaluation-speed.json

Masks and maps are made up: the objects of `dsunet generate`, and the same blurred, shifted and with
noise. Every timing is taken in a process of its own, in rounds that take turns; imports do not
count, the start of worker processes does. The loop reads files by OpenCV, as PySODMetrics' own
examples do, and takes its quickest classes: `FmeasureV2` with the handlers that are needed alone.
For the four measures there is a loop with the older and commoner `Fmeasure`, too.
The values have to be equal to the last digit, or the script stops.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from dsunet.data.synthetic import synthetic_pair
from measuring import circumstances

PLAIN, ONE, TWO = "plain loop", "dsunet, 1 process", "dsunet, 2 processes"
USUAL = "plain loop, Fmeasure"
PLAIN_MEMORY, ONE_MEMORY = "plain loop, no files", "dsunet, no files"
WAYS = {
    "four": (USUAL, PLAIN, ONE, TWO, PLAIN_MEMORY, ONE_MEMORY),
    "all": (PLAIN, ONE, TWO, PLAIN_MEMORY, ONE_MEMORY),
}

Read = Callable[[], tuple[np.ndarray, np.ndarray]]


def write_pairs(folder: Path, count: int) -> None:
    """Masks of 400×300 and maps of them, as PNGs."""
    rng = np.random.default_rng(0)
    for name in ("masks", "maps"):
        (folder / name).mkdir()
    for number in range(count):
        mask = cv2.resize(np.array(synthetic_pair(number, 128)[1]), (400, 300))
        mask = np.where(mask > 128, 255, 0).astype(np.uint8)
        blurred = cv2.GaussianBlur(np.roll(mask, 3, axis=1), (0, 0), 4).astype(np.float64)
        noise = cv2.GaussianBlur(rng.normal(0, 100, mask.shape), (0, 0), 3)
        map_ = (rng.uniform(0.6, 1) * blurred + 0.2 * noise).clip(0, 255).astype(np.uint8)
        cv2.imwrite(str(folder / "masks" / f"{number:04d}.png"), mask)
        cv2.imwrite(str(folder / "maps" / f"{number:04d}.png"), map_)


def read(folder: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    """A map and its mask, as PySODMetrics' examples read them."""
    paths = (folder / "maps" / name, folder / "masks" / name)
    map_, mask = (cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in paths)
    return map_, mask


def usual(reads: list[Read]) -> dict[str, float]:
    """The four measures by PySODMetrics' older classes."""
    import py_sod_metrics as library

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it will give way to FmeasureV2 one day
        f = library.Fmeasure()
    s, e, mae = library.Smeasure(), library.Emeasure(), library.MAE()
    for each in reads:
        map_, mask = each()
        for measure in (s, f, e, mae):
            measure.step(map_, mask)
    return {
        "S": float(s.get_results()["sm"]),
        "F": float(f.get_results()["fm"]["adp"]),
        "E": float(e.get_results()["em"]["curve"].mean()),
        "MAE": float(mae.get_results()["mae"]),
    }


def plain(reads: list[Read], chosen: str) -> dict[str, float]:
    """PySODMetrics' classes, one map after another."""
    import py_sod_metrics as library

    every = chosen == "all"
    handlers = {"F": library.FmeasureHandler(every, True)}
    if every:
        handlers["precision"] = library.PrecisionHandler(True, False)
        handlers["recall"] = library.RecallHandler(True, False)
        handlers["Dice"] = library.DICEHandler(True, False)
        handlers["IoU"] = library.IOUHandler(True, False)
    f = library.FmeasureV2(handlers)
    s, e, mae = library.Smeasure(), library.Emeasure(), library.MAE()
    weighted = library.WeightedFmeasure()
    for each in reads:
        map_, mask = each()
        for measure in (s, f, e, mae, *([weighted] if every else [])):
            measure.step(map_, mask)
    of_f, of_e = f.get_results(), e.get_results()["em"]
    values = {
        "S": s.get_results()["sm"],
        "F": of_f["F"]["adaptive"],
        "E": of_e["curve"].mean(),
        "MAE": mae.get_results()["mae"],
    }
    if every:
        values |= {
            "Fmax": of_f["F"]["dynamic"].max(),
            "Fmean": of_f["F"]["dynamic"].mean(),
            "Fw": weighted.get_results()["wfm"],
            "Emax": of_e["curve"].max(),
            "Eadp": of_e["adp"],
            "mDice": of_f["Dice"]["dynamic"].mean(),
            "mIoU": of_f["IoU"]["dynamic"].mean(),
            "Dicemax": of_f["Dice"]["dynamic"].max(),
            "IoUmax": of_f["IoU"]["dynamic"].max(),
        }
    return {key: float(value) for key, value in values.items()}


def take(way: str, chosen: str, folder: Path) -> dict[str, object]:
    """One timing, in this process."""
    import py_sod_metrics  # noqa: F401  (its import does not count)

    from dsunet.metrics import ALL_MEASURES, MEASURES, Measures, evaluate_folders
    from dsunet.metrics.comparison import compare_folders  # noqa: F401

    keys = MEASURES if chosen == "four" else tuple(ALL_MEASURES)
    names = sorted(file.name for file in (folder / "maps").iterdir())
    reads: list[Read] = [lambda name=name: read(folder, name) for name in names]
    if way in (PLAIN_MEMORY, ONE_MEMORY):
        kept = [each() for each in reads]
        reads = [lambda pair=pair: pair for pair in kept]
    started = time.perf_counter()
    if way == USUAL:
        values = usual(reads)
    elif way in (PLAIN, PLAIN_MEMORY):
        values = plain(reads, chosen)
    elif way == ONE_MEMORY:
        measures = Measures(keys, protocol="benchmark")
        for each in reads:
            measures.update(*each())
        values = measures.compute()
    else:
        masks, workers = folder / "masks", 2 if way == TWO else 1
        values = evaluate_folders(
            folder / "maps", masks, workers=workers, measures=keys, protocol="benchmark"
        ).scores
    return {"seconds": time.perf_counter() - started, "values": values}


def take_elsewhere(way: str, chosen: str, folder: Path) -> dict[str, object]:
    """One timing, in a new process."""
    call = [sys.executable, __file__, "--take", way, "--set", chosen, "--folder", str(folder)]
    done = subprocess.run(call, capture_output=True, text=True, check=True)
    result: dict[str, object] = json.loads(done.stdout)
    return result


def check(results: dict[str, dict[str, float]], chosen: str) -> None:
    """Stops unless all ways gave the same values."""
    reference = results[PLAIN]
    for way, values in results.items():
        for key, value in reference.items():
            if values[key] != value:
                raise SystemExit(f"{chosen}: {key} is {values[key]!r} by {way}, not {value!r}")


def main() -> None:
    """Reads the arguments and writes the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--take", choices=WAYS["four"], help=argparse.SUPPRESS)
    parser.add_argument("--set", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.take:
        print(json.dumps(take(arguments.take, arguments.set, arguments.folder)))
        return
    record: dict[str, object] = {"maps": arguments.count, "rounds": arguments.rounds}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_pairs(folder, arguments.count)
        for chosen, ways in WAYS.items():
            seconds: dict[str, list[float]] = {way: [] for way in ways}
            values = {}
            for _ in range(arguments.rounds):
                for way in ways:
                    one = take_elsewhere(way, chosen, folder)
                    seconds[way].append(float(str(one["seconds"])))
                    values[way] = one["values"]
            check(values, chosen)  # type: ignore[arg-type]
            record[chosen] = summarise(seconds)
            print(chosen, json.dumps(record[chosen], indent=1))
    if arguments.json:
        content = {**circumstances(), **record}
        arguments.json.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def summarise(seconds: dict[str, list[float]]) -> dict[str, object]:
    """Medians, and how often faster dsunet is than the loop: the median of the rounds' ratios."""

    def ratio(slow: str, quick: str) -> float:
        pairs = zip(seconds[slow], seconds[quick], strict=True)
        return round(statistics.median(a / b for a, b in pairs), 2)

    return {
        "seconds": {way: round(statistics.median(taken), 2) for way, taken in seconds.items()},
        "times as fast": {
            ONE: ratio(PLAIN, ONE),
            TWO: ratio(PLAIN, TWO),
            ONE_MEMORY: ratio(PLAIN_MEMORY, ONE_MEMORY),
            **({f"{TWO}, beside {USUAL}": ratio(USUAL, TWO)} if USUAL in seconds else {}),
        },
    }


if __name__ == "__main__":
    main()
