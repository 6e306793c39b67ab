"""Which of several processes that train together this one is, and what is its share of the work."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from dsunet.errors import ConfigError

__all__ = ["ALONE", "STORE", "Ranks", "Starter"]

STORE = "DSUNET_STORE"
"""Environment variable of processes that dsunet has started: `PORT/WORLD` of their first one."""

Starter = Literal["nobody", "dsunet", "torchrun", "srun"]


@dataclass(frozen=True)
class Ranks:
    """A process among those that train together.

    Of any number of items in an order it takes every `world`-th, from the `rank`-th on; so shares
    differ by one item at most.
    """

    rank: int = 0
    """Number of this process among all; 0 is the first, which writes and speaks for all."""
    world: int = 1
    """How many there are."""
    local: int = 0
    """Number of this process among those on this machine."""
    on_machine: int = 1
    """How many there are on this machine."""
    starter: Starter = "nobody"
    """Who has started it as one of several; those of `dsunet` have a first one without a starter
    until the others are there."""

    @property
    def is_first(self) -> bool:
        """Whether this process writes and speaks for all."""
        return self.rank == 0

    def share(self, count: int) -> int:
        """How many of so many items are this process's."""
        return len(range(self.rank, count, self.world))

    def weight(self, count: int) -> float:
        """What a mean over this process's share of `count` items counts.

        So that the mean over all processes of weighted means is the mean over all items; 0 for a
        process without a share.
        """
        return self.share(count) * self.world / count

    @classmethod
    def found(cls, environment: Mapping[str, str] = os.environ) -> Ranks:
        """What the environment says, as torchrun, srun and Lightning set it.

        Raises:
            ConfigError: It says something that cannot be.
        """
        try:
            return cls._found(environment)
        except ConfigError:
            raise
        except (KeyError, ValueError) as error:
            raise ConfigError(
                f"the environment variables of torchrun or srun cannot be understood ({error}); "
                "start all processes by one of them"
            ) from error

    @classmethod
    def _found(cls, environment: Mapping[str, str]) -> Ranks:
        if "TORCHELASTIC_RUN_ID" in environment:
            names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
            rank, world, local, on_machine = (int(environment[name]) for name in names)
            return cls(rank, world, local, on_machine, "torchrun")
        # of a step with several tasks: in a batch script itself, and in a shell, there is one
        if int(environment.get("SLURM_STEP_NUM_TASKS", 1)) > 1:
            world = int(environment["SLURM_STEP_NUM_TASKS"])
            if "SLURM_NTASKS_PER_NODE" not in environment:
                raise ConfigError(
                    f"the SLURM job was asked for with --ntasks={world}, which leaves open "
                    "how many there are on each machine; ask for --nodes and --ntasks-per-node"
                )
            on_machine = int(environment["SLURM_NTASKS_PER_NODE"])
            rank, local = int(environment["SLURM_PROCID"]), int(environment["SLURM_LOCALID"])
            return cls(rank, world, local, on_machine, "srun")
        if STORE in environment and "LOCAL_RANK" in environment:
            local, world = int(environment["LOCAL_RANK"]), int(environment[STORE].split("/")[1])
            return cls(local, world, local, world, "dsunet")
        return cls()

    def planned(self, devices: int, nodes: int) -> Ranks:
        """The same, once the settings say how many processes there are to be.

        Args:
            devices: Devices of each machine, and so processes.
            nodes: Machines.

        Raises:
            ConfigError: Others have been started than the settings say.
        """
        if self.starter in ("torchrun", "srun"):
            if (self.world, self.on_machine) != (devices * nodes, devices):
                raise ConfigError(
                    f"{self.starter} has started {self.world} processes, {self.on_machine} on each "
                    f"machine, but devices is {devices} and num_nodes {nodes}; give `devices` "
                    f"{self.on_machine} and `num_nodes` {self.world // self.on_machine}, or start "
                    f"{devices * nodes}"
                )
            return self
        if nodes > 1:
            raise ConfigError(
                f"num_nodes is {nodes}, but this is one process that nobody has told of others; "
                "start the command on every machine by torchrun, or by srun in a SLURM job "
                "(docs/train-many.md), or leave `num_nodes` out"
            )
        if self.starter == "dsunet" and self.world != devices:
            raise ConfigError(
                f"devices is {devices}, but a training of the same script has started {self.world} "
                "processes, which all run it; give all trainings the same, or each its script"
            )
        return self if self.starter == "dsunet" else Ranks(0, devices, 0, devices)


ALONE = Ranks()
"""A process that shares its work with nobody."""
