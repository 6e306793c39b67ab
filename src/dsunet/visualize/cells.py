"""The pictures in the cells of a figure of features, and their colours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from dsunet.errors import ConfigError, perhaps
from dsunet.visualize.extraction import FeatureMap
from dsunet.visualize.figures import INK
from dsunet.visualize.projections import mean_map, principal_components, tsne_plane

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["COLOURS", "KINDS", "Projected", "check_kinds", "draw_map", "plane_colours"]

KINDS = {
    "mean": "mean",
    "pca": "PC 1",
    "rgb": "PC 1–3",
    "tsne": "t-SNE",
    "scatter": "t-SNE plane",
}
"""The kinds of maps, and what their columns are called."""

COLOURS = {"mean": "viridis", "pca": "cividis"}

# Lightness runs along the first axis, blue to yellow along the second: both are seen by
# everybody, while red against green is not.
CORNERS = np.array([[[24, 36, 96], [186, 216, 255]], [[104, 52, 0], [255, 226, 120]]]) / 255


def check_kinds(kinds: Sequence[str]) -> None:
    """Raises `ValueError` unless these are some of `KINDS`, each once."""
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown or not kinds or len(set(kinds)) != len(kinds):
        given = ",".join(kinds)
        raise ConfigError(
            f"maps is {given!r}, but needs some of {', '.join(KINDS)}, each once"
            + perhaps(unknown[0] if unknown else "", KINDS)
        )


def plane_colours(plane: np.ndarray) -> np.ndarray:
    """Colours of positions in a plane: h×w×2 → h×w×3 in 0..1.

    Both axes are stretched from the 2nd to the 98th percentile. The first runs from dark to light,
    the second from blue to yellow.
    """
    x, y = (_stretch(plane[..., axis])[..., None] for axis in range(2))
    low = CORNERS[0, 0] * (1 - x) + CORNERS[0, 1] * x
    high = CORNERS[1, 0] * (1 - x) + CORNERS[1, 1] * x
    return np.asarray(low * (1 - y) + high * y)


def _stretch(values: np.ndarray) -> np.ndarray:
    """Values from their 2nd to their 98th percentile → 0..1; a flat map is 0.5."""
    low, high = np.percentile(values, (2, 98))
    if high <= low:
        low, high = values.min(), values.max()
    if high <= low:
        return np.full(values.shape, 0.5)
    return np.asarray(np.clip((values - low) / (high - low), 0, 1))


class Projected:
    """The maps of one feature map, each made when it is asked for first."""

    def __init__(self, features: FeatureMap, positions: int, like: Projected | None = None) -> None:
        self.features = features
        self.like = like  # signs and turns that mean nothing are those of these maps
        self.positions = positions
        self._made: dict[str, Any] = {}

    def __getitem__(self, kind: str) -> Any:
        kind = {"rgb": "pca", "scatter": "tsne"}.get(kind, kind)
        if kind not in self._made:
            values = self.features.values
            self._made[kind] = (
                mean_map(values)
                if kind == "mean"
                else principal_components(values, like=self.like["pca"].maps if self.like else None)
                if kind == "pca"
                else tsne_plane(
                    values,
                    positions=self.positions,
                    like=self.like["tsne"] if self.like else None,
                )
            )
        return self._made[kind]


def draw_map(axes: Axes, kind: str, projected: Projected) -> None:
    """Fills axes with a map of one of `KINDS`."""
    made = projected[kind]
    if kind == "scatter":
        colours = plane_colours(made).reshape(-1, 3)
        x, y = made.reshape(-1, 2).T
        axes.scatter(x, y, c=colours, s=5, linewidths=0.15, edgecolors=INK, rasterized=True)
        axes.margins(0.06)
        return
    if kind == "tsne":
        picture = plane_colours(made)
    elif kind == "rgb":
        picture = np.stack([_stretch(map_) for map_ in made.maps], axis=-1)
    else:
        picture = _stretch(made if kind == "mean" else made.maps[0])
    axes.imshow(picture, COLOURS.get(kind), vmin=0, vmax=1, interpolation="nearest", aspect="auto")
    if kind in ("pca", "rgb"):
        share = sum(made.explained[: 1 if kind == "pca" else 3])
        axes.text(
            0.965,
            0.04,
            f"{100 * share:.0f} %",
            transform=axes.transAxes,
            ha="right",
            va="bottom",
            fontsize=6.5,
            color=INK,
            bbox={"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 1.2},
        )
