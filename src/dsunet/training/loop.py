"""The loop of a run: batches, Lightning's trainer, and what it came to. Needs Lightning."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import lightning as L

from dsunet.config import ModelConfig
from dsunet.network.base import SegmentationModel
from dsunet.network.counting import parameter_counts
from dsunet.training.building import Built
from dsunet.training.callbacks import RunFolder, SafeInterrupt
from dsunet.training.choosing import OF_CLASSES
from dsunet.training.folder import facts, position_of, write_environment
from dsunet.training.loaders import Loaders, make_loaders
from dsunet.training.material import Material
from dsunet.training.module import SegmentationModule
from dsunet.training.request import Request
from dsunet.training.together import Together
from dsunet.training.trackers import begin_tracking, require_trackers
from dsunet.training.trainer import fit, make_trainer, quiet, strategy_for

__all__ = ["Ended", "Together", "quiet", "require_trackers", "run_loop", "seed"]


class Ended(NamedTuple):
    """What a run came to."""

    epochs: int
    """Epochs that were trained in all."""
    best_epoch: int
    """The epoch with the highest S-measure; 0 without validation."""
    has_best: bool
    """Whether there are weights of such an epoch."""


def seed(number: int) -> None:
    """Seeds every generator of random numbers."""
    L.seed_everything(number, verbose=False)


def run_loop(request: Request, material: Material, built: Built, together: Together) -> Ended:
    """Trains to the end.

    Raises:
        DsunetError: It cannot go on; the error says why.
        KeyboardInterrupt: Interrupted.
    """
    place, recipe, folder = request.place, request.recipe, request.folder
    teaching = built.teaching
    interrupt = SafeInterrupt()
    loaders = make_loaders(
        built.network,
        material.split,
        material.unlabelled,
        request.data,
        recipe,
        cache=built.cache,
        lessons=teaching.lessons if teaching is not None else None,
        ranks=request.ranks,
        pin_memory=place.device.type == "cuda",
        interrupted=lambda: interrupt.noted,
    )
    about = _about(request, material, built)
    run_folder = RunFolder(
        folder, loaders.pictures, about, request.say, interrupt, built.network.classes
    )
    strategy = strategy_for(built.network, recipe, request.loss, request.distill)
    trainer = make_trainer(
        run_folder, interrupt, recipe, place, strategy, together, request.progress_bar
    )
    checkpoint = _gone_on_from(request, loaders, together)
    if request.is_first:
        begin_tracking(folder, trainer, request.settings)
        write_environment(folder, built.network, place)
        _say_start(request, material, built.network)
    distillation = teaching.distillation if teaching is not None else None
    module = SegmentationModule(
        built.network,
        recipe,
        request.loss,
        built.cache,
        distillation,
        loaders.orders,
        request.data.tiling,
    )
    fit(trainer, module, loaders, interrupt, folder, checkpoint)
    together.leave()
    has_best = bool(material.split.validation) and run_folder.best is not None
    return Ended(trainer.current_epoch, run_folder.best_epoch, has_best)


def _about(request: Request, material: Material, built: Built) -> dict[str, Any]:
    """What weights files say of the training."""
    about = facts(request.data, material.split, request.recipe)
    if request.distill is not None and built.teaching is not None:
        about["teacher"] = built.teaching.facts(request.distill, len(material.unlabelled))
    place = request.place
    return about | {"device": str(place.device), "precision": place.precision_name}


def _gone_on_from(request: Request, loaders: Loaders, together: Together) -> Path | None:
    """The resume state to go on from, if there is one, with the loaders at its place."""
    saved = request.folder / "resume.ckpt"
    there = request.is_first and request.going_on and saved.exists()
    place = together.tell("position", position_of(saved) if there else None)
    if place is None:
        return None
    epoch, batches = place
    loaders.orders.training.go_on_from(epoch, batches)
    return saved


def _say_start(request: Request, material: Material, network: SegmentationModel) -> None:
    request.say(_headline(request, network, material))
    if material.split.validation:
        request.say(_how_measured(request))
    is_trained = request.sources.weights in ("default", "full") and network.training_facts
    if is_trained and not request.going_on:
        request.say(
            "starts from the trained weights that come with dsunet, not from random ones "
            f"(`weights` none); about them: dsunet info {network.training_facts['name']}"
        )
    if network.repeated_heads and not request.going_on:
        request.say(
            f"the heads of the one map that the weights have are copied to each of the "
            f"{len(network.classes)} classes ({', '.join(network.classes)})"
        )


def _how_measured(request: Request) -> str:
    """What validation says, for those who compare it with other figures."""
    recipe = request.recipe
    if isinstance(request.model, ModelConfig) and request.model.classes:
        at = "" if request.model.exclusive else f" at {recipe.threshold:g} (`threshold`)"
        return (
            f"validation has IoU and Dice of each class{at}, from the pixels of all pictures; best "
            f"epoch by {OF_CLASSES[recipe.best_by]} (`best_by`)"
        )
    if recipe.protocol == "benchmark":
        how = (
            "stretches each map to its full range and averages over all pictures, as the paper does"
        )
    else:
        how = "measures maps as they are, and pictures without an object apart"
        if request.data.benchmarks is not None:
            how += " (papers do otherwise: `protocol` benchmark)"
    return (
        f"validation {how}; Dice and IoU at {recipe.threshold:g} (`threshold`), best epoch by "
        f"{recipe.best_by} (`best_by`)"
    )


def _headline(request: Request, network: SegmentationModel, material: Material) -> str:
    place = request.place
    counts, split = parameter_counts(network), material.split
    unlabelled = len(material.unlabelled)
    share = 100 * counts["trainable"] / counts["total"]
    return (
        f"{network.config.name if network.config else 'model'}: {counts['trainable']:,} of "
        f"{counts['total']:,} parameters trained ({share:.2f} %); {len(split.training)} training "
        f"and {len(split.validation)} validation pairs"
        f"{f', {unlabelled} unlabelled images' if unlabelled else ''}; {place.device}, "
        f"{place.precision_name}{_how_many(request)}"
    )


def _how_many(request: Request) -> str:
    recipe, world = request.recipe, request.ranks.world
    if world == 1:
        return ""
    assert isinstance(recipe.batch_size, int)
    machines = f" on {recipe.num_nodes} machines" if recipe.num_nodes > 1 else ""
    norms = "synchronised" if request.place.device.type == "cuda" else "of each process by itself"
    return (
        f"; {world} processes{machines}, each {recipe.batch_size // world} of the "
        f"{recipe.batch_size} images a step, BatchNorm {norms}"
    )
