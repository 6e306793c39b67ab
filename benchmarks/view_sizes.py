"""What the shipped weights do in views of other sizes.

    python benchmarks/view_sizes.py --data DIR --held-out RUN/val.txt \
        --output benchmarks/view-sizes.json

Measured are the pairs that were held out of their training: DIR holds the `images/` and `masks/` of
the run RUN. The sizes of files there, at most 256 px, bound what a larger view can show.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import dsunet
from dsunet.data import find_pairs
from dsunet.data.pairs import read_names
from dsunet.support.files import write_json
from dsunet.weights.shipped import DEFAULT
from measuring import circumstances, measures_of


def main() -> None:
    """Measures every size and writes the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--held-out", type=Path, required=True)
    parser.add_argument("--sizes", type=int, nargs="+", default=(224, 256, 288, 320, 352))
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    names = set(read_names(arguments.held_out))
    pairs = [pair for pair in find_pairs(arguments.data) if pair.name in names]
    measures = {}
    for size in arguments.sizes:
        model = dsunet.create_model(DEFAULT, sam_size=size).eval()
        measures[size] = measures_of(dsunet.Segmenter(model, device="cpu"), pairs)
        print(size, measures[size], flush=True)
    write_json(
        arguments.output,
        {"circumstances": circumstances(), "pairs": len(pairs), "measures": measures},
    )


if __name__ == "__main__":
    main()
