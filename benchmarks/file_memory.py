"""Whether memory stays flat while an exported file segments thousands of pictures.

    python benchmarks/file_memory.py --engine onnx --output benchmarks/file-memory.json

Pictures of mixed sizes, from 64×64 to 800×600, in batches of 1 to 4, by `dsunet-lite`; the peak
and the present memory of the process are noted at every tenth of the way.
"""

from __future__ import annotations

import argparse
import resource
from pathlib import Path
from typing import Any

import numpy as np

import dsunet
from dsunet.support.files import write_json


def present() -> float:
    """MB of memory that the process has now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return round(pages * resource.getpagesize() / 1e6, 1)


def main() -> None:
    """Segments, and writes the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--engine", default="onnx")
    parser.add_argument("--pictures", type=int, default=10_000)
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()

    segmenter = dsunet.Segmenter(engine=arguments.engine)
    draws = np.random.default_rng(0)
    rows: list[dict[str, Any]] = []
    done, batches = 0, 0
    while done < arguments.pictures:
        pictures = [
            draws.integers(0, 256, (*draws.integers(64, (601, 801)), 3), dtype=np.uint8)
            for _ in range(1 + batches % 4)
        ]
        segmenter(pictures, batch_size=len(pictures))
        done, batches = done + len(pictures), batches + 1
        if done * 10 >= arguments.pictures * (len(rows) + 1) or batches == 10:
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
            rows.append({"pictures": done, "mb": present(), "peak_mb": round(peak, 1)})
            print(rows[-1], flush=True)
    from measuring import circumstances  # which imports torch: only now

    write_json(
        arguments.output,
        {"circumstances": circumstances(), "engine": segmenter.engine.runtime, "memory": rows},
    )


if __name__ == "__main__":
    main()
