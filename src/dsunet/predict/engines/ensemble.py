"""Several engines as one, whose map is the mean of theirs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from dsunet.errors import ConfigError
from dsunet.predict.engines.base import Engine, Size

if TYPE_CHECKING:
    import torch

__all__ = ["EnsembleEngine", "together"]


class EnsembleEngine(Engine[tuple[Any, ...]]):
    """Several engines, whose maps' mean is taken at the image's size.

    Members see an image each in views of its own; what several of them see alike is made once.
    They compute one after the other: the time is the sum of theirs, and so is the memory.

    Args:
        members: The engines, two at least.

    Raises:
        ConfigError: They are not of the same classes.
    """

    def __init__(self, members: Sequence[Engine[Any]]) -> None:
        self.members = tuple(members)
        self.name = ", ".join(dict.fromkeys(each.name for each in members))
        self.runtime = ", ".join(dict.fromkeys(each.runtime for each in members if each.runtime))
        kinds = {(each.classes, each.exclusive and bool(each.classes)) for each in members}
        if len(kinds) > 1:
            told = "; ".join(
                f"{each.name}: {', '.join(each.classes) or 'one map'}"
                + (" (exclusive)" if each.exclusive else "")
                for each in members
            )
            raise ConfigError(
                f"the members of an ensemble have different classes ({told}); give models of the "
                "same ones, in the same order"
            )
        [(self.classes, self.exclusive)] = kinds
        self.batches = all(each.batches for each in members)
        self.takes_weights = any(each.takes_weights for each in members)
        self.out_of_memory = tuple({kind for each in members for kind in each.out_of_memory})
        self.settings: Mapping[str, bool] = members[0].settings
        # what a member makes of a picture follows from its kind and its views
        keys: list[Hashable] = [(type(each), each.views) for each in members]
        self._makers = [keys.index(key) for key in keys]

    @property
    def model(self) -> tuple[Any, ...]:
        """What computes, of every member."""
        return tuple(each.model for each in self.members)

    @property
    def original(self) -> tuple[Any, ...]:
        """Of every member the network of which that is a quicker copy, or `None`."""
        return tuple(each.original for each in self.members)

    @property
    def device(self) -> torch.device | str:  # type: ignore[override]
        """Where the members compute: one place, or the names of several."""
        places = list(dict.fromkeys(str(each.device) for each in self.members))
        return self.members[0].device if len(places) == 1 else ", ".join(places)

    @property
    def dtype(self) -> torch.dtype | np.dtype[Any]:  # type: ignore[override]
        """The number type of the first member."""
        return self.members[0].dtype

    @property
    def views(self) -> tuple[Size, Size | None] | None:
        """The largest views of any member; `None` if none has views."""
        views = [each.views for each in self.members if each.views is not None]
        return max(views, key=lambda both: both[0][0] * both[0][1], default=None)

    @property
    def largest_side(self) -> int | None:
        """The longest side of all members' views; `None` if one takes all of a picture's pixels."""
        sides = [each.largest_side for each in self.members]
        known = [side for side in sides if side is not None]
        return max(known) if len(known) == len(sides) else None

    @property
    def precision(self) -> str:
        return ", ".join(dict.fromkeys(each.precision for each in self.members))

    @property
    def threads(self) -> int:
        return max(each.threads for each in self.members)

    @property
    def parameters(self) -> int:
        return sum(each.parameters for each in self.members)

    def identity(self) -> dict[str, str | None]:
        """One sum over what tells each member, in whatever order they are given."""
        told = sorted(json.dumps(each.identity(), sort_keys=True) for each in self.members)
        return {"sha256": hashlib.sha256(json.dumps(told).encode()).hexdigest()}

    def prepare(self, picture: Image.Image, size: Size | None = None) -> tuple[Any, ...]:
        made = {number: self.members[number].prepare(picture, size) for number in set(self._makers)}
        return tuple(made[number] for number in self._makers)

    def probabilities(self, prepared: Sequence[tuple[Any, ...]]) -> list[np.ndarray]:
        totals: list[np.ndarray] = []
        for number, member in enumerate(self.members):
            maps = member.probabilities([one[number] for one in prepared])
            if number == 0:
                totals = [np.array(map_, np.float32) for map_ in maps]
                continue
            for total, map_ in zip(totals, maps, strict=True):
                total += map_
        for total in totals:
            total /= len(self.members)
        return totals


def together(engines: Sequence[Engine[Any]]) -> Engine[Any]:
    """Engines as one; a single one stays what it is."""
    return engines[0] if len(engines) == 1 else EnsembleEngine(engines)
