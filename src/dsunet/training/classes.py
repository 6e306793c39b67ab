"""What a training of several classes is asked to do, and what does not go with it."""

from __future__ import annotations

from dataclasses import replace

from dsunet.config import (
    DataConfig,
    DistillConfig,
    LossConfig,
    ModelConfig,
    TrainConfig,
    require_one_class,
)
from dsunet.data.class_tables import classes_in
from dsunet.errors import ConfigError
from dsunet.network.source import CustomSource
from dsunet.training.choosing import OF_CLASSES

__all__ = ["check_classes", "named_model"]


def named_model(model: ModelConfig, data: DataConfig) -> ModelConfig:
    """The model with the classes of the data's table, if it names none itself.

    Raises:
        DataError: The table cannot be read.
    """
    if model.classes or data.class_table is None:
        return model
    return replace(model, classes=classes_in(data.class_table))


def check_classes(
    model: ModelConfig | CustomSource,
    data: DataConfig,
    recipe: TrainConfig,
    loss: LossConfig,
    distill: DistillConfig | None,
) -> None:
    """Raises `ConfigError` for settings that do not go with several classes, or need them."""
    if not isinstance(model, ModelConfig) or not model.classes:
        if isinstance(model, ModelConfig) and not model.exclusive:
            raise ConfigError("`exclusive` false is about several classes; give `classes`, too")
        return
    for asked, what, instead in (
        (distill is not None, "distillation", "train it without a teacher"),
        (data.tiling is not None, "`tile`", "leave it out"),
        (data.transform is not None, "`transform`", "leave it out (`augment` has changes)"),
        (loss.positive_weight == "auto", "`positive_weight` auto", "give a number"),
        (recipe.protocol != "raw", f"`protocol` {recipe.protocol}", "leave it out"),
    ):
        if asked:
            require_one_class(model.classes, what, instead)
    if recipe.best_by not in OF_CLASSES:
        raise ConfigError(
            f"`best_by` is {recipe.best_by!r}, but of several classes it needs one of "
            f"{', '.join(OF_CLASSES)}; S and IoU stand for the mean IoU, Dice for the mean Dice"
        )
