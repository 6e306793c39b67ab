"""Intervals hold what was drawn for, and curves are drawn before their maximum is taken."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dsunet.data.synthetic import synthetic_pair
from dsunet.metrics import compare_folders
from dsunet.metrics.intervals import DRAWS, Interval, bootstrap_intervals


def directly(values: np.ndarray, seed: int = 0) -> Interval:
    """The percentiles of the means of as many draws."""
    rng = np.random.default_rng(seed)
    means = values[rng.integers(0, len(values), (DRAWS, len(values)))].mean(axis=1)
    return Interval(*np.percentile(means, (2.5, 97.5)))


def test_means() -> None:
    rng = np.random.default_rng(3)
    values = rng.normal(0.7, 0.2, (40, 2))
    found = bootstrap_intervals(values)
    assert found == bootstrap_intervals(values)
    assert found != bootstrap_intervals(values, seed=1)
    for column, interval in zip(values.T, found, strict=True):
        assert interval == pytest.approx(directly(column), abs=1e-9)
        # of a mean, close to what theory says
        half = 1.96 * column.std(ddof=1) / np.sqrt(len(column))
        assert interval == pytest.approx((column.mean() - half, column.mean() + half), abs=0.01)
    assert bootstrap_intervals(values[:1]) == []
    assert bootstrap_intervals(np.ones((5, 1))) == [Interval(1, 1)]


def test_a_maximum_is_of_the_drawn_mean_curve() -> None:
    """Two images whose curves peak at different thresholds never reach 1 together."""
    curves = np.array([[1.0, 0.0], [0.0, 1.0]] * 20)
    (interval,) = bootstrap_intervals(curves, lambda means: means.max(axis=1, keepdims=True))
    assert 0.5 <= interval.low < interval.high < 0.75


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for folder in ("masks", "maps"):
        (tmp_path / folder).mkdir()
    for number in range(5):
        mask = np.asarray(synthetic_pair(number, 40)[1])
        if number == 4:
            mask = np.zeros_like(mask)
        Image.fromarray(mask).save(tmp_path / "masks" / f"{number}.png")
        map_ = (0.7 * mask + rng.uniform(0, 60 + 15 * number, mask.shape)).astype(np.uint8)
        Image.fromarray(map_).save(tmp_path / "maps" / f"{number}.png")
    return tmp_path


def test_of_folders(folders: Path) -> None:
    """By `raw` an image without an object counts for none; by `benchmark` it does."""
    for protocol, count in (("raw", 4), ("benchmark", 5)):
        found = compare_folders(
            {"a": folders / "maps"},
            folders / "masks",
            measures=("S", "MAE", "Fmax", "Emax"),
            protocol=protocol,  # type: ignore[arg-type]
            intervals=True,
        ).evaluations["a"]
        assert list(found.intervals) == ["S", "MAE", "Fmax", "Emax"]
        for key, (low, high) in found.intervals.items():
            assert low <= found.scores[key] <= high, key
            assert low < high
        errors = np.array([values["MAE"] for values in found.per_image.values()])[:count]
        assert found.intervals["MAE"] == pytest.approx(directly(errors), abs=1e-9)


def test_none_unless_asked_for(folders: Path) -> None:
    found = compare_folders({"a": folders / "maps"}, folders / "masks", measures=("S",))
    assert found.evaluations["a"].intervals == {}
