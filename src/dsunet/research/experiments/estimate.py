"""How long a plan will take and how much disk it needs, from a short measurement."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from dsunet.benchmarking.steps import example_batch, example_views, mean_seconds, training_step
from dsunet.config import RECIPE_BATCH
from dsunet.data.split import split_data
from dsunet.data.synthetic import synthetic_pair
from dsunet.maps.opening import Budget
from dsunet.maps.semantic import SEMANTIC_MAPS, disk_needed, obstacle
from dsunet.metrics import Measures
from dsunet.network.counting import parameter_counts
from dsunet.predict import Segmenter
from dsunet.research.experiments.plan import Plan, Run
from dsunet.research.experiments.scores import current_scores
from dsunet.running.place import Place
from dsunet.training.building import create_network

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
    semantics: float = 0.0
    """Of one image and flip in DINOv2, if its maps are kept; not in `train` then."""
    kept: int = 0
    """Bytes of the maps that are kept."""


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
    speeds: dict[tuple[str, str], Speed] = {}
    result = []
    for run in plan.runs:
        key = (run.method.key, run.task)
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
        if epochs:  # each flip once
            seconds += min(4, epochs) * plan.training_pairs[run.task] * speed.semantics
        seconds += images * (speed.predict + speed.evaluate)
        maps = sum(len(test.images) for test in tests)
        # weights (4 bytes each), and the state to go on from with AdamW's two moments
        size = speed.trainable * 4 * 4 + maps * _BYTES_PER_MAP
        if run.seed == plan.protocol.seeds[0]:  # which the other seeds share
            size += speed.kept
        result.append(Estimate(run, epochs, images, seconds, size))
    return result


def measure_speed(plan: Plan, run: Run) -> Speed:
    """Times training steps, predictions and measurements of one run's network."""
    image, mask = synthetic_pair(0, 300)
    truth = np.asarray(mask)
    cpu = torch.device("cpu")
    evaluate = mean_seconds(lambda: Measures(protocol="benchmark").update(truth, truth), cpu)
    if not run.method.trained:
        source = run.method.source
        function = Segmenter(source, plan.protocol.device) if source else None
        return Speed(0, mean_seconds(lambda: function(image), cpu) if function else 0, evaluate, 0)
    recipe = plan.recipe(run)
    place = Place.chosen(recipe.device, recipe.precision)
    device = place.device
    model = place.settle(create_network(plan.network(run), None)).train()
    # one image tells enough on a CPU, where a large network takes minutes for a batch
    images = recipe.batch_size if isinstance(recipe.batch_size, int) else RECIPE_BATCH
    batch = min(images, plan.training_pairs[run.task]) if device.type == "cuda" else 1
    views = example_views(model.view_sizes, 1)
    made = example_batch(model.view_sizes, batch, device)
    maps: list[Tensor] | None = None
    semantics, kept = 0.0, 0
    data = plan.data(run)
    if recipe.feature_cache != "off" and obstacle(model, data) is None:
        assert made.dino is not None
        compute = partial(model.reduced_semantics, made.dino)
        with place.autocast():
            semantics = mean_seconds(compute, device) / batch
            maps = compute()
        kept = disk_needed(model, data, split_data(data, recipe.seed), recipe.cache_type)
        Budget(recipe.cache_budget).take(kept, SEMANTIC_MAPS, f"{run.method.title}, {run.task},")
    step = training_step(model, made, place, maps=None if maps is None else lambda: maps)
    train = mean_seconds(step, device) / batch
    trainable = parameter_counts(model)["trainable"]
    segmenter = Segmenter(model, recipe.device, recipe.precision)
    predict = mean_seconds(lambda: segmenter.probabilities(views), device)
    return Speed(train, predict, evaluate, trainable, semantics, kept)
