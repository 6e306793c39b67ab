"""What random changes cost: processor time of a sample with each of them, beside one without.

    python benchmarks/augment_cost.py --set steel=DIR --set photographs=DIR \
        --output benchmarks/augment-cost.json

Every DIR holds `images/` and `masks/`. Samples of dsunet-lite's view are made in one thread, with
each change happening every time; the variants take turns, picture by picture, so that whatever else
the machine does falls on all alike.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch

from dsunet.config.augment import CHANGES, parse_augment
from dsunet.data import PairDataset, find_pairs
from dsunet.support.files import write_json
from measuring import circumstances

VIEW = (352, 352)


def costs(data: str, count: int) -> dict[str, float]:
    """Milliseconds of a sample by what changes it."""
    pairs = find_pairs(data)[:count]
    texts = {"none": None, **{name: f"{name}=1" for name in CHANGES}}
    texts["all"] = ",".join(f"{name}=1" for name in CHANGES)
    sets = {
        name: PairDataset(pairs, VIEW, None, flips=(0.5, 0.5), changes=parse_augment(text))
        for name, text in texts.items()
    }
    seconds = dict.fromkeys(sets, 0.0)
    for index in range(-1, len(pairs)):
        for name, dataset in sets.items():
            start = time.process_time()
            _ = dataset[0, max(index, 0)]
            if index >= 0:  # the first one imports torchvision
                seconds[name] += time.process_time() - start
    return {name: round(1000 * total / len(pairs), 1) for name, total in seconds.items()}


def main() -> None:
    """Measures every set and writes the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--set", action="append", required=True, metavar="NAME=DIR")
    parser.add_argument("--count", type=int, default=60, help="Pictures of each.")
    parser.add_argument("--note", help="What else the machine did, say.")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    sets = dict(given.split("=", 1) for given in arguments.set)
    record = {
        "circumstances": circumstances(),
        "note": arguments.note,
        "pictures": arguments.count,
        "milliseconds": {name: costs(data, arguments.count) for name, data in sets.items()},
    }
    write_json(arguments.output, record)


if __name__ == "__main__":
    main()
