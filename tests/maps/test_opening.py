"""The budget that all maps of a training share."""

from __future__ import annotations

import pytest

from dsunet.errors import OutputError
from dsunet.maps.opening import Budget
from dsunet.maps.semantic import SEMANTIC_MAPS
from dsunet.maps.teacher import TEACHER_MAPS


def test_a_budget_is_for_all_maps_together() -> None:
    budget = Budget(1.0)
    budget.take(600_000_000, TEACHER_MAPS, "3 images")
    with pytest.raises(OutputError) as caught:
        budget.take(500_000_000, SEMANTIC_MAPS, "3 images")
    assert str(caught.value) == (
        "the feature cache of 3 images would take 0.50 GB, beside 0.60 GB of other maps, more than "
        "the 1 GB that `cache_budget` allows; raise it, or use `feature_cache` off"
    )
    budget.take(400_000_000, SEMANTIC_MAPS, "2 images")


def test_what_a_teacher_says_can_be_too_much() -> None:
    with pytest.raises(OutputError) as caught:
        Budget(0.1).take(600_000_000, TEACHER_MAPS, "3 images")
    assert str(caught.value) == (
        "the teacher's maps of 3 images would take 0.60 GB, more than the 0.1 GB that "
        "`cache_budget` allows; raise it, or learn from fewer `feature_levels`"
    )
