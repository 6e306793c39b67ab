"""How quickly and in how much memory the large model is built from weights files.

    python benchmarks/load_large.py --output benchmarks/load-large.json

Made-up values under the names and shapes of the real files (about 6 GB in a temporary folder).
Every way to load runs in a process of its own, after the imports, with the files in the page cache;
the time to read the same files byte by byte is measured beside it. Memory is the process's peak
above what it was after the imports, once every weight has been touched, as a share of the
parameters' own four bytes each. The first time a file is met its encoders are summed; later the
index of known files has the sum.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

import dsunet
from dsunet.config import model_config
from dsunet.network.build import build_model
from dsunet.network.layers import HAAR_TAPS
from dsunet.network.model import DSUNet
from dsunet.support.files import write_json
from dsunet.weights.names import DSU_NET
from measuring import circumstances

SCRIPT = Path(__file__).resolve()
SAM, DINO = "sam2.1_hiera_large.pt", "dinov2_vitl14_pretrain.pth"
OURS, WHOLE, AUTHORS = "ours.safetensors", "whole.safetensors", "DGSUNet-50.pth"


def from_official_files() -> DSUNet:
    """Both encoders from the official files, the rest random."""
    return dsunet.create_model("dsunet-large", None, pyramid_weights=SAM, semantic_weights=DINO)


# How to build the model, and the files that takes.
WAYS: dict[str, tuple[Callable[[], DSUNet], list[str]]] = {
    "official files": (from_official_files, [SAM, DINO]),
    "our file, encoders by reference": (lambda: dsunet.load(OURS), [SAM, DINO, OURS]),
    "our file, self-contained": (lambda: dsunet.load(WHOLE), [WHOLE]),
    "the authors' file": (lambda: dsunet.load(AUTHORS), [AUTHORS]),
    "random weights": (lambda: dsunet.create_model("dsunet-large", None), []),
}


def made_up(shape: tuple[int, ...], name: str) -> torch.Tensor:
    """Small random values."""
    if name.endswith("num_batches_tracked"):
        return torch.zeros((), dtype=torch.int64)
    return torch.rand(shape) * 0.1 + 0.01


def write_files(folder: Path) -> None:
    """Every format of the large model, with made-up values."""
    with torch.device("meta"):
        model = build_model(model_config("dsunet-large"))
    shapes = {DSU_NET.theirs(n) or n: tuple(t.shape) for n, t in model.state_dict().items()}
    state = {name: made_up(shape, name) for name, shape in shapes.items()}
    channels = 1024
    taps = torch.tensor(HAAR_TAPS).unsqueeze(1).repeat(channels, 1, 1, 1)
    state |= {
        "dino2sam_down14.depthwise.wt_filter": taps,
        "dino2sam_down14.depthwise.iwt_filter": taps,
        "backbone_dino.dino_encoder.mask_token": torch.zeros(1, channels),
    }
    torch.save(state, folder / AUTHORS)
    vit = "backbone_dino.dino_encoder."
    torch.save(
        {n.removeprefix(vit): t for n, t in state.items() if n.startswith(vit)},
        folder / DINO,
    )
    pyramid = "backbone_sam.sam_encoder."
    trunk = {
        n.removeprefix(pyramid).replace(".block.", "."): t
        for n, t in state.items()
        if n.startswith(pyramid) and ".prompt_learn." not in n
    }
    others = {"no_obj_embed_spatial": torch.zeros(1, 64), "maskmem_tpos_enc": torch.zeros(7, 64)}
    sam = {**{f"image_encoder.trunk.{n}": t for n, t in trunk.items()}, **others}
    torch.save({"model": sam}, folder / SAM)
    dsunet.convert(folder / AUTHORS, folder / WHOLE, include_encoders=True)
    dsunet.convert(
        folder / AUTHORS,
        folder / OURS,
        pyramid_weights=folder / SAM,
        semantic_weights=folder / DINO,
    )


def peak_bytes() -> int:
    """The most memory that this process has had (Linux)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("/proc/self/status has no VmHWM")


def measure(way: str) -> dict[str, float]:
    """In this process: seconds to build, and the peak of memory once all weights were touched."""
    build, _ = WAYS[way]
    with torch.device("meta"):
        build_model(model_config("dsunet-tiny"))  # everything is imported now
    before = peak_bytes()
    start = time.perf_counter()
    model = build()
    seconds = time.perf_counter() - start
    built = peak_bytes()
    assert sum(float(p.detach().sum()) for p in model.parameters()) != 0
    own = sum(p.numel() * p.element_size() for p in model.parameters())
    return {
        "seconds": round(seconds, 2),
        "peak_after_building_MB": round((built - before) / 1e6),
        "peak_after_touching_MB": round((peak_bytes() - before) / 1e6),
        "own_MB": round(own / 1e6),
        "share": round((peak_bytes() - before) / own, 3),
    }


def run(way: str, cache: Path) -> dict[str, float]:
    """Measures in a new process, with the index of known files in `cache`."""
    call = [sys.executable, str(SCRIPT), "--measure", way]
    environment = {**os.environ, "DSUNET_CACHE": str(cache)}
    done = subprocess.run(call, capture_output=True, text=True, check=True, env=environment)
    measured: dict[str, float] = json.loads(done.stdout)
    return measured


def seconds_to_read(files: list[str]) -> float:
    """How long reading some files byte by byte takes."""
    start = time.perf_counter()
    for file in files:
        with open(file, "rb") as stream:
            while stream.read(1 << 24):
                pass
    return round(time.perf_counter() - start, 2)


def main() -> None:
    """Reads the arguments and writes the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=lambda name: Path(name).resolve())
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.measure)))
        return
    with tempfile.TemporaryDirectory() as folder:
        os.environ["DSUNET_CACHE"] = str(Path(folder) / "cache")
        print("writing the files", flush=True)
        write_files(Path(folder))
        os.chdir(folder)
        results: dict[str, object] = {}
        for way, (_, files) in WAYS.items():
            reading = min(seconds_to_read(files) for _ in range(2))  # and into the page cache
            first = run(way, Path(folder) / f"cache of {way}")
            later = [run(way, Path(folder) / f"cache of {way}") for _ in range(arguments.repeats)]
            later.sort(key=lambda each: each["seconds"])
            results[way] = {
                "seconds_to_read": reading,
                "seconds_first_time": first["seconds"],
                **later[len(later) // 2],
            }
            print(way, results[way], flush=True)
        sizes = {f.name: f.stat().st_size for f in Path(folder).iterdir() if f.is_file()}
    if arguments.output:
        write_json(arguments.output, {**circumstances(), "file_bytes": sizes, "ways": results})


if __name__ == "__main__":
    main()
