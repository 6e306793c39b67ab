"""What a plan has to know of the machine."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from dsunet.config import TrainConfig
from dsunet.errors import TrainingError
from dsunet.running.memory import free_memory
from dsunet.running.place import Place
from dsunet.support.processes import available_cores

__all__ = ["Machine", "look_at_machine"]


@dataclass(frozen=True)
class Machine:
    """Where is trained."""

    device: str
    """Its kind: `cpu`, `cuda`, `mps`."""
    precision: str
    """Number type of convolutions and matrix products, such as `bfloat16`."""
    cores: int
    """How many this process may use."""
    threads: int
    """How many torch computes with on a CPU."""
    memory: float | None
    """Bytes that are free on the device, or, of a CPU, for this process; `None` where the system
    does not tell."""

    def described(self) -> str:
        """In one line."""
        free = "unknown memory" if self.memory is None else f"{self.memory / 1e9:.1f} GB free"
        what = (
            f"{self.cores} cores, {self.threads} threads" if self.device == "cpu" else self.device
        )
        return f"{what}, {self.precision}, {free}"


def look_at_machine(recipe: TrainConfig) -> Machine:
    """This machine, with the device and number type that a recipe asks for.

    Raises:
        DeviceError: These cannot be used.
    """
    place = Place.chosen(recipe.device, recipe.precision)
    try:
        memory: float | None = free_memory(place.device)
    except TrainingError:
        memory = None
    return Machine(
        place.device.type,
        place.precision_name,
        available_cores(),
        torch.get_num_threads(),
        memory,
    )
