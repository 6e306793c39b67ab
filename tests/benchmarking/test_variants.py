"""What is compared, and what cannot be."""

from __future__ import annotations

import pytest

from measured import small, variant


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"batch_size": 0}, "batch_size is 0, but needs at least 1"),
        ({"feature_cache": True, "model": small(injection="none")}, "has no DINOv2"),
        ({"feature_cache": True, "model": small(train_semantic=True)}, "`train_semantic` false"),
    ],
)
def test_settings_that_exclude_each_other(overrides: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        variant(**overrides)


def test_the_baseline_is_naive() -> None:
    ours = variant(feature_cache=True, precision="bfloat16", checkpointing=True, compile=True)
    naive = ours.baseline()
    assert naive.naive
    assert naive.precision == "float32"
    assert naive.channels_last is False
    assert [naive.feature_cache, naive.checkpointing, naive.compile] == [False] * 3
    assert (naive.model, naive.batch_size, naive.task) == (ours.model, ours.batch_size, ours.task)
