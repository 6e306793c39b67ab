"""What several tests share: golden files, the recipe of their values, small models."""

from __future__ import annotations

import contextlib
import signal
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import dsunet
from dsunet.data.catalogue.layouts import Layout
from dsunet.data.synthetic import synthetic_pair
from dsunet.network.model import DSUNet

TESTS = Path(__file__).parent
ROOT = TESTS.parent
GOLDEN = TESTS / "golden"
SHARED = ROOT.parent / "shared"


class Golden:
    """One golden file: the authors' state by their names, inputs, outputs and gradients."""

    def __init__(self, name: str) -> None:
        with np.load(GOLDEN / f"{name}.npz") as file:
            self.arrays = {key: torch.from_numpy(file[key].copy()) for key in file.files}

    def __getitem__(self, key: str) -> Tensor:
        return self.arrays[key]

    def under(self, prefix: str) -> dict[str, Tensor]:
        return {k.removeprefix(prefix): v for k, v in self.arrays.items() if k.startswith(prefix)}


def fill(name: str, shape: list[int]) -> np.ndarray:
    """The value that the golden whole-model run gave to the tensor of this name."""
    rng = np.random.Generator(np.random.Philox(zlib.crc32(name.encode())))
    if not shape:
        return np.array(0)
    x = rng.standard_normal(tuple(shape), dtype=np.float32)
    one_axis = len(shape) == 1
    affine = [
        (name.endswith("running_var"), 1.0, 0.2 * np.abs(x)),
        (name.endswith("running_mean"), 0.0, 0.1 * x),
        ("wavelet_scale" in name, 0.1, 0.02 * x),
        ("base_scale" in name, 1.0, 0.1 * x),
        (one_axis and name.endswith(("weight", "gamma")), 1.0, 0.1 * x),
        (one_axis, 0.0, 0.05 * x),
        ("pos_embed" in name or "token" in name, 0.0, 0.2 * x),
    ]
    for applies, offset, value in affine:
        if applies:
            return (offset + value).astype(np.float32)
    if "prompt_learn" in name:
        x = 0.2 * x
    return (x / np.sqrt(int(np.prod(shape[1:])) or 1)).astype(np.float32)


def golden_image(seed: int, batch: int, side: int) -> np.ndarray:
    """The input that the golden whole-model run used."""
    rng = np.random.Generator(np.random.Philox(seed))
    cells = side // 7 + 1
    low = rng.standard_normal((batch, 3, cells, cells), dtype=np.float32)
    blocks = np.repeat(np.repeat(low, 7, 2), 7, 3)[:, :, :side, :side]
    noise = rng.standard_normal((batch, 3, side, side), dtype=np.float32)
    return np.ascontiguousarray(blocks + 0.1 * noise)


@contextlib.contextmanager
def stopped_after(seconds: int, reason: str) -> Iterator[None]:
    """Ends what hangs; the time is generous, as tests may share the machine."""

    def stop(number: int, frame: object) -> None:
        raise TimeoutError(reason)

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def nano(seed: int = 0, **overrides: object) -> DSUNet:
    """The nano model at the smallest sizes, with random weights that do not change."""
    torch.manual_seed(seed)
    settings: dict[str, object] = {"sam_size": 128, "dino_size": 112, **overrides}
    return dsunet.create_model("dsunet-nano", weights=None, **settings)


def lay_out(root: Path, layout: Layout | str, stems: list[str], *, seed: int = 0) -> None:
    """Writes pairs of 64 px in the two folders of a layout, or of `images + masks`."""
    images, masks = str(layout).split(" + ")
    for folder in (images, masks):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for number, stem in enumerate(stems):
        image, mask = synthetic_pair(seed + number, 64)
        image.save(root / images / f"{stem}.jpg")
        mask.save(root / masks / f"{stem}.png")


def tar_of(folder: Path, archive: Path, prefix: str = "") -> Path:
    """An archive of the files below a folder."""
    with tarfile.open(archive, "w") as tar:
        for file in sorted(folder.rglob("*.*")):
            tar.add(file, prefix + str(file.relative_to(folder)))
    return archive
