"""What pruning came to, as tables and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from dsunet.config import ModelConfig, PruneConfig
from dsunet.metrics import MEASURES
from dsunet.research.pruning.blocks import BlockEffect
from dsunet.support.tables import Cell, Column, Row, Table

__all__ = ["PruneReport", "Stage"]

_MEASURES = tuple(Column("", name, name, name != "MAE", 4) for name in MEASURES)


@dataclass(frozen=True)
class Stage:
    """The network before, between and after."""

    name: str
    """`before`, `2 blocks dropped`, `pruned`, `fine-tuned`."""
    config: ModelConfig
    parameters: int
    trained: int
    """How many of them training changes."""
    flops: int
    """Of one prediction, in convolutions and matrix products."""
    seconds: tuple[float, ...]
    """Of single predictions, taken in turns with the other stages."""
    measures: Mapping[str, float] = field(default_factory=dict)
    """S, F, E and MAE on the validation pairs; empty without any."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "name": self.name,
            "parameters": self.parameters,
            "trained": self.trained,
            "flops": self.flops,
            "median_seconds": round(median(self.seconds), 6),
            "seconds": [round(each, 6) for each in self.seconds],
            "measures": dict(self.measures),
            "model": self.config.to_dict(),
        }


@dataclass(frozen=True)
class PruneReport:
    """What pruning came to."""

    source: str
    """Name of the weights file that was pruned."""
    weights: Path
    """The file with the result."""
    settings: PruneConfig
    stages: tuple[Stage, ...]
    blocks: tuple[BlockEffect, ...] = ()
    """What dropping blocks of DINOv2 does, if that was measured."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Data, device, fine-tuning, machine."""

    def table(self) -> Table:
        """A row for each stage."""
        columns = (
            Column("", "params/M", "params/M", None, 3),
            Column("", "trained/M", "trained/M", None, 3),
            Column("", "GFLOP", "GFLOP", None, 2),
            Column("", "ms", "ms", None, 1),
            *_MEASURES,
        )
        rows = [
            Row(
                stage.name,
                (
                    Cell(stage.parameters / 1e6),
                    Cell(stage.trained / 1e6),
                    Cell(stage.flops / 1e9),
                    Cell(1e3 * median(stage.seconds)),
                    *(_cell(stage.measures, name) for name in MEASURES),
                ),
                ranked=False,
            )
            for stage in self.stages
        ]
        pairs = self.facts.get("validation_pairs")
        measured = (
            f"S, F, E, MAE: on {pairs} validation pairs."
            if pairs
            else "No S, F, E, MAE: there are no validation pairs (`val`, `val_list`, "
            "`val_fraction`, `fold`)."
        )
        first, last = self.stages[0], self.stages[-1]
        notes = (
            f"{1 - last.parameters / first.parameters:.1%} fewer parameters, "
            f"{1 - last.flops / first.flops:.1%} fewer operations, "
            f"{median(first.seconds) / median(last.seconds):.2f} times as quick on "
            f"{self.facts.get('device', 'this machine')}.",
            f"ms: one image through the network, median of {len(first.seconds)}. {measured}",
        )
        return Table(f"{first.config.name}, pruned", columns, tuple(rows), notes)

    def block_table(self) -> Table | None:
        """A row for each number of DINOv2's last blocks left out; `None` if not measured."""
        if not self.blocks:
            return None
        columns = (
            Column("", "params/M", "params/M", None, 3),
            Column("", "GFLOP", "GFLOP", None, 2),
            *_MEASURES,
        )
        rows = tuple(
            Row(
                f"{effect.dropped} dropped",
                (
                    Cell(effect.parameters / 1e6),
                    Cell(effect.flops / 1e9),
                    *(_cell(effect.measures, name) for name in MEASURES),
                ),
                ranked=False,
            )
            for effect in self.blocks
        )
        note = "Nothing else is changed, and nothing is trained."
        return Table("Without DINOv2's last blocks", columns, rows, (note,))

    def markdown(self) -> str:
        """Both tables."""
        tables = [self.table(), self.block_table()]
        return "\n".join(table.markdown() for table in tables if table is not None)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "source": self.source,
            "weights": self.weights.name,
            "settings": asdict(self.settings),
            "stages": [stage.to_dict() for stage in self.stages],
            "dino_blocks": [asdict(effect) for effect in self.blocks],
            **self.facts,
        }


def _cell(measures: Mapping[str, float], name: str) -> Cell | None:
    return Cell(measures[name]) if name in measures else None
