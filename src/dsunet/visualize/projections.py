"""Feature maps of many channels → maps that can be looked at.

Every function takes features C×h×w and treats the h·w positions as points with C coordinates.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dsunet.errors import MissingPackageError

__all__ = [
    "TSNE_POSITIONS",
    "Components",
    "average_down",
    "mean_map",
    "principal_components",
    "tsne_plane",
]

TSNE_POSITIONS = 1400
"""Larger grids are averaged down for t-SNE, which takes some seconds for so many on one core.
A grid of 37×37, DINOv2's at 518 px, stays whole."""

PERPLEXITY = 30
"""t-SNE's usual one, which is the default of scikit-learn, too."""

DENOISED = 50
"""Principal components that t-SNE is given instead of all channels, as is its authors' custom."""


@dataclass(frozen=True, eq=False)
class Components:
    """Principal components of a feature map."""

    maps: np.ndarray
    """k×h×w float32: every position's coordinates, of mean 0 over the positions."""
    explained: tuple[float, ...]
    """Share of the variance that each of them explains, in 0..1."""


def mean_map(features: np.ndarray) -> np.ndarray:
    """The mean over channels: C×h×w → h×w."""
    return np.asarray(features.mean(axis=0))


def principal_components(
    features: np.ndarray, count: int = 3, like: np.ndarray | None = None
) -> Components:
    """The first principal components over all positions: C×h×w → `count`×h×w.

    The sign of a component means nothing, so it is chosen: as it is most like another map's
    component (`like`: count×h×w; before and after adapters, say), or else so that the middle half
    of the grid has the higher mean. Those that do not exist, since there are fewer channels or
    positions or the features do not vary, are 0.

    Raises:
        MissingPackageError: scikit-learn is not installed.
    """
    try:
        from sklearn.decomposition import PCA
    except ImportError as error:
        raise _missing("PCA") from error
    channels, height, width = features.shape
    points = features.reshape(channels, -1).T.astype(np.float64)
    maps = np.zeros((count, height, width), np.float32)
    explained = [0.0] * count
    possible = min(count, *points.shape)
    if len(points) > 1 and (points != points[0]).any():
        pca = PCA(possible, svd_solver="full").fit(points)
        maps[:possible] = pca.transform(points).T.reshape(-1, height, width)
        explained[:possible] = map(float, pca.explained_variance_ratio_)
    for number, map_ in enumerate(maps):
        if like is not None and like.shape == maps.shape:
            turned = float((map_ * like[number]).sum()) < 0
        else:
            turned = _middle(map_).mean() < map_.mean()
        if turned:
            map_ *= -1
    return Components(maps, tuple(explained))


def _middle(map_: np.ndarray) -> np.ndarray:
    """The middle half of both sides."""
    top, left = (side // 4 for side in map_.shape)
    return map_[top : map_.shape[0] - top, left : map_.shape[1] - left]


def average_down(features: np.ndarray, positions: int) -> np.ndarray:
    """Features with at most so many positions: C×h×w → C×h'×w'.

    Squares of 2×2, 3×3 … positions are averaged, smaller ones at the far edges.
    """
    height, width = features.shape[1:]
    side = 1
    while -(-height // side) * -(-width // side) > positions:
        side += 1
    rows, columns = np.arange(0, height, side), np.arange(0, width, side)
    sums = np.add.reduceat(np.add.reduceat(features, rows, axis=1), columns, axis=2)
    counts = np.outer(
        np.diff(rows, append=height),
        np.diff(columns, append=width),
    )
    return np.asarray(sums / counts, dtype=features.dtype)


def tsne_plane(
    features: np.ndarray, *, positions: int = TSNE_POSITIONS, like: np.ndarray | None = None
) -> np.ndarray:
    """Where t-SNE puts every position in a plane: C×h×w → h'×w'×2 float32.

    The first 50 principal components are embedded, starting from the first two, with perplexity 30
    (a third of the positions, if that is less). t-SNE does not care how its plane lies, so it is
    turned (and mirrored) to lie most like another map's plane (before and after adapters, say), or
    else like the first two components. The same features give the same
    plane on the same machine: the start leaves nothing to chance, so the seed does not matter.

    Args:
        features: C×h×w.
        positions: Grids with more of them are averaged down to h'×w', see `average_down`.
        like: Another plane, h'×w'×2; one of another size does not count.

    Returns:
        Coordinates of mean 0; all 0 for features that do not vary.

    Raises:
        MissingPackageError: scikit-learn is not installed.
    """
    try:
        from sklearn.manifold import TSNE
    except ImportError as error:
        raise _missing("t-SNE") from error
    small = average_down(features, positions)
    components = principal_components(small, min(DENOISED, max(2, len(small)))).maps
    points = components.reshape(len(components), -1).T
    spread = points[:, 0].std()
    if spread == 0:
        return np.zeros((*small.shape[1:], 2), np.float32)
    tsne = TSNE(
        perplexity=min(PERPLEXITY, (len(points) - 1) / 3),
        init=points[:, :2] / spread * 1e-4,  # the scale that t-SNE expects
        random_state=42,  # the paper's; of no effect with this start
    )
    plane = tsne.fit_transform(np.ascontiguousarray(points))
    fits = like is not None and like.shape[:2] == small.shape[1:]
    model = like.reshape(-1, 2) if like is not None and fits else points[:, :2]
    turned = _turned_like(plane - plane.mean(axis=0), model)
    return np.asarray(turned, np.float32).reshape(*small.shape[1:], 2)


def _turned_like(plane: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Points n×2 under the rotation or reflection that brings them nearest to other points."""
    left, _, right = np.linalg.svd(plane.T @ other)
    return np.asarray(plane @ left @ right)


def _missing(what: str) -> MissingPackageError:
    return MissingPackageError(
        f"{what} needs the package scikit-learn; pip install 'dsunet[features]'"
    )
