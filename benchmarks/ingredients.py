"""What more the training of the shipped model could do: each thing in a few minutes, two seeds.

    python benchmarks/ingredients.py --data DIR --train LIST \
        --held-out benchmarks/lite/held-out.txt --work FOLDER --output benchmarks/ingredients.json

DIR holds `images/` and `masks/`; LIST names pairs at their own size. From the shipped weights each
variant takes the same steps on the same pairs in the same order, with one thing added to a plain
continuation; measured are the pairs that were held out of the training of those weights. Beside S,
MAE and the IoU of boundaries that is what a user sees in a cut-out: `holes` is the share of an
object's inside (8 px from its outline, at 256 px) that is below a half, `half_there` the share of
pixels between 0.1 and 0.9, and `false_alarm` the share of crops without an object of which over 1 %
is taken for one. What is done already in the work folder is not done again.

The things themselves are here and not in the package, which has what earned its place.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import random
import statistics
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

import dsunet
from dsunet.config import LossConfig
from dsunet.data import Pair, find_pairs
from dsunet.data.dataset import Batch, EpochSampler, PairDataset, collate
from dsunet.data.pairs import read_names, read_pair
from dsunet.data.views import image_view
from dsunet.metrics import measure
from dsunet.network.decoder import SegmentationLogits
from dsunet.network.layers import ConvBNReLU, resize_bilinear
from dsunet.running.maps import quantise
from dsunet.running.place import Place
from dsunet.running.step import loss_of, way_there
from dsunet.support.files import sha256_of, write_json
from dsunet.training.average import WeightAverage
from dsunet.weights.shipped import DEFAULT, weights_of
from measuring import circumstances, drawn_pairs, parser_of_runs

BATCH, LR, ENCODER_LR, AVERAGE = 16, 2e-4, 1e-4, 0.98
LOSS = LossConfig(bce="boundary_weighted")
SCALES = (0.75, 0.875, 1.0, 1.125, 1.25)
EMPTY = 0.1  # of a batch's pictures
MEASURES = ("S", "MAE", "BIoU", "holes", "half_there")


class Step(NamedTuple):
    """What a term of the loss may look at."""

    logits: SegmentationLogits
    batch: Batch
    teacher: Tensor | None


def edges(step: Step) -> Tensor:
    """Dice of what a 5×5 mean changes, of map and mask: thin bands on both sides of outlines."""
    bands = [
        (x - F.avg_pool2d(x, 5, 1, 2)).abs() for x in (step.logits.fine.sigmoid(), step.batch.mask)
    ]
    both = (bands[0] * bands[1]).sum((1, 2, 3))
    each = sum(band.square().sum((1, 2, 3)) for band in bands)
    return (1 - (2 * both + 1) / (each + 1)).mean()


def similarity(step: Step) -> Tensor:
    """1 − SSIM over windows of 11 px (BASNet, Qin et al., CVPR 2019: of edges and wholeness)."""
    x, y = step.logits.fine.sigmoid(), step.batch.mask

    def mean(values: Tensor) -> Tensor:
        rows = F.avg_pool2d(values, (11, 1), 1, (5, 0), count_include_pad=False)
        return F.avg_pool2d(rows, (1, 11), 1, (0, 5), count_include_pad=False)

    mx, my = mean(x), mean(y)
    vx, vy, both = mean(x * x) - mx * mx, mean(y * y) - my * my, mean(x * y) - mx * my
    ssim = (2 * mx * my + 1e-4) * (2 * both + 9e-4) / ((mx**2 + my**2 + 1e-4) * (vx + vy + 9e-4))
    return 1 - ssim.mean()


def wholeness(step: Step) -> Tensor:
    """Cross-entropy of objects' inside alone, a mean over it with its worst pixels heavier."""
    inside = -F.max_pool2d(-step.batch.mask, 17, 1, 8)
    missing = torch.sigmoid(-step.logits.fine)
    losses = F.softplus(-step.logits.fine)
    return (inside * losses * (1 + 3 * missing.detach())).sum() / inside.sum().clamp_min(1)


def lesson(step: Step) -> Tensor:
    """Cross-entropy with the map of the model as it was, seen from both sides and from nearer."""
    assert step.teacher is not None
    return F.binary_cross_entropy_with_logits(step.logits.fine, step.teacher)


class HalfStride(nn.Module):
    """The fine output once more at stride 2, with the stem's maps: a correction of 16 channels."""

    def __init__(self, model: dsunet.DSUNet) -> None:
        super().__init__()
        self.model = model
        self.stem: Tensor | None = None
        trunk: Any = model.pyramid.trunk
        trunk.blocks[0].register_forward_hook(self._keep)
        self.mix = ConvBNReLU(17, 16, 3, padding=1)
        self.out = nn.Conv2d(16, 1, 3, padding=1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]

    def _keep(self, module: nn.Module, given: Any, result: Tensor) -> None:
        self.stem = result

    def forward(self, *views: Tensor, outputs: str = "all") -> SegmentationLogits:
        logits = self.model(*views, outputs=outputs)
        size = logits.fine.shape[-2:]
        half = resize_bilinear(logits.fine, (size[0] // 2, size[1] // 2))
        more = self.out(self.mix(torch.cat([half.to(self.stem.dtype), self.stem], 1)))
        return logits._replace(fine=resize_bilinear(half + more, size))


class Variant(NamedTuple):
    """One thing more than the plain continuation."""

    terms: Mapping[Callable[[Step], Tensor], float] = MappingProxyType({})
    scales: tuple[float, ...] = (1.0,)
    empty: float = 0.0
    half_stride: bool = False
    crop: float = 0.0


VARIANTS = {
    "plain": Variant(),
    "edge term": Variant({edges: 0.5}),
    "SSIM term": Variant({similarity: 1.0}),
    "wholeness term": Variant({wholeness: 0.5}),
    "views of many scales": Variant(scales=SCALES),
    "crops of background": Variant(empty=EMPTY),
    "its own teacher": Variant({lesson: 1.0}),
    "output at stride 2": Variant(half_stride=True),
    "crops": Variant(crop=0.5),
}


def background(image: Image.Image, mask: Image.Image, draws: random.Random) -> Image.Image | None:
    """A crop of at least a third of the image's sides that holds nothing of the object, if any."""
    taken = np.asarray(mask) > 10
    height, width = taken.shape
    for _ in range(20):
        share = draws.uniform(1 / 3, 0.8)
        h, w = round(height * share), round(width * share)
        top, left = draws.randint(0, height - h), draws.randint(0, width - w)
        if not taken[top : top + h, left : left + w].any():
            return image.crop((left, top, left + w, top + h))
    return None


def without_object(batch: Batch, pairs: dict[str, Pair], side: int, draws: random.Random) -> Batch:
    """The batch with some of its pictures as crops of their background."""
    sam, mask = batch.sam.clone(), batch.mask.clone()
    for index, name in enumerate(batch.names):
        if draws.random() < EMPTY * 2:  # about every second picture has room for such a crop
            image, truth, *_ = read_pair(pairs[name])
            crop = background(image, truth, draws)
            if crop is not None:
                sam[index], mask[index] = image_view(crop, (side, side)), 0
    return batch._replace(sam=sam, mask=mask)


def batches(dataset: PairDataset, seed: int, epochs: int) -> Iterator[Batch]:
    """The batches of a run."""
    sampler = EpochSampler(len(dataset), seed=seed)
    for epoch in range(epochs):
        sampler.set_epoch(epoch)
        keys = list(sampler)
        for start in range(0, len(keys) - BATCH + 1, BATCH):
            yield collate([dataset[key] for key in keys[start : start + BATCH]])


@torch.no_grad()
def taught(teacher: dsunet.DSUNet, views: Tensor, place: Place) -> Tensor:
    """The mean map of a view, its mirror image, and both a quarter larger."""
    side = views.shape[-1]
    larger = F.interpolate(views, size=round(side * 1.25 / 32) * 32, mode="bilinear")
    total = torch.zeros(())
    with place.autocast():
        for seen in (views, larger):
            for flipped in (False, True):
                logits = teacher(seen.flip(-1) if flipped else seen, outputs="fine").fine.float()
                map_ = F.interpolate(logits, size=side, mode="bilinear").sigmoid()
                total = total + (map_.flip(-1) if flipped else map_)
    return total / 4


def train(
    variant: Variant,
    seed: int,
    arguments: argparse.Namespace,
    names: list[str],
    pairs: dict[str, Pair],
) -> nn.Module:
    """A variant's averaged network after its steps."""
    torch.manual_seed(seed)
    draws = random.Random(seed)
    model = dsunet.load()
    network = HalfStride(model) if variant.half_stride else model
    teacher = copy.deepcopy(model).eval() if lesson in variant.terms else None
    place = Place.chosen("cpu")
    encoder = list(model.pyramid.parameters())
    known = {id(p) for p in encoder}
    rest = [p for p in network.parameters() if id(p) not in known]
    rates = ((rest, LR), (encoder, ENCODER_LR))
    optimizer = torch.optim.AdamW(
        [{"params": params, "lr": rate, "base": rate} for params, rate in rates], weight_decay=0.01
    )
    average = WeightAverage(network, AVERAGE)
    side = arguments.side
    dataset = PairDataset(
        [pairs[name] for name in names],
        (side, side),
        None,
        flips=(0.5, 0.0),
        crop=variant.crop,
        colour=0.3,
        seed=seed,
    )
    total = len(names) // BATCH * arguments.epochs
    network.train()
    for step, batch in enumerate(batches(dataset, seed, arguments.epochs)):
        for group in optimizer.param_groups:
            group["lr"] = group["base"] * (1 + math.cos(math.pi * step / total)) / 2
        if variant.empty:
            batch = without_object(batch, pairs, side, draws)
        soft = None if teacher is None else taught(teacher, batch.sam, place)
        scale = draws.choice(variant.scales)
        if scale != 1:
            size = round(side * scale / 32) * 32
            sam = F.interpolate(batch.sam, size=size, mode="bilinear", antialias=True)
            mask = F.interpolate(batch.mask, size=size, mode="bilinear", antialias=True)
            batch = batch._replace(sam=sam, mask=mask.clamp(0, 1))
        given = way_there(network, batch.sam, None, LOSS, place=place)
        loss = loss_of(given.logits, batch.mask, LOSS)
        for term, weight in variant.terms.items():
            loss = loss + weight * term(Step(given.logits, batch, soft))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 2.0)
        optimizer.step()
        average.update(network)
    return average.module


@torch.no_grad()
def probabilities(network: nn.Module, image: Image.Image, side: int) -> np.ndarray:
    """A picture's map at its own size."""
    view = image_view(image, (side, side))[None]
    logits = network(view, outputs="fine").fine
    size = (image.height, image.width)
    return resize_bilinear(logits, size).sigmoid()[0, 0].numpy()


def seen(probability: np.ndarray, mask: np.ndarray) -> dict[str, float]:
    """What a user sees in a cut-out."""
    inside = cv2.resize(mask, (256, 256), interpolation=cv2.INTER_AREA) > 127
    padded = np.pad(inside, 1).astype(np.uint8)
    deep = cv2.distanceTransform(padded, cv2.DIST_L2, 5)[1:-1, 1:-1] > 8
    small = cv2.resize(probability, (256, 256), interpolation=cv2.INTER_AREA)
    half = float(np.mean((probability > 0.1) & (probability < 0.9)))
    return {"half_there": half} | (
        {"holes": float(np.mean(small[deep] < 0.5))} if deep.any() else {}
    )


def measured(
    network: nn.Module, names: list[str], pairs: dict[str, Pair], side: int
) -> dict[str, float]:
    """Means over the pairs that are held out."""
    rows: list[dict[str, float]] = []
    alarms = []
    draws = random.Random(0)
    for name in names:
        image, mask, *_ = read_pair(pairs[name])
        truth = np.asarray(mask)
        probability = probabilities(network, image, side)
        row = measure(
            quantise(probability), truth, ("S", "MAE", "BIoU"), protocol="benchmark"
        ).values
        rows.append(dict(row) | seen(probability, truth))
        crop = background(image, mask, draws)
        if crop is not None:
            alarms.append(float(np.mean(probabilities(network, crop, side) >= 0.5) > 0.01))
    result = {m: statistics.mean(row[m] for row in rows if m in row) for m in MEASURES}
    return {m: round(v, 5) for m, v in (result | {"false_alarm": statistics.mean(alarms)}).items()}


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Each variant's means, and what it has more than the plain continuation at the same seed."""
    plain = {row["seed"]: row["measures"] for row in rows if row["variant"] == "plain"}
    found: dict[str, Any] = {}
    for name in VARIANTS:
        own = {row["seed"]: row["measures"] for row in rows if row["variant"] == name}
        if own:
            found[name] = {
                m: {
                    "mean": round(statistics.mean(x[m] for x in own.values()), 4),
                    "more_than_plain": [
                        round(own[seed][m] - plain[seed][m], 4) for seed in own if seed in plain
                    ],
                }
                for m in (*MEASURES, "false_alarm")
            }
    return found


def main() -> None:
    """Trains what is not trained yet, seed by seed, and writes the record after every run."""
    parser = parser_of_runs(__doc__)
    parser.add_argument("--pairs", type=int, default=960)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--seeds", type=int, nargs="+", default=(0, 1))
    arguments = parser.parse_args()

    arguments.work.mkdir(parents=True, exist_ok=True)
    pairs = {pair.name: pair for pair in find_pairs(arguments.data)}
    held_out = read_names(arguments.held_out)
    names = drawn_pairs(arguments.train, held_out, arguments.pairs)
    settings = {key: getattr(arguments, key) for key in ("pairs", "epochs", "side")}
    before = measured(dsunet.load().eval(), held_out, pairs, arguments.side)
    for seed in arguments.seeds:
        for name in arguments.variants:
            done = arguments.work / f"{name.replace(' ', '-')}-{seed}.json"
            if not done.exists():
                network = train(VARIANTS[name], seed, arguments, names, pairs).eval()
                found = measured(network, held_out, pairs, arguments.side)
                write_json(done, {"variant": name, "seed": seed, "measures": found})
                print(name, seed, found, flush=True)
            rows = [json.loads(file.read_text()) for file in sorted(arguments.work.glob("*.json"))]
            write_json(
                arguments.output,
                {
                    "circumstances": circumstances(),
                    "start": sha256_of(weights_of(DEFAULT)),
                    "settings": settings | {"batch": BATCH, "lr": LR, "encoder_lr": ENCODER_LR},
                    "held_out": len(held_out),
                    "before": before,
                    "summary": summary(rows),
                    "runs": rows,
                },
            )


if __name__ == "__main__":
    main()
