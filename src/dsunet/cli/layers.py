"""Help in two layers: `--help` shows what most runs need, `--help-all` everything.

Only the settings that several commands share have a second layer; the flags of one command alone
are always shown, and so is all of a command that has few.
"""

from __future__ import annotations

import contextlib
import dataclasses
from argparse import SUPPRESS, Action
from collections.abc import Iterator, Sequence

from dsunet.config import DataConfig, DistillConfig, LossConfig, ModelConfig, TrainConfig

__all__ = ["BASIC", "FEW", "basics_only", "hidden_at_first"]

FEW = 44
"""A command with so many flags, or fewer, shows all of them."""

BASIC = frozenset(
    {
        *("data", "benchmarks", "task", "val", "val_fraction", "group_by", "limit"),
        *("images", "masks", "mask_suffix", "object_values", "ignore_value", "invert"),
        *("classes", "class_table"),
        *("epochs", "batch_size", "lr", "early_stop", "best_by", "feature_cache"),
        *("device", "workers", "seed", "sam_size", "intensity", "tile"),
        *("teacher", "unlabelled"),
    }
)
"""The shared settings that `--help` shows of a command with many flags."""


def hidden_at_first(actions: Sequence[Action]) -> list[Action]:
    """The flags that only `--help-all` shows; none, if the command has few flags.

    Args:
        actions: A parser's arguments.
    """
    shown = [action for action in actions if action.help != SUPPRESS]
    if len(shown) <= FEW:
        return []
    settings = {
        field.name
        for config in (DataConfig, TrainConfig, LossConfig, ModelConfig, DistillConfig)
        for field in dataclasses.fields(config)
    }
    return [action for action in shown if action.dest in settings - BASIC]


@contextlib.contextmanager
def basics_only(actions: Sequence[Action]) -> Iterator[int]:
    """Hides all but the basic flags from a help that is made meanwhile; gives how many it hid."""
    hidden = {action: action.help for action in hidden_at_first(actions)}
    for action in hidden:
        action.help = SUPPRESS
    try:
        yield len(hidden)
    finally:
        for action, text in hidden.items():
            action.help = text
