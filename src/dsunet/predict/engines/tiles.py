"""Pictures that are too large to be seen as a whole, tile by tile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from dsunet.config.tiling import Tiling
from dsunet.data.augment import Box
from dsunet.data.tiles import Grid
from dsunet.predict.engines.around import EngineAround
from dsunet.predict.engines.base import Engine, Size
from dsunet.running.tiling import blended

__all__ = ["TileEngine", "Tileable"]


@dataclass(frozen=True)
class Tileable:
    """A picture that fits a tile, as another engine has prepared it, or a larger one."""

    whole: Any = None
    """What the engine makes of it; `None` if it is larger than a tile."""
    picture: Image.Image | None = None
    """RGB, if it is larger."""


class TileEngine(EngineAround[Tileable]):
    """Another engine, which segments the tiles of each picture; their maps are blended.

    Every tile is a picture to that engine, so whatever it is, it goes on as always. What is blended
    are probabilities, not logits: of a function, of an ensemble and of mirrored views there is
    nothing else that all of them give. A picture that fits a tile is segmented as a whole.

    Args:
        engine: What segments; its attributes are this one's.
        tiling: The tiles.
    """

    def __init__(self, engine: Engine[Any], tiling: Tiling) -> None:
        super().__init__(engine)
        self.tiling = tiling

    def prepare(self, picture: Image.Image, size: Size | None = None) -> Tileable:
        own = (picture.height, picture.width)
        if self.tiling.fits(*own):
            return Tileable(self._engine.prepare(picture, size))
        assert size in (None, own), "tiles are of a picture with all its pixels"
        return Tileable(picture=picture)

    def probabilities(self, prepared: Sequence[Tileable], batch: int = 1) -> list[np.ndarray]:
        """As of every engine.

        Args:
            prepared: The pictures.
            batch: How many tiles go in one pass; other numbers than 1 may change the last digit.
        """
        whole = [one.whole for one in prepared if one.picture is None]
        maps = iter(self._engine.probabilities(whole) if whole else [])
        return [
            next(maps) if one.picture is None else self._of_tiles(one.picture, batch)
            for one in prepared
        ]

    def _of_tiles(self, picture: Image.Image, batch: int) -> np.ndarray:
        grid = Grid.of(picture.height, picture.width, self.tiling)

        def maps_of(boxes: Sequence[Box]) -> list[np.ndarray]:
            return self.maps_of([picture.crop(box) for box in boxes])

        return blended(grid, maps_of, batch).clip(0, 1)

    def maps_of(self, tiles: Sequence[Image.Image]) -> list[np.ndarray]:
        """The maps of some tiles, RGB each, H×W float32 in 0..1 each: in one pass."""
        return self._engine.probabilities(
            [self._engine.prepare(tile, (tile.height, tile.width)) for tile in tiles]
        )
