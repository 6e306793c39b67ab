"""`dsunet cache build`, `info` and `verify`."""

from __future__ import annotations

from argparse import SUPPRESS
from collections.abc import Sequence
from pathlib import Path

from jsonargparse import Namespace

from dsunet.cli.output import Progress, check_outputs, fail, print_failures, print_line
from dsunet.cli.parser import (
    Command,
    Parser,
    add_classes_argument,
    add_encoder_arguments,
    add_model_argument,
    fields_of,
    pick,
    preset_of,
)
from dsunet.config import (
    DataConfig,
    LossConfig,
    ModelConfig,
    TrainConfig,
)
from dsunet.errors import ConfigError
from dsunet.support.files import write_json

__all__ = ["CACHE_BUILD", "CACHE_INFO", "CACHE_VERIFY"]

# What of a training's recipe says where its features are, and what computes them.
_USED = ("feature_cache", "cache_type", "cache_budget", "device", "precision", "seed")

_NO_OWN = "of such a network dsunet does not know what could be kept; give one of dsunet's models"


def _build_arguments(parser: Parser) -> None:
    parser.add_argument(
        "--config", action="config", help="YAML file with any of these settings; flags beat it."
    )
    add_model_argument(parser, "Whose DINOv2", f"but here only a preset: {_NO_OWN}")
    parser.add_argument(
        "--weights",
        default="default",
        help="Where its weights are from: default (public ones), none (random), or a file.",
    )
    add_encoder_arguments(parser, "to take instead of the public ones")
    parser.add_class_arguments(DataConfig)
    parser.add_class_arguments(TrainConfig)
    parser.add_class_arguments(LossConfig)
    for action in parser._actions:  # a training's config file may have them; they are not shown
        if action.dest in {*fields_of(TrainConfig), *fields_of(LossConfig)} - {*_USED}:
            action.help = SUPPRESS
    parser.set_defaults({"feature_cache": "auto"})
    parser.add_class_arguments(ModelConfig, skip={"name", "classes"})
    add_classes_argument(parser, "Of masks with several classes, as in dsunet train")
    parser.set_defaults(dict.fromkeys(fields_of(ModelConfig)))


def _build(arguments: Namespace) -> int:
    import torch

    from dsunet.data.split import split_data
    from dsunet.maps.opening import Budget
    from dsunet.maps.semantic import build_cache, obstacle, open_cache
    from dsunet.running.inference import lay_out
    from dsunet.running.place import Place
    from dsunet.training.classes import named_model
    from dsunet.weights.models import create_from_config

    if arguments.feature_cache == "off":
        raise ConfigError("--feature-cache is off; give auto, or the folder to build it in")
    config = preset_of(arguments, _NO_OWN, fields_of(ModelConfig))
    data = pick(DataConfig, arguments)
    recipe = pick(TrainConfig, arguments)
    place = Place.chosen(recipe.device, recipe.precision)
    config = named_model(config, data)
    split = split_data(data, recipe.seed, config.classes, config.exclusive)
    split = split.seen_with(config.intensity)
    torch.manual_seed(recipe.seed)  # random weights are to be those of a training
    model = create_from_config(
        config,
        None if arguments.weights == "none" else arguments.weights,
        pyramid_weights=arguments.pyramid_weights,
        semantic_weights=arguments.semantic_weights,
    )
    reason = obstacle(model, data)
    if reason is not None:
        raise ConfigError(f"there is nothing to keep: {reason}")
    model = lay_out(model.eval(), place.device)
    if model.semantic is not None:
        model.semantic.to(place.device)
    cache = open_cache(
        recipe.feature_cache,
        model,
        data,
        split,
        place.precision,
        dtype=recipe.cache_type,
        budget=Budget(recipe.cache_budget),
        say=print_line,
    )
    with Progress("computing") as progress:
        added, failures = build_cache(
            cache,
            model,
            split,
            place,
            workers=data.workers,
            progress=progress,
        )
    print(f"{added:,} maps added")
    print_failures("dsunet cache build", failures, "could not be read")
    return 1 if failures else 0


def _where_arguments(parser: Parser) -> None:
    parser.add_argument(
        "folder",
        nargs="?",
        type=str,
        default="auto",
        help="What was given to --feature-cache; auto, in the user's folder for caches, if left "
        "out.",
    )
    parser.add_argument("--json", type=str, help="Write all of it here.")


def _info(arguments: Namespace) -> int:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from dsunet.maps.opening import cache_root, find_stores, gigabytes

    check_outputs(arguments.json)
    readable, reasons = find_stores(arguments.folder)
    stores = [store.facts() for store in readable]
    if arguments.json:
        write_json(Path(arguments.json), stores)
    status = _status("info", arguments.folder, len(stores), reasons)
    if not stores:
        return status
    table = Table(box=box.SIMPLE_HEAD)
    for title in ("store", "network", "view px", "maps of an image", "type"):
        table.add_column(title)
    for title in ("images", "maps there", "disk"):
        table.add_column(title, justify="right")
    for store in stores:
        table.add_row(
            Path(store["folder"]).name,
            store["encoder"],
            "×".join(map(str, store["size"])),
            ", ".join("×".join(map(str, shape)) for shape in store["shapes"]),
            store["dtype"],
            f"{store['images']:,}",
            f"{store['records']:,}",
            gigabytes(store["bytes"]),
        )
    Console(width=max(Console().width, 140)).print(table)
    total = gigabytes(sum(store["bytes"] for store in stores))
    print(f"{total} in {cache_root(arguments.folder)}; a store that is not needed can be removed")
    return status


def _status(command: str, folder: str, stores: int, reasons: Sequence[str]) -> int:
    """Tells of stores that cannot be read, and if there are none; returns the exit status."""
    from dsunet.maps.opening import cache_root

    for reason in reasons:
        fail(f"dsunet cache {command}", reason, 1)
    if not stores:
        print(f"there are no features in {cache_root(folder)}")
    return 1 if reasons else 0


def _verify(arguments: Namespace) -> int:
    from dsunet.maps.opening import find_stores

    check_outputs(arguments.json)
    stores, reasons = find_stores(arguments.folder)
    found = []
    for store in stores:
        with Progress(store.folder.name) as progress:
            whole, broken = store.verify(progress)
        found.append({"folder": str(store.folder), "whole": whole, "broken": broken})
        told = f"; {broken:,} were broken, and are computed again when they are needed"
        print_line(f"{store.folder.name}: {whole:,} maps are whole{told if broken else ''}")
    if arguments.json:
        write_json(Path(arguments.json), found)
    status = _status("verify", arguments.folder, len(stores), reasons)
    return 1 if any(each["broken"] for each in found) else status


CACHE_BUILD = Command(
    "Compute DINOv2's maps of a data set ahead of training.",
    "  dsunet cache build --data DIR --model dsunet-small --feature-cache auto\n"
    "  dsunet train --data DIR --model dsunet-small --feature-cache auto --output KEPT\n",
    _build_arguments,
    _build,
)
CACHE_INFO = Command(
    "List the stored maps, and the disk that they take.",
    "  dsunet cache info\n  dsunet cache info DIR --json info.json\n",
    _where_arguments,
    _info,
)
CACHE_VERIFY = Command(
    "Read every stored map; broken ones are computed again when they are needed.",
    "  dsunet cache verify\n  dsunet cache verify DIR\n",
    _where_arguments,
    _verify,
)
