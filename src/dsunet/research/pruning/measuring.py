"""What a network costs and what it is worth."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from dsunet.benchmarking import flops
from dsunet.benchmarking.steps import example_views, seconds_of
from dsunet.config import MeasuringProtocol, ModelConfig
from dsunet.data import PairDataset
from dsunet.data.dataset import Batch
from dsunet.data.pairs import Pair
from dsunet.metrics import OWN_MEASURES, Measures
from dsunet.network.build import build_model
from dsunet.network.model import DSUNet
from dsunet.running.inference import predict_probabilities
from dsunet.running.loaders import pair_loader
from dsunet.running.maps import quantise
from dsunet.running.place import Place

__all__ = ["evaluate_network", "flops_of", "seconds_in_turns", "validation"]


def validation(
    model: DSUNet, pairs: Sequence[Pair], workers: int = 0
) -> Iterator[tuple[Batch, np.ndarray]]:
    """Pairs as validation during training sees them, one a batch, with their truths.

    Raises:
        ImageError: A file cannot be read.
    """
    data = PairDataset(pairs, *model.view_sizes, keep_truth=True)
    for batch in pair_loader(data, 1, workers=workers):
        (truth,) = batch.truths
        yield batch, truth


def evaluate_network(
    model: DSUNet,
    pairs: Sequence[Pair],
    place: Place,
    *,
    workers: int = 0,
    protocol: MeasuringProtocol = "benchmark",
) -> dict[str, float]:
    """The measures of some pairs, computed as validation during training does.

    Args:
        model: It is left at `place`, in evaluation mode.
        pairs: The pairs.
        place: Where to compute.
        workers: Processes that read images.
        protocol: How maps are measured, as `TrainConfig.protocol`.

    Raises:
        ImageError: A file cannot be read.
    """
    place.settle(model).eval()
    measures = Measures(OWN_MEASURES, protocol)
    for batch, truth in validation(model, pairs, workers):
        sam, dino = (x if x is None else x.to(place.device) for x in (batch.sam, batch.dino))
        assert sam is not None
        with place.autocast():
            (map_,) = predict_probabilities(model, sam, dino, [truth.shape])
        measures.update(quantise(map_), truth)
    return measures.summary()


@functools.lru_cache
def flops_of(config: ModelConfig) -> int:
    """Floating-point operations of one prediction; no tensor has values."""
    with torch.device("meta"):
        return flops.flops_of(build_model(config))


def seconds_in_turns(
    models: Sequence[DSUNet], place: Place, *, rounds: int = 15, budget: float = 60.0
) -> list[list[float]]:
    """Seconds of single predictions of one image, by models that take turns.

    What else the machine does falls on all of them alike that way.

    Args:
        models: All of them with views of the same sizes.
        place: Where.
        rounds: How often each of them predicts, after a round to warm up.
        budget: Seconds after which there is no further round; three there are in any case.

    Returns:
        For each model its seconds.
    """
    (views,) = example_views(models[0].view_sizes, 1)
    inputs = [x[None].to(place.device) for x in (views.sam, views.dino) if x is not None]
    taken: list[list[float]] = [[] for _ in models]
    until = time.monotonic() + budget
    for number in range(rounds + 1):
        pairs = list(zip(models, taken, strict=True))
        for model, seconds in reversed(pairs) if number % 2 else pairs:  # nobody is always first
            place.settle(model).eval()
            predict = functools.partial(model, *inputs, outputs="fine")
            with torch.inference_mode(), place.autocast():
                seconds.append(seconds_of(predict, place.device))
        if number >= 3 and time.monotonic() > until:
            break
    return [seconds[1:] for seconds in taken]
