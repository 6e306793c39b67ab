"""The paper's methods and tables as data."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dsunet.config import LossConfig, ModelConfig, TrainConfig, model_config
from dsunet.errors import ConfigError
from dsunet.network.source import CustomSource
from dsunet.support.imports import is_import_path

__all__ = ["METHODS", "TABLES", "TARGETS", "Method", "PaperTable", "added_method"]


@dataclass(frozen=True)
class Method:
    """A network and the protocol that it is trained by."""

    key: str
    """Its name on the command line and in folders."""
    title: str
    """Its name in tables."""
    about: str
    """One line on what it is."""
    role: str = "dsunet"
    """The presets that it starts from: `dsunet` or `sam2unet`."""
    published: str | None = None
    """Its name among the published results; `None` if there are none."""
    model: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the network that differ from the preset's."""
    recipe: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the training that differ from the paper's."""
    loss: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the loss that differ from the paper's."""
    source: CustomSource | None = None
    """What makes the network, or maps an image, of a method that is not ours."""
    maps: Path | None = None
    """Folder of maps that were made elsewhere, in a folder for each test set."""
    trained: bool = True
    """Whether it is trained, rather than used as it is."""

    def model_config(self, size: str = "large") -> ModelConfig:
        """The network at one of the sizes of `Protocol`, of one of our methods."""
        return model_config(f"{self.role}-{size}", **self.model)

    def train_config(self, **changes: Any) -> TrainConfig:
        """The recipe; a change of `None` leaves the method's own value."""
        return TrainConfig(**{"protocol": "benchmark", **self.recipe, **_given(changes)})

    def loss_config(self) -> LossConfig:
        """The loss."""
        return LossConfig(**self.loss)


def _given(changes: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in changes.items() if value is not None}


METHODS: dict[str, Method] = {
    method.key: method
    for method in (
        Method(
            "sam2unet",
            "SAM2-UNet",
            "the baseline by its own protocol: SAM 2.0, 20 epochs, batches of 12, equal losses",
            role="sam2unet",
            published="SAM2-UNet",
            recipe={"epochs": 20, "batch_size": 12},
            loss={"output_weights": (1.0, 1.0, 1.0)},
        ),
        Method(
            "sam2unet-matched",
            "SAM2-UNet, matched",
            "the baseline by DSU-Net's protocol: SAM 2.1, 50 epochs, batches of 8, weighted losses",
            role="sam2unet",
            model={"sam_version": "2.1"},
        ),
        Method(
            "ablation-a",
            "A: no DINOv2",
            "DSU-Net without the DINOv2 branch",
            published="ablation A",
            model={"injection": "none"},
        ),
        Method(
            "ablation-b",
            "B: four depths",
            "four DINOv2 depths into the four Hiera levels",
            published="ablation B",
            model={"injection": "hierarchical"},
        ),
        Method(
            "ablation-c",
            "C: last layer into all",
            "DINOv2's last layer into all four Hiera levels",
            published="ablation C",
            model={"injection": "broadcast"},
        ),
        Method("dsunet", "DSU-Net", "the paper's network", published="DSU-Net"),
    )
}


def added_method(name: str, spec: str) -> Method:
    """A method of the user's own, to stand in the tables beside ours.

    Args:
        name: Its name in tables.
        spec: A folder of maps (`SPEC/DUTS-TE/*.png`), or the import path `PACKAGE.MODULE:NAME` of
            what makes a network, which is trained by DSU-Net's protocol, or of a function that
            takes an image and gives its map.

    Raises:
        CustomModelError: The import path leads to nothing of the kind.
        ConfigError: The name is one of ours or none, or the folder is not there.
    """
    key = re.sub(r"[^\w.-]+", "-", name).strip("-.").lower()
    if not key or key in METHODS or name in {method.title for method in METHODS.values()}:
        raise ConfigError(
            f"`add` {name}={spec}: the name {name!r} is taken or empty; give it another"
        )
    if is_import_path(spec) and not Path(spec).is_dir():
        source = CustomSource.of(spec)
        trained = source.network_or_none() is not None
        return Method(key, name, spec, source=source, trained=trained)
    if not Path(spec).is_dir():
        raise ConfigError(
            f"`add` {name}={spec}: there is no folder {spec}; give a folder of maps, or what makes "
            "the model as PACKAGE.MODULE:NAME"
        )
    return Method(key, name, f"maps in {spec}", maps=Path(spec), trained=False)


@dataclass(frozen=True)
class PaperTable:
    """One of the paper's tables of results."""

    number: str
    """As the paper counts: `III`."""
    title: str
    task: str
    """The task, as in `dsunet.data.catalogue.sets.TASKS`: what is trained on."""
    sets: tuple[str, ...]
    """The test sets, in the table's order."""
    measures: tuple[str, ...]
    """The measures, in the table's order."""
    methods: tuple[str, ...]
    """Keys of `METHODS`: the rows that are trained here."""
    reference: str
    """The row that DSU-Net's gains are counted from."""


_SOD, _COD = ("S", "E", "MAE"), ("S", "F", "E", "MAE")
_COMPARED = ("sam2unet", "dsunet")
_ABLATED = ("ablation-a", "ablation-b", "ablation-c", "dsunet")
_SALIENT, _CAMOUFLAGED = "Salient object detection", "Camouflaged object detection"

TABLES: dict[str, PaperTable] = {
    table.number: table
    for table in (
        PaperTable(
            "III",
            f"{_SALIENT}: DUTS-TE, DUT-OMRON, HKU-IS",
            "sod",
            ("DUTS-TE", "DUT-OMRON", "HKU-IS"),
            _SOD,
            _COMPARED,
            "sam2unet",
        ),
        PaperTable(
            "IV",
            f"{_SALIENT}: PASCAL-S, ECSSD",
            "sod",
            ("PASCAL-S", "ECSSD"),
            _SOD,
            _COMPARED,
            "sam2unet",
        ),
        PaperTable(
            "V",
            f"{_CAMOUFLAGED}: CHAMELEON, CAMO",
            "cod",
            ("CHAMELEON", "CAMO"),
            _COD,
            _COMPARED,
            "sam2unet",
        ),
        PaperTable(
            "VI",
            f"{_CAMOUFLAGED}: COD10K, NC4K",
            "cod",
            ("COD10K", "NC4K"),
            _COD,
            _COMPARED,
            "sam2unet",
        ),
        PaperTable(
            "VII",
            "Where DINOv2 enters: salient objects",
            "sod",
            ("DUTS-TE", "DUT-OMRON"),
            _SOD,
            _ABLATED,
            "ablation-a",
        ),
        PaperTable(
            "VIII",
            "Where DINOv2 enters: camouflaged objects",
            "cod",
            ("CAMO", "COD10K"),
            _COD,
            _ABLATED,
            "ablation-a",
        ),
    )
}

TARGETS: dict[str, tuple[str, ...]] = {
    **{number: (number,) for number in TABLES},
    **{task: tuple(n for n, t in TABLES.items() if t.task == task) for task in ("sod", "cod")},
    "all": tuple(TABLES),
}
"""What `dsunet reproduce` takes, and the tables that it means."""
