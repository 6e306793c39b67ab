"""Which process of several this one is, by what has started it."""

from __future__ import annotations

import pytest

from dsunet.errors import ConfigError
from dsunet.support.ranks import STORE, Ranks

TORCHRUN = {
    "TORCHELASTIC_RUN_ID": "none",
    "RANK": "5",
    "WORLD_SIZE": "8",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "4",
}
SRUN = {
    "SLURM_STEP_NUM_TASKS": "8",
    "SLURM_NTASKS_PER_NODE": "4",
    "SLURM_PROCID": "5",
    "SLURM_LOCALID": "1",
    "SLURM_NTASKS": "8",
}


@pytest.mark.parametrize(
    ("environment", "ranks"),
    [
        ({}, Ranks()),
        (TORCHRUN, Ranks(5, 8, 1, 4, "torchrun")),
        (SRUN, Ranks(5, 8, 1, 4, "srun")),
        (SRUN | TORCHRUN, Ranks(5, 8, 1, 4, "torchrun")),  # torchrun in a task of srun
        # the batch script itself, and a shell, in a job of several tasks
        ({"SLURM_NTASKS": "8", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}, Ranks()),
        ({**SRUN, "SLURM_STEP_NUM_TASKS": "1"}, Ranks()),
        ({STORE: "4711/4", "LOCAL_RANK": "3"}, Ranks(3, 4, 3, 4, "dsunet")),
        ({"LOCAL_RANK": "1"}, Ranks()),
    ],
)
def test_what_has_started_it(environment: dict[str, str], ranks: Ranks) -> None:
    assert Ranks.found(environment) == ranks


def test_an_environment_that_cannot_be() -> None:
    with pytest.raises(ConfigError, match=r"cannot be understood \('WORLD_SIZE'\)"):
        Ranks.found({"TORCHELASTIC_RUN_ID": "none", "RANK": "0"})
    spread = {key: value for key, value in SRUN.items() if key != "SLURM_NTASKS_PER_NODE"}
    with pytest.raises(ConfigError, match=r"--ntasks=8, .* ask for --nodes and --ntasks-per-node"):
        Ranks.found(spread)


@pytest.mark.parametrize("starter", ["torchrun", "srun"])
def test_settings_have_to_agree_with_what_was_started(starter: str) -> None:
    ranks = Ranks(5, 8, 1, 4, starter)  # type: ignore[arg-type]
    assert ranks.planned(4, 2) is ranks
    for devices, nodes in ((1, 1), (8, 1), (2, 4)):
        with pytest.raises(
            ConfigError,
            match=rf"{starter} has started 8 processes, 4 on each machine, but devices is "
            rf"{devices} and num_nodes {nodes}; give `devices` 4 and `num_nodes` 2",
        ):
            ranks.planned(devices, nodes)


def test_what_dsunet_starts_is_on_one_machine() -> None:
    assert Ranks().planned(1, 1) == Ranks()
    assert Ranks().planned(3, 1) == Ranks(0, 3, 0, 3)
    with pytest.raises(ConfigError, match="num_nodes is 2, but .* by torchrun, or by srun"):
        Ranks().planned(1, 2)
    started = Ranks(1, 2, 1, 2, "dsunet")
    assert started.planned(2, 1) is started
    with pytest.raises(ConfigError, match="devices is 3, but a training of the same script"):
        started.planned(3, 1)


def test_only_the_first_speaks() -> None:
    assert Ranks().is_first
    assert not Ranks.found(TORCHRUN).is_first
