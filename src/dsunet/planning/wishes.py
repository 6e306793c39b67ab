"""What stands before a plan, and what comes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dsunet.config import DataConfig, LossConfig, ModelConfig, TrainConfig
from dsunet.errors import ConfigError
from dsunet.network.source import CustomSource
from dsunet.planning.costs import Costs
from dsunet.planning.facts import DataFacts
from dsunet.planning.machine import Machine
from dsunet.planning.rules import Choice
from dsunet.training.request import Sources

__all__ = ["Plan", "Wishes"]


@dataclass(frozen=True)
class Wishes:
    """What is known before planning."""

    data: DataConfig
    recipe: TrainConfig = field(default_factory=TrainConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    sources: Sources = field(default_factory=Sources)
    model: ModelConfig | CustomSource | None = None
    """What to train; `None`: the plan chooses."""
    model_settings: Mapping[str, Any] = field(default_factory=dict)
    """Settings that go before those of the preset which is chosen."""
    given: frozenset[str] = frozenset()
    """Names of the settings that stand, by the command line's flags; all others are chosen."""
    minutes: float = 60.0
    """That the training may take."""
    report: bool = True
    """Whether it ends with a report."""

    def __post_init__(self) -> None:
        if not self.minutes > 0:
            raise ConfigError(f"`minutes` is {self.minutes:g}, but needs to be above 0")


@dataclass(frozen=True)
class Plan:
    """What to train and how, why, and what it will take."""

    choices: tuple[Choice, ...]
    findings: tuple[str, ...]
    """What is odd, cannot be known, or does not fit, a line each."""
    facts: DataFacts
    training: int
    """Pairs to train on, without held-out ones."""
    validation: int
    machine: Machine
    minutes: float
    """That the training may take."""
    seconds: float
    """That it is expected to take, from the start of its process to its end."""
    costs: Costs
    """Of the parts that makes up; their `memory` is what the process is expected to take at most
    (on a GPU: its tensors), and the processes that read images come on top."""

    @property
    def settings(self) -> dict[str, Any]:
        """What `dsunet train` is to be told, by the names of its flags."""
        return {choice.name: choice.value for choice in self.choices}
