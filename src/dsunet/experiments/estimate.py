"""How long a plan will take and how much disk it needs, from a short measurement."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dsunet.base import SegmentationModel
from dsunet.config import RECIPE_BATCH
from dsunet.data.synthetic import synthetic_pair
from dsunet.data.views import Views, make_views, mask_view
from dsunet.devices import choose_device, choose_precision
from dsunet.experiments.plan import Plan, Run
from dsunet.experiments.scores import current_scores
from dsunet.inference import lay_out
from dsunet.losses import deep_supervision_loss
from dsunet.metrics import Measures
from dsunet.model import parameter_counts
from dsunet.predict import Segmenter
from dsunet.training.run import create_network

__all__ = ["Estimate", "Speed", "estimate", "measure_speed"]

# What a map of 400×300 takes as a PNG, as measured on maps of trained networks, with slack.
_BYTES_PER_MAP = 30_000


@dataclass(frozen=True)
class Speed:
    """Seconds per image of a method on this machine."""

    train: float
    """Of one image in a training step."""
    predict: float
    evaluate: float
    trainable: int
    """Parameters that are trained."""


@dataclass(frozen=True)
class Estimate:
    """What is left to do for one run."""

    run: Run
    epochs_left: int
    images_left: int
    """Images to predict and measure."""
    seconds: float
    bytes: int
    """Disk that the whole run takes."""


def estimate(plan: Plan, say: Callable[[str], None] = print) -> list[Estimate]:
    """Measures every network of the plan for some seconds, and counts what is left to do.

    The networks have random weights: speed does not depend on them, and nothing is downloaded.
    """
    speeds: dict[str, Speed] = {}
    result = []
    for run in plan.runs:
        key = run.method.key
        recipe = plan.recipe(run)
        if key not in speeds:
            say(f"measuring {run.method.title} …")
            speeds[key] = measure_speed(plan, run)
        speed = speeds[key]
        epochs = max(0, recipe.epochs - run.epochs_done()) if run.method.trained else 0
        tests = plan.tests[run.task].values()
        done = {} if epochs else current_scores(plan, run)
        images = sum(len(test.images) for test in tests if test.name not in done)
        seconds = epochs * plan.training_pairs[run.task] * speed.train
        seconds += images * (speed.predict + speed.evaluate)
        maps = sum(len(test.images) for test in tests)
        # weights (4 bytes each), and the state to go on from with AdamW's two moments
        size = speed.trainable * 4 * 4 + maps * _BYTES_PER_MAP
        result.append(Estimate(run, epochs, images, seconds, size))
    return result


def measure_speed(plan: Plan, run: Run) -> Speed:
    """Times training steps, predictions and measurements of one run's network."""
    image, mask = synthetic_pair(0, 300)
    truth = np.asarray(mask)
    cpu = torch.device("cpu")
    evaluate = _time(lambda: Measures().update(truth, truth), cpu)
    if not run.method.trained:
        source = run.method.source
        function = Segmenter(source, plan.protocol.device) if source else None
        return Speed(0, _time(lambda: function(image), cpu) if function else 0, evaluate, 0)
    recipe = plan.recipe(run)
    device = choose_device(recipe.device)
    model = lay_out(create_network(plan.network(run), None).to(device), device).train()
    # one image tells enough on a CPU, where a large network takes minutes for a batch
    images = recipe.batch_size if isinstance(recipe.batch_size, int) else RECIPE_BATCH
    batch = min(images, plan.training_pairs[run.task]) if device.type == "cuda" else 1
    size, dino = model.view_sizes
    views = make_views(image, size, dino)
    target = mask_view(mask, size)
    step = _training_step(model, views, target, batch, choose_precision(recipe.precision, device))
    train = _time(step, device) / batch
    trainable = parameter_counts(model)["trainable"]
    segmenter = Segmenter(model, recipe.device, recipe.precision)
    predict = _time(lambda: segmenter.probabilities([views]), device)
    return Speed(train, predict, evaluate, trainable)


def _training_step(
    model: SegmentationModel, views: Views, target: Tensor, batch: int, precision: torch.dtype
) -> Callable[[], None]:
    """One step as in training, on copies of one image."""
    device = next(model.parameters()).device
    sam = views.sam.to(device).expand(batch, -1, -1, -1)
    dino = views.dino.to(device).expand(batch, -1, -1, -1) if views.dino is not None else None
    targets = target.to(device).expand(batch, -1, -1, -1)
    optimizer = torch.optim.AdamW(p for p in model.parameters() if p.requires_grad)

    def step() -> None:
        with torch.autocast(device.type, precision, enabled=precision != torch.float32):
            logits = model(sam, dino)
        loss = deep_supervision_loss(type(logits)(*(each.float() for each in logits)), targets)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()

    return step


def _time(work: Callable[[], object], device: torch.device, seconds: float = 1.0) -> float:
    """Seconds that one call takes, after one that warms up."""
    work()
    _wait(device)
    started = time.perf_counter()
    count = 0
    while count == 0 or time.perf_counter() - started < seconds:
        work()
        count += 1
        _wait(device)
    return (time.perf_counter() - started) / count


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
