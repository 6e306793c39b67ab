"""What a run trains on, and whether that and the run's folder are fit for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dsunet.config import ModelConfig, as_size
from dsunet.data.dataset import PairDataset
from dsunet.data.sources import name_of
from dsunet.data.split import Split, split_data
from dsunet.data.transform import Transform
from dsunet.data.unlabelled import find_unlabelled
from dsunet.errors import ConfigError
from dsunet.running.memory import keep_freed
from dsunet.support.files import check_writable
from dsunet.training.compiling import require_compiler
from dsunet.training.folder import check_folder, checked_data, names_of
from dsunet.training.request import Request

__all__ = ["Material", "check_start", "find_material"]


@dataclass(frozen=True)
class Material:
    """The images of a run."""

    split: Split
    unlabelled: list[Path] = field(default_factory=list)
    """Images without masks, which a teacher speaks of."""

    @property
    def images(self) -> int:
        """How many there are to train on."""
        return len(self.split.training) + len(self.unlabelled)

    def lists(self, with_unlabelled: bool) -> dict[str, str]:
        """The files of the run's folder that name them, by name."""
        split = self.split
        lists = {"train.txt": names_of(split.training), "val.txt": names_of(split.validation)}
        if with_unlabelled:
            names = (f"{name_of(image)}\n" for image in self.unlabelled)
            lists["unlabelled.txt"] = "".join(names)
        return lists


def find_material(request: Request) -> Material:
    """Finds the images.

    Raises:
        DataError: There are none, or a list does not fit them.
        ConfigError: The recipe needs a validation set, and there is none.
        TrainingError: The recipe needs a compiler, and there is none, or memory cannot be kept.
    """
    data, recipe, distill = request.data, request.recipe, request.distill
    model = request.model
    named = (model.classes, model.exclusive) if isinstance(model, ModelConfig) else ()
    split = split_data(data, recipe.seed, *named).seen_with(model.intensity or "full")
    if recipe.early_stop is not None and not split.validation:
        raise ConfigError(
            "early_stop needs a validation set: give `val`, `val_list`, `val_fraction` or `fold`"
        )
    unlabelled: list[Path] = []
    if distill is not None and distill.unlabelled:
        full = data.check == "full"
        unlabelled = find_unlabelled(distill.unlabelled, split, full=full, say=request.say)
    if recipe.compile:
        require_compiler(request.place.device)
    if recipe.keep_memory:
        keep_freed(request.place.device)
    return Material(split, unlabelled)


def check_start(request: Request, lists: dict[str, str], split: Split) -> dict[str, Any] | None:
    """Finds out early whether the folder is free for the run, and the data are good.

    Returns:
        What is to be written to `data.json`; nothing if the same files were found good before.

    Raises:
        OutputError: The folder cannot be written to, or holds something else.
        DataError: A file cannot be used.
    """
    folder, say = request.folder, request.say
    check_writable(folder)
    check_folder(folder, request.settings, lists, request.resume)
    if request.resume and not request.going_on:
        say(f"there is no run in {folder} yet; starting it")
    size = request.model.sam_size
    view = None if size is None else as_size(size)
    report = checked_data(folder, split, request.data, say, request.going_on, view)
    if (name := request.data.transform) is not None:
        # once before the start, so that it fails here, if it does
        PairDataset(split.training[:1], (64, 64), None, transform=Transform(name))[0, 0]
    return report
