"""All settings, as frozen and validated dataclasses.

The string below each field is its documentation and, through jsonargparse, the help text of the
flag with the same name. Nothing heavy is imported, so that the command line can show its help at
once. A wrong value raises `ConfigError`.

Defaults are the paper's (section IV-C) or, where paper and published code differ, those named in
docs/architecture.md.
"""

from dsunet.config.classes import ClassReading, require_one_class
from dsunet.config.data import DataConfig
from dsunet.config.distill import DistillConfig
from dsunet.config.masks import MaskReading
from dsunet.config.measuring import BestBy, Measuring, MeasuringProtocol
from dsunet.config.network import (
    BLOCKS,
    IMAGENET_MEAN,
    IMAGENET_STD,
    ROLES,
    CustomConfig,
    Injection,
    ModelConfig,
    Role,
    as_size,
    is_hiera,
)
from dsunet.config.predict import Options
from dsunet.config.presets import MODEL_PRESETS, model_config
from dsunet.config.protocol import Protocol
from dsunet.config.prune import FINE_TUNING, PruneConfig
from dsunet.config.serve import ServeConfig
from dsunet.config.speed import Variant
from dsunet.config.training import RECIPE_BATCH, LossConfig, Precision, TrainConfig

__all__ = [
    "BLOCKS",
    "FINE_TUNING",
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "MODEL_PRESETS",
    "RECIPE_BATCH",
    "ROLES",
    "BestBy",
    "ClassReading",
    "CustomConfig",
    "DataConfig",
    "DistillConfig",
    "Injection",
    "LossConfig",
    "MaskReading",
    "Measuring",
    "MeasuringProtocol",
    "ModelConfig",
    "Options",
    "Precision",
    "Protocol",
    "PruneConfig",
    "Role",
    "ServeConfig",
    "TrainConfig",
    "Variant",
    "as_size",
    "is_hiera",
    "model_config",
    "require_one_class",
]
