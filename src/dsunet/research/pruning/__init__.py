"""Smaller networks: fewer channels in decoder and adapters, fewer blocks of DINOv2."""

from dsunet.research.pruning.blocks import (
    BlockEffect,
    choose_blocks,
    drop_blocks,
    effects_of_blocks,
)
from dsunet.research.pruning.calibration import calibrate_batchnorm, loss_gradients
from dsunet.research.pruning.channels import prune_channels, pruned_config
from dsunet.research.pruning.measuring import evaluate_network, flops_of, seconds_in_turns
from dsunet.research.pruning.report import PruneReport, Stage
from dsunet.research.pruning.run import prune
from dsunet.running.place import Place

__all__ = [
    "BlockEffect",
    "Place",
    "PruneReport",
    "Stage",
    "calibrate_batchnorm",
    "choose_blocks",
    "drop_blocks",
    "effects_of_blocks",
    "evaluate_network",
    "flops_of",
    "loss_gradients",
    "prune",
    "prune_channels",
    "pruned_config",
    "seconds_in_turns",
]
